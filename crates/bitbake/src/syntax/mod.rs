//! Statements of `.conf`, `.bb`, `.bbappend`, `.bbclass` and `.inc` files.
//!
//! The language is line based. A file is cut into logical lines (`lines`), each of which is one statement or part of a function
//! (`recipe`, `conf`); an assignment has a grammar of its own (`assignment`). What cannot be read becomes an error with its line, and
//! the rest of the file is still read.

mod assignment;
mod conf;
mod lines;
mod recipe;
mod statement;

#[cfg(test)]
mod tests;

pub use conf::parse_conf;
pub use recipe::parse_recipe;
pub use statement::{Assignment, Function, Operator, Parsed, Statement, StatementKind, SyntaxError};
