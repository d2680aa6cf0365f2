//! Real clients: each builds something twice from two fresh checkouts, the second time from the cache, set up with the lines
//! of the README's table. Both the client's own report and the server's counters must say so.

#[path = "../common/mod.rs"]
mod common;

mod bazel;
mod bitbake;
mod buildstream;
mod compilers;
mod gradle;
mod install;
mod javascript;
mod moon;
mod pants;
mod paste;
