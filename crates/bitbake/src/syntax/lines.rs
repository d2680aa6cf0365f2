//! Physical lines, and logical ones that backslashes make of several.

use std::ops::Range;

use super::sink::Sink;
use super::statement::{Parsed, SyntaxError};

/// Errors of one file that are kept; a file with more is something else than metadata.
const MOST: usize = 1000;

/// The lines of a text, at `\n`, `\r\n` or a lone `\r`, without their ends and without trailing white space.
pub(super) fn physical(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        lines.push(rest[..end].trim_end());
        rest = &rest[end..];
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])).unwrap_or(rest);
    }
    lines
}

/// The rest of a line after a keyword and white space, when that is not empty. As with a greedy regular expression, the last of more
/// white space is the rest where there is nothing else.
pub(super) fn after_keyword<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(keyword)?;
    let trimmed = rest.trim_start();
    if trimmed.is_empty() {
        let (last, _) = rest.char_indices().next_back()?;
        return (last > 0).then_some(&rest[last..]);
    }
    (trimmed.len() < rest.len()).then_some(trimmed)
}

pub(super) fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

/// What is wrong with a part of a logical line.
pub(super) struct Problem<'l> {
    pub(super) part: &'l str,
    pub(super) message: String,
}

impl<'l> Problem<'l> {
    pub(super) fn new(part: &'l str, message: impl Into<String>) -> Self {
        Self { part, message: message.into() }
    }
}

/// A logical line: its text, and the pieces of the file that make it up, without white space and backslashes at their ends.
pub(super) struct Logical<'l, 'a> {
    /// The whole file.
    pub(super) file: &'a str,
    /// The line of the first piece, from 1.
    pub(super) first: u32,
    /// In order; one for a line that is not continued.
    pub(super) pieces: &'l [&'a str],
    /// The pieces together.
    pub(super) text: &'l str,
}

/// Where one text lies in another that it is a part of.
fn offset(part: &str, whole: &str) -> usize {
    part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr())
}

impl Logical<'_, '_> {
    /// The pieces that a range of the text begins and ends in, with the places in them.
    fn ends(&self, range: Range<usize>) -> [(usize, usize); 2] {
        let mut before = 0;
        let mut found = [None, None];
        for (index, piece) in self.pieces.iter().enumerate() {
            let after = before + piece.len();
            if found[0].is_none() && (range.start < after || index + 1 == self.pieces.len()) {
                found[0] = Some((index, (range.start - before).min(piece.len())));
            }
            if found[1].is_none() && (range.end <= after || index + 1 == self.pieces.len()) {
                found[1] = Some((index, (range.end - before).min(piece.len())));
            }
            before = after;
        }
        found.map(Option::unwrap_or_default)
    }

    /// Where a range of the text lies in the file: one stretch for each piece that has a part of it.
    pub(super) fn in_file(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        self.pieces
            .iter()
            .scan(0, |before, piece| Some((std::mem::replace(before, *before + piece.len()), *piece)))
            .filter_map(move |(before, piece)| {
                let start = range.start.max(before);
                let end = range.end.min(before + piece.len());
                let place = offset(piece, self.file);
                (start < end).then(|| place + start - before..place + end - before)
            })
    }

    /// The range of a part of the text.
    pub(super) fn range(&self, part: &str) -> Range<usize> {
        let start = offset(part, self.text).min(self.text.len());
        start..(start + part.len()).min(self.text.len())
    }

    /// Where the line ends in the file, before white space and the line's end.
    pub(super) fn end(&self) -> usize {
        self.pieces.last().map_or(0, |piece| offset(piece, self.file) + piece.len())
    }

    fn located(&self, problem: Problem<'_>) -> SyntaxError {
        let [(piece, at), (last, end)] = self.ends(self.range(problem.part));
        let line = self.pieces[piece];
        let end = if last == piece { end.max(at) } else { line.len() };
        let columns = |text: &str| number(text.chars().count());
        SyntaxError {
            line: self.first.saturating_add(number(piece)),
            column: columns(&line[..at]) + 1,
            width: columns(&line[at..end]).max(1),
            message: problem.message,
        }
    }

    pub(super) fn error(&self, problem: Problem<'_>, parsed: &mut Parsed) {
        if parsed.errors.len() < MOST {
            parsed.errors.push(self.located(problem));
        }
    }

    pub(super) fn warn(&self, problem: Problem<'_>, parsed: &mut Parsed) {
        if parsed.warnings.len() < MOST {
            parsed.warnings.push(self.located(problem));
        }
    }

    /// Tells a sink that the line is all of a node.
    pub(super) fn is<S: Sink>(&self, kind: super::SyntaxKind, sink: &mut S) {
        sink.open(kind);
        sink.line(self);
        sink.close();
    }
}
