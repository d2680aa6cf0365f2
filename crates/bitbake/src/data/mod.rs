//! The datastore: variables with flags, overrides and history, copied on write.
//!
//! The semantics are BitBake's `DataSmart`, fact by fact; each file here is one part of them:
//!
//! - `variable`: what one variable holds;
//! - `assign`: setting, appending, deleting, renaming;
//! - `lookup`: the value of a variable or flag, from overrides to filters;
//! - `overrides`: which override variants exist and are active;
//! - `expand`: `${VAR}` and `${@python}`;
//! - `keys`: names, key expansion;
//! - `history`: who set what, and where.
//!
//! A [`Store`] is a map of shared, immutable [`Variable`]s. A copy clones the map, not the variables, and a write replaces one
//! variable, so that two thousand recipe variants share everything they inherit.

mod assign;
mod expand;
mod history;
mod keys;
mod lookup;
mod overrides;
mod store;
mod variable;

#[cfg(test)]
mod tests;

pub use expand::scan_references;
pub use history::{Entry, History};
pub use lookup::Lookup;
pub(crate) use store::Definition;
pub use store::{Evaluate, NoPython, Origin, Store};
pub use variable::{Operation, Variable};
