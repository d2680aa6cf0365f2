//! Configuration files.

use super::SyntaxKind;
use super::assignment::is_unclosed;
use super::directive::common_statement;
use super::lines::{Logical, Problem, number, physical};
use super::sink::Sink;
use super::statement::{Parsed, Statement};

/// Reads a `.conf` file.
pub(super) fn read<S: Sink>(text: &str, base: bool, sink: &mut S) -> Parsed {
    let (mut parsed, mut unclosed) = (Parsed::default(), 0);
    let lines = physical(text);
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        at += 1;
        if !lines[first].ends_with('\\') {
            let line = Logical { file: text, first: number(at), pieces: &lines[first..at], text: lines[first] };
            one(&line, base, &mut unclosed, &mut parsed, sink);
            continue;
        }
        let mut pieces = vec![lines[first]];
        // An empty line lets the text before it end in a backslash once more: the pieces that hold text.
        let mut texts = vec![0];
        let mut confusing = false;
        while let Some(before) = texts.last().and_then(|last| pieces[*last].strip_suffix('\\')) {
            let last = texts.len() - 1;
            pieces[texts[last]] = before;
            if before.is_empty() {
                texts.truncate(last);
            }
            let next = lines.get(at).copied();
            confusing |= lines[first].starts_with('#') && !next.unwrap_or_default().starts_with('#');
            if let Some(next) = next {
                if !next.is_empty() {
                    texts.push(pieces.len());
                }
                pieces.push(next);
                at += 1;
            }
        }
        let whole = pieces.concat();
        let line = Logical { file: text, first: number(first + 1), pieces: &pieces, text: &whole };
        if texts.is_empty() {
            line.error(Problem::new(&whole, "a backslash alone continues nothing"), &mut parsed);
            line.is(SyntaxKind::Error, sink);
        } else if confusing {
            let problem = Problem::new(&whole, "a comment is continued by a line that is not one: say which it is");
            line.error(problem, &mut parsed);
            line.is(SyntaxKind::Error, sink);
        } else {
            one(&line, base, &mut unclosed, &mut parsed, sink);
        }
    }
    parsed
}

fn one<S: Sink>(line: &Logical<'_, '_>, base: bool, unclosed: &mut u32, parsed: &mut Parsed, sink: &mut S) {
    if line.text.is_empty() || line.text.starts_with('#') {
        sink.line(line);
    } else {
        statement(line, common_statement(line.text, base, sink), unclosed, parsed, sink);
    }
}

/// Takes what a line says. `unclosed` is the last line of a value that was never closed; indented ones that follow it are part of that
/// mistake, and told with it.
pub(super) fn statement<S: Sink>(
    line: &Logical<'_, '_>,
    found: super::directive::Found<'_>,
    unclosed: &mut u32,
    parsed: &mut Parsed,
    sink: &mut S,
) {
    // Counted at its last line.
    let last = line.first.saturating_add(number(line.pieces.len() - 1));
    match found {
        Ok((kind, warning)) => {
            if let Some(warning) = warning {
                line.warn(warning, parsed);
            }
            line.is(SyntaxKind::of(&kind), sink);
            parsed.statements.push(Statement { line: last, kind });
        }
        Err(problem) => {
            let goes_on = *unclosed > 0 && *unclosed + 1 == line.first && line.text.starts_with(char::is_whitespace);
            if goes_on || is_unclosed(line.text) {
                *unclosed = last;
            }
            if !goes_on {
                line.error(problem, parsed);
            }
            line.is(SyntaxKind::Error, sink);
        }
    }
}
