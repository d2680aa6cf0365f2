//! From targets to a graph of tasks.
//!
//! [`Universe`] indexes all recipes by what they provide and chooses among providers (`providers`); `closure` follows the needs of
//! targets (`targets` says which words mean which, `world` what all of them is) to a set of recipes, dropping what cannot be provided;
//! `tasks` makes the graph of their tasks; `hashes` computes the hash of each task over that graph.

mod closure;
mod hashes;
mod providers;
mod row;
mod targets;
mod tasks;
mod world;

pub use closure::Closure;
pub use hashes::{Before, HashedTask, Hashes, Hashing, hash_tasks, hash_tasks_with};
pub use providers::Universe;
pub use row::task_row;
pub use targets::Target;
pub use tasks::{Selection, TaskGraph, TaskNode};
