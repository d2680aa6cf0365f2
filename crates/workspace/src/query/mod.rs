//! A small language for choosing nodes of a graph: `rdeps(shared) intersect attr(lang, ts)`.

mod eval;
mod parse;

use std::fmt;
use std::sync::Arc;

use buildnet_digest::{Diagnostic, ErrorCategory};

use crate::model::{Package, Workspace};

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

/// A graph that can be asked.
pub trait QueryGraph {
    /// How many nodes it has; they are numbered from 0.
    fn len(&self) -> usize;
    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// What a node is called, for messages.
    fn noun(&self) -> &'static str;
    /// A node's name; no other node has it.
    fn name(&self, node: usize) -> String;
    /// What a node depends on.
    fn depends_on(&self, node: usize) -> Vec<usize>;
    /// A name or glob without what only says which graph is meant.
    fn plain<'w>(&self, word: &'w str) -> &'w str {
        word
    }
    /// The nodes that a name stands for that is no node's own.
    fn group(&self, name: &str) -> Vec<usize>;
    /// The names of attributes.
    fn attributes(&self) -> &'static [&'static str];
    /// A node's values of an attribute, or of `kind`.
    fn attribute(&self, node: usize, attribute: &str) -> Vec<String>;
}

/// An expression that was read.
///
/// | expression | chooses |
/// |---|---|
/// | `core`, `@scope/*`, `"quoted"` | nodes by name or glob |
/// | `all()` | all nodes |
/// | `deps(x)`, `deps(x, 2)` | `x` and what it depends on, to a depth |
/// | `rdeps(x)`, `rdeps(x, 1)`, `allrdeps(x)` | `x` and what depends on it |
/// | `rdeps(u, x)`, `rdeps(u, x, 1)` | the same among `u` and its dependencies |
/// | `path(x, y)`, `allpaths(x, y)` | a shortest way from `x` down to `y`; everything on any way |
/// | `attr(lang, ts)`, `kind(npm)` | by an attribute; the value may be a glob |
/// | `x union y`, `x intersect y`, `x except y` | sets (also `+`, `^`, `-`), from left to right; parentheses group |
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expression: parse::Expression,
}

impl Query {
    /// Reads an expression.
    pub fn new(text: &str) -> Result<Self, QueryError> {
        Ok(Self { text: text.to_owned(), expression: parse::parse(text)? })
    }

    /// The words that name nodes, by name or glob, as they are written.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.expression.names(&mut names);
        names
    }

    /// The nodes that it chooses, sorted by name; those of a `path` alone in its order.
    pub fn nodes<G: QueryGraph>(&self, graph: &G) -> Result<Vec<usize>, QueryError> {
        eval::evaluate(graph, &self.text, &self.expression)
    }
}

/// The packages of a workspace.
struct Packages<'w>(Vec<&'w Package>);

impl QueryGraph for Packages<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn noun(&self) -> &'static str {
        "package"
    }

    fn name(&self, node: usize) -> String {
        self.0[node].name.to_string()
    }

    fn depends_on(&self, node: usize) -> Vec<usize> {
        let number = |name: &Arc<str>| self.0.binary_search_by(|package| package.name.cmp(name)).ok();
        self.0[node].dependencies.iter().filter_map(number).collect()
    }

    fn group(&self, _name: &str) -> Vec<usize> {
        Vec::new()
    }

    fn attributes(&self) -> &'static [&'static str] {
        &["name", "lang", "language", "path", "kind", "version", "tag", "task"]
    }

    fn attribute(&self, node: usize, attribute: &str) -> Vec<String> {
        let package = self.0[node];
        match attribute {
            "name" => vec![package.name.to_string()],
            "lang" | "language" => package.language.iter().map(ToString::to_string).collect(),
            "path" => vec![package.directory.clone()],
            "kind" => vec![package.kind.name().to_owned()],
            "version" => package.version.iter().cloned().collect(),
            "tag" => package.tags.iter().cloned().collect(),
            _ => package.tasks.keys().map(ToString::to_string).collect(),
        }
    }
}

impl Workspace {
    /// The packages that a [`Query`] chooses. Attributes are `name`, `lang`, `path`, `kind`, `version`, `tag` and `task`; kinds `npm`,
    /// `cargo` and `declared`.
    pub fn query(&self, expression: &str) -> Result<Vec<Arc<str>>, QueryError> {
        let packages = Packages(self.packages.values().collect());
        let found = Query::new(expression)?.nodes(&packages)?;
        Ok(found.into_iter().map(|number| Arc::clone(&packages.0[number].name)).collect())
    }
}
