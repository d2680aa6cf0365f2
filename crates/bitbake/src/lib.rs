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
//! | `syntax` | statements of `.conf`, `.bb`, `.bbclass`, `.inc`, `.bbappend` files, and their lossless tree |
//! | `python` | CPython in worker processes, evaluating against the datastore |
//! | `config`, `recipe` | layers and configuration; recipes, their variants and tasks |
//! | `signature` | basehash and taskhash |
//! | `persist` | what recipes came to, kept from one run to the next |
//! | `equivalence` | the client of hash equivalence servers: unified hashes |
//! | `workbench` | what the command line shows: findings, doubts, rows, variables, graphs |
//!
//! | `graph` | providers, the recipes and tasks that targets need, the hash of each task |
//!
//! # Reading a build directory
//!
//! ```no_run
//! use buildnet_bitbake::config::{BuildDir, Options, ParseOptions};
//! use buildnet_bitbake::graph::{Closure, TaskGraph, Universe, hash_tasks, task_row};
//! use buildnet_bitbake::recipe::{RecipeInfo, recipe_row};
//!
//! # fn main() -> buildnet_bitbake::Result<()> {
//! let dir = BuildDir::open(&Options {
//!     build_dir: "/home/me/poky/build".into(),
//!     environment: std::env::vars().collect(),
//!     python: "python3".into(),
//!     python_path: Vec::new(),
//!     temporary: std::env::temp_dir(),
//!     history: false,
//!     time_limit: std::time::Duration::from_mins(1),
//! })?;
//! let options = ParseOptions { threads: 2, sign: true };
//! let mut recipes = Vec::new();
//! for outcome in dir.each_recipe(None, options, |session, file, variant| {
//!     println!("{}", recipe_row(session, file, variant)?);
//!     RecipeInfo::of(session, file, variant)
//! }) {
//!     match outcome.variants {
//!         Ok(variants) => recipes.extend(variants),
//!         Err(error) => eprintln!("{error}"),
//!     }
//! }
//! let mut universe = Universe::new(&dir, recipes)?;
//! let closure = Closure::of(&mut universe, &["core-image-minimal"])?;
//! let graph = TaskGraph::new(&universe, &closure, &[("core-image-minimal", "do_build")])?;
//! for task in hash_tasks(&mut universe, &closure, &graph)? {
//!     println!("{}", task_row(&task));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What the rooms owe each other
//!
//! - Names are [`Sym`]: comparing and hashing one is comparing an integer. Sorting for a hash goes by [`Sym::as_str`], in byte order.
//! - Text is [`Text`] (`Arc<str>`), so that a value read from a class is one allocation, however many recipes inherit it.
//! - The scanners are pure functions of their input; `shared` keeps their results by text.

pub mod config;
pub mod data;
pub mod equivalence;
pub mod error;
pub mod graph;
pub mod metadata;
pub mod persist;
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
