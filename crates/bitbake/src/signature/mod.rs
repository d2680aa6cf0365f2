//! Signatures: from a finalised recipe to the basehash of each of its tasks, and from there to the taskhash of a task in its graph.
//!
//! The basehash covers the text of the task's function and of every variable it needs, found by following references: `depends`
//! says what one variable needs and what its value is for this purpose, `basehash` follows and hashes, `library` does the same for
//! functions of the layers' Python modules. The taskhash adds the hashes of the tasks it depends on (`taskhash`, pruned by
//! `prune`) and the checksums of local files (`checksums`). `handler` names the ways to do it, `locked` replaces hashes that the
//! configuration fixes, `unihash` those that are known to be equivalent to others. `sigdata` keeps all of it in BitBake's signature files, and `difference` says
//! what makes two of them differ.

mod basehash;
mod checksums;
mod depends;
mod difference;
mod handler;
mod library;
mod locked;
mod prune;
mod sigdata;
mod taskhash;
mod unihash;

pub use basehash::{RecipeSignatures, TaskSignature};
pub use checksums::{ChecksumError, FileChecksum, FileChecksums};
pub use depends::{Generator, ValueKind, VarSignature};
pub use difference::{Difference, differences};
pub use handler::SignatureHandler;
pub use library::{Library, LibraryEntry, LibrarySource};
pub use locked::{Lock, LockCheck, LockError, LockedTask, Locks, locked_text};
pub use prune::{Pruning, RecipeFacts};
pub use sigdata::{NameSet, SigData, SigDataError, SigValue};
pub use taskhash::{TaskDependency, taskhash};
pub use unihash::{Equivalences, UnihashCache, is_unihash};
