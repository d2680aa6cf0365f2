//! Files with their text, and places in them.

use std::fmt;
use std::sync::Arc;

/// A file that was read, kept for the excerpts of error messages.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Its path as shown to the user: relative to the root where it lies below it.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A stretch of one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters; what goes past the end of the line is not marked.
    pub length: usize,
}

/// A place in a file. Displays as `--> file:line:column` with the line and carets below it.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub source: Arc<SourceText>,
    /// Where in it.
    pub span: Span,
}

/// Longest line that is shown, in characters; longer ones are not quoted.
const MAX_EXCERPT: usize = 200;

impl Location {
    /// A place in `source`.
    pub fn new(source: &Arc<SourceText>, span: Span) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// The place of the first occurrence of `needle`, or the first line.
    pub fn find(source: &Arc<SourceText>, needle: &str) -> Self {
        let span = source.text.lines().enumerate().find_map(|(index, line)| {
            let byte = line.find(needle)?;
            let column = line[..byte].chars().count() + 1;
            Some(Span { line: index + 1, column, length: needle.chars().count() })
        });
        Self::new(source, span.unwrap_or(Span { line: 1, column: 1, length: 1 }))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { line, column, length } = self.span;
        let number = line.to_string();
        let pad = " ".repeat(number.len());
        write!(f, "{pad}--> {}:{line}:{column}", self.source.path)?;
        let Some(text) = self.source.text.lines().nth(line.saturating_sub(1)) else { return Ok(()) };
        let text = text.replace('\t', " ");
        let width = text.chars().count();
        if width > MAX_EXCERPT {
            return Ok(());
        }
        let carets = "^".repeat(length.clamp(1, (width + 1).saturating_sub(column - 1).max(1)));
        write!(f, "\n{pad} |\n{number} | {text}\n{pad} | {}{carets}", " ".repeat(column - 1))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.path, self.span.line, self.span.column)
    }
}
