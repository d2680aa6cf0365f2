//! Whose fault an error is, and what to do about it.

/// Category of an error; decides the program's exit code and whether a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCategory {
    /// The user's mistake: configuration, arguments, sources. Exit code 2.
    User,
    /// The environment failed: disk, kernel, network, a missing program. May be retried. Exit code 3.
    Environment,
    /// A defect of BuildNet. Exit code 3.
    Internal,
}

/// An error that knows its category and may know what to do next.
pub trait Diagnostic: std::error::Error {
    /// Whose fault it is.
    fn category(&self) -> ErrorCategory;

    /// What the user can do, in one or two sentences.
    fn hint(&self) -> Option<String> {
        None
    }
}
