//! What can go wrong while metadata is read.

use std::fmt;

use buildnet_digest::{Diagnostic, ErrorCategory};

/// A place in a metadata file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The file, as it was opened.
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// The column, from 1, in characters; 0 when the whole line is meant.
    pub column: u32,
    /// How many characters; 0 with the column.
    pub width: u32,
}

impl Place {
    /// A whole line.
    pub fn line(file: impl Into<String>, line: u32) -> Self {
        Self { file: file.into(), line, column: 0, width: 0 }
    }

    /// A whole file.
    pub fn file(file: impl Into<String>) -> Self {
        Self::line(file, 0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// An exception that Python code raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonError {
    /// The exception's class, such as `KeyError`.
    pub kind: String,
    /// Its text.
    pub message: String,
    /// The traceback, for people.
    pub traceback: String,
}

impl fmt::Display for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        let frames: Vec<&str> = self.traceback.lines().filter(|line| line.trim_start().starts_with("File ")).collect();
        frames.iter().rev().take(4).try_for_each(|frame| write!(f, "\n  at {}", frame.trim()))
    }
}

/// Why metadata could not be read or evaluated.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The text of a file is not BitBake's language, or names a file that is not there.
    #[error("{}{}", lines(errors), chain_of(including))]
    Parse {
        /// Where, and what is wrong; at least one.
        errors: Vec<(Place, String)>,
        /// What includes the file, innermost first.
        including: Vec<Place>,
    },
    /// An expression or a variable could not be expanded.
    #[error("{}: {message}\nthe chain of variables is: {}", chain.first().map_or("expression", String::as_str), chain.join(" -> "))]
    Expansion {
        /// The variables, innermost first.
        chain: Vec<String>,
        /// What failed.
        message: String,
    },
    /// Python code raised.
    #[error("{what} raised {error}")]
    Python {
        /// The function or expression.
        what: String,
        /// The exception.
        error: PythonError,
    },
    /// Metadata asked to skip this recipe (`SkipRecipe`), with its reason.
    #[error("skipped: {0}")]
    Skip(String),
    /// Metadata declared the configuration unusable (`bb.fatal`), or BitBake's rules do.
    #[error("{0}")]
    Fatal(String),
    /// The configuration cannot be used, for each of these reasons.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// A file or directory could not be read.
    #[error("{path}: {message}")]
    Io {
        /// The path.
        path: String,
        /// The system's words.
        message: String,
    },
    /// Python code ran too long.
    #[error("{what} ran for {seconds} s without end")]
    TimeLimit {
        /// The limit.
        seconds: u64,
        /// The function or expression.
        what: String,
    },
    /// The Python process could not be started, or died.
    #[error("the Python worker: {0}")]
    Worker(String),
}

/// The lines that say what includes a file.
pub(crate) fn chain_of(including: &[Place]) -> String {
    including.iter().flat_map(|place| ["\n  included from ".to_owned(), place.to_string()]).collect()
}

fn lines(errors: &[(Place, String)]) -> String {
    let lines: Vec<String> = errors.iter().map(|(place, message)| format!("{place}: {message}")).collect();
    lines.join("\n")
}

impl Error {
    /// One thing that is wrong with a file.
    pub(crate) fn parse(place: Place, message: impl Into<String>) -> Self {
        Self::Parse { errors: vec![(place, message.into())], including: Vec::new() }
    }
}

impl Diagnostic for Error {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Parse { .. }
            | Self::Expansion { .. }
            | Self::Python { .. }
            | Self::Skip(_)
            | Self::Fatal(_)
            | Self::Configuration(_)
            | Self::TimeLimit { .. } => ErrorCategory::User,
            Self::Io { .. } | Self::Worker(_) => ErrorCategory::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Expansion { .. } => {
                Some("`buildnet bitbake env --history` shows every line that set these variables".into())
            }
            Self::Worker(_) => Some("BuildNet needs Python 3.9 or newer on PATH, or `--python PATH`".into()),
            _ => None,
        }
    }
}

/// The result of reading metadata.
pub type Result<T> = std::result::Result<T, Error>;
