//! A small language for choosing packages: `rdeps(shared) intersect attr(lang, ts)`.

mod eval;
mod parse;

use std::fmt;
use std::sync::Arc;

use buildnet_digest::{Diagnostic, ErrorCategory};

use crate::model::Workspace;

/// A query that cannot be answered. Displays with the query and carets below what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct QueryError {
    /// What is wrong.
    pub message: String,
    /// The query.
    pub expression: String,
    /// Where it is wrong, in bytes.
    pub start: usize,
    /// How far, in bytes.
    pub length: usize,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.expression.get(..self.start).unwrap_or_default();
        let marked = self.expression.get(self.start..self.start + self.length).unwrap_or_default();
        let (column, width) = (before.chars().count(), marked.chars().count().max(1));
        let line = self.expression.replace(['\n', '\t'], " ");
        write!(f, "{}\n  | {line}\n  | {}{}", self.message, " ".repeat(column), "^".repeat(width))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  help: {hint}")?;
        }
        Ok(())
    }
}

impl Diagnostic for QueryError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl Workspace {
    /// The packages that a query chooses, sorted by name.
    ///
    /// | expression | chooses |
    /// |---|---|
    /// | `core`, `@scope/*`, `"quoted"` | packages by name or glob |
    /// | `all()` | all packages |
    /// | `deps(x)`, `deps(x, 2)` | `x` and what it depends on, to a depth |
    /// | `rdeps(x)`, `rdeps(x, 1)`, `allrdeps(x)` | `x` and what depends on it |
    /// | `rdeps(u, x)`, `rdeps(u, x, 1)` | the same among `u` and its dependencies |
    /// | `attr(lang, ts)` | by `name`, `lang`, `path`, `kind`, `version`, `tag` or `task`; the value may be a glob |
    /// | `kind(npm)` | by kind: `npm`, `cargo`, `declared` |
    /// | `x union y`, `x intersect y`, `x except y` | sets (also `+`, `^`, `-`), from left to right; parentheses group |
    pub fn query(&self, expression: &str) -> Result<Vec<Arc<str>>, QueryError> {
        let parsed = parse::parse(expression)?;
        eval::evaluate(self, expression, &parsed)
    }
}
