//! BitBake recipes: parser, datastore, Python, task graph, signatures.
//!
//! The rooms of this crate, bottom up:
//!
//! | module | what lives there |
//! |---|---|
//! | [`symbol`], [`value`] | interned names, and what a variable or flag may hold |
//! | [`view`] | [`DataView`]: how scanners and signatures read a datastore |
//! | `scan` | what Python and shell text refers to, as BitBake's code parser finds it |
//! | `version`, `util` | version comparison, dependency strings |
//! | `data` | the copy-on-write datastore: overrides, expansion, flags, history |
//! | `syntax` | statements of `.conf`, `.bb`, `.bbclass`, `.inc`, `.bbappend` files |
//! | `python` | CPython in worker processes, evaluating against the datastore |
//! | `config`, `recipe` | layers and configuration; recipes, their variants and tasks |
//! | `signature` | basehash and taskhash |
//! | `workbench` | what the command line shows: findings, rows, variables, graphs, differences |
//!
//! What the rooms owe each other:
//!
//! - Names are [`Sym`]: comparing and hashing one is comparing an integer. Sorting for a hash goes by [`Sym::as_str`], in byte order.
//! - Text is [`Text`] (`Arc<str>`), so that a value read from a class is one allocation, however many recipes inherit it.
//! - `scan::python(code, modules) -> Result<CodeRefs, _>` and `scan::shell(code) -> Result<BTreeSet<Text>, _>` are pure functions of
//!   their input; the datastore caches their results by text.

pub mod config;
pub mod data;
pub mod error;
pub mod graph;
pub mod metadata;
pub mod python;
pub mod recipe;
pub mod scan;
pub mod shared;
pub mod signature;
pub mod symbol;
pub mod syntax;
pub mod util;
pub mod value;
pub mod version;
pub mod view;
pub mod workbench;

pub use error::{Error, Result};
pub use symbol::Sym;
pub use value::{Text, Value};
pub use view::{CodeRefs, DataView, Expansion};
