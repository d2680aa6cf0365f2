//! The input files of a task: which they are, what is in them, and whether they changed.
//!
//! A [`FileSet`] is made by [`scan`] and kept with the stat data of every file, of every directory whose listing mattered and of
//! every `.gitignore` that was consulted. As long as all of these are unchanged ([`FileSet::is_fresh`]), nothing needs to be read.

mod fileset;
mod patterns;
mod scan;
#[cfg(test)]
mod tests;

pub use fileset::{FileEntry, FileSet, Watched};
pub use patterns::{PatternError, check_pattern};
pub use scan::{HashCache, SourceError, scan};
