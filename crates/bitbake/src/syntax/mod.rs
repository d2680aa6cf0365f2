//! Statements of `.conf`, `.bb`, `.bbappend`, `.bbclass` and `.inc` files, and their syntax tree.
//!
//! The language is line based. A file is cut into logical lines (`lines`), each of which is one statement or part of a function
//! (`recipe`, `conf`); what all files share is in `directive` and `assignment`. What cannot be read becomes an error with its place, and
//! the rest of the file is still read.
//!
//! There is one grammar, and it tells a `sink` of every part it finds. Evaluation wants statements alone ([`parse`]) and listens to nothing. [`Tree`] keeps everything: who shows a place, checks or edits a file makes the tree of that
//! file then.

mod assignment;
mod conf;
mod directive;
mod kind;
mod lines;
mod recipe;
mod sink;
mod statement;
mod tree;

#[cfg(test)]
mod tests;

pub use kind::{BitBake, SyntaxKind};
pub use statement::{Assignment, Function, Operator, Parsed, Statement, StatementKind, SyntaxError};
pub use tree::{SyntaxNode, SyntaxToken, Tree, token_texts};

use sink::{Nothing, Sink};

/// Which kind of file a text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A `.conf` file.
    Conf {
        /// Whether it belongs to the configuration itself, where `addpylib` is allowed.
        base: bool,
    },
    /// A `.bb`, `.bbappend`, `.bbclass` or `.inc` file.
    Recipe {
        /// The class's name; empty for other files.
        class: String,
    },
}

impl Dialect {
    /// The kind of a file, by its name. `base` is whether it is read for the configuration itself.
    pub fn of_file(path: &str, base: bool) -> Self {
        let file = path.rsplit('/').next().unwrap_or(path);
        if file.strip_suffix(".conf").is_some() {
            Self::Conf { base }
        } else {
            Self::Recipe { class: file.strip_suffix(".bbclass").unwrap_or_default().to_owned() }
        }
    }

    fn class(&self) -> &str {
        match self {
            Self::Conf { .. } => "",
            Self::Recipe { class } => class,
        }
    }
}

fn read<S: Sink>(text: &str, dialect: &Dialect, sink: &mut S) -> Parsed {
    match dialect {
        Dialect::Conf { base } => conf::read(text, *base, sink),
        Dialect::Recipe { class } => recipe::read(text, class, sink),
    }
}

/// Reads the statements of a file.
pub fn parse(text: &str, dialect: &Dialect) -> Parsed {
    read(text, dialect, &mut Nothing)
}
