//! Why a text could not be scanned.

use buildnet_digest::{Diagnostic, ErrorCategory};

/// A function body or expression that BitBake could not read either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Shell that the shell grammar rejects.
    #[error("shell syntax error at line {line}: {what}")]
    Shell {
        /// 1-based line in the scanned text.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// Python that does not parse.
    #[error("Python syntax error at line {line}, column {column}: {what}")]
    Python {
        /// 1-based line in the scanned text.
        line: usize,
        /// 1-based column in that line.
        column: usize,
        /// The parser's message.
        what: String,
    },
    /// A call such as `d.getVar()` that lacks the argument which names the variable.
    #[error("line {line}: call of {call} lacks an argument")]
    MissingArgument {
        /// 1-based line in the scanned text.
        line: usize,
        /// The function's dotted name.
        call: String,
    },
    /// A call whose literal argument must be text, but is another literal.
    #[error("line {line}: call of {call} with an argument that is not text")]
    NotText {
        /// 1-based line in the scanned text.
        line: usize,
        /// The function's dotted name.
        call: String,
    },
    /// Nesting beyond what any real code has.
    #[error("line {line}: nested too deeply")]
    TooDeep {
        /// 1-based line in the scanned text.
        line: usize,
    },
    /// A function of a layer's module that inspects calls failed.
    #[error("{name} could not inspect a call of itself: {what}")]
    Visitor {
        /// The function's dotted name.
        name: String,
        /// The failure.
        what: String,
    },
}

impl ScanError {
    /// The 1-based line in the scanned text, where one is known.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Shell { line, .. }
            | Self::Python { line, .. }
            | Self::MissingArgument { line, .. }
            | Self::NotText { line, .. }
            | Self::TooDeep { line } => Some(*line),
            Self::Visitor { .. } => None,
        }
    }
}

impl Diagnostic for ScanError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Shell { .. } => Some(
                "BitBake reads shell functions as POSIX shell, without arithmetic expansion `$((…))`; `expr` or a helper script avoids it."
                    .to_owned(),
            ),
            Self::MissingArgument { .. } => Some("Pass the variable's name as the first positional argument.".to_owned()),
            _ => None,
        }
    }
}
