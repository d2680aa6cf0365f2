//! Errors as they travel: from a library to a terminal or through the daemon to a client.

use std::error::Error;

use buildnet_digest::{Diagnostic, ErrorCategory};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Any error, flattened to what a user is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorReport {
    /// `user`, `environment` or `internal`.
    pub category: Category,
    /// What failed, naming the thing.
    pub message: String,
    /// Why, from the outermost cause to the innermost.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// [`ErrorCategory`] as it is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// The user's mistake.
    User,
    /// The environment failed.
    Environment,
    /// A defect of BuildNet.
    Internal,
}

impl From<ErrorCategory> for Category {
    fn from(category: ErrorCategory) -> Self {
        match category {
            ErrorCategory::User => Self::User,
            ErrorCategory::Environment => Self::Environment,
            ErrorCategory::Internal => Self::Internal,
        }
    }
}

impl ErrorReport {
    /// A user's mistake.
    pub fn user(message: impl Into<String>) -> Self {
        Self { category: Category::User, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A failure of the environment.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { category: Category::Environment, ..Self::user(message) }
    }

    /// A defect of BuildNet.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { category: Category::Internal, ..Self::user(message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds an error, and what caused it in turn, as the cause.
    #[must_use]
    pub fn because(mut self, cause: &dyn Error) -> Self {
        self.causes.push(cause.to_string());
        let mut next = cause.source();
        while let Some(cause) = next {
            self.push_cause(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Flattens an error that knows its category and hint.
    pub fn of<E: Diagnostic>(error: &E) -> Self {
        let mut message = error.to_string();
        let mut hint = error.hint();
        // Errors with excerpts of files say below the excerpt what to do. Where several are told, each keeps its own.
        if let Some((before, help)) = message.rsplit_once("\n  help: ")
            && !before.contains("\n  help: ")
            && !help.contains("\n\n")
        {
            hint = Some(help.to_owned());
            let end = before.len();
            message.truncate(end);
        }
        let mut report = Self { category: error.category().into(), message, causes: Vec::new(), hint };
        let mut next = error.source();
        while let Some(cause) = next {
            report.push_cause(cause.to_string());
            next = cause.source();
        }
        report
    }

    /// Errors often repeat their source in their own text; a cause that was just read is left out.
    fn push_cause(&mut self, cause: String) {
        let last = self.causes.last().unwrap_or(&self.message);
        if !last.ends_with(&cause) {
            self.causes.push(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the store")]
    struct Outer(#[source] std::io::Error);

    impl Diagnostic for Outer {
        fn category(&self) -> ErrorCategory {
            ErrorCategory::Environment
        }

        fn hint(&self) -> Option<String> {
            Some("free some space".to_owned())
        }
    }

    #[test]
    fn causes_are_told_once() {
        let report = ErrorReport::of(&Outer(std::io::Error::other("disk full")));
        assert_eq!(report.category, Category::Environment);
        assert_eq!(report.causes, ["disk full"]);
        assert_eq!(report.hint.as_deref(), Some("free some space"));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Told(&'static str);

    impl Diagnostic for Told {
        fn category(&self) -> ErrorCategory {
            ErrorCategory::User
        }
    }

    #[test]
    fn help_below_an_excerpt_is_the_hint() {
        let report = ErrorReport::of(&Told("no package `x`\n --> a:1\n  help: did you mean `y`?"));
        assert_eq!(report.message, "no package `x`\n --> a:1");
        assert_eq!(report.hint.as_deref(), Some("did you mean `y`?"));
        let two = "one\n  help: a\n\ntwo\n  help: b";
        assert_eq!(ErrorReport::of(&Told(two)).message, two);
    }

    #[test]
    fn a_cause_that_the_message_ends_with_is_left_out() {
        let mut report = ErrorReport::user("cannot read a: denied");
        report.push_cause("denied".to_owned());
        assert!(report.causes.is_empty());
    }
}
