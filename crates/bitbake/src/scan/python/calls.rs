//! The named calls of a piece of Python, with what their first arguments say.

use std::fmt::Write as _;
use std::ops::Range;

use rustpython_ruff_python_ast::{Expr, ExprCall, Number};
use rustpython_ruff_python_parser::parse_module;

use super::tree;
use crate::scan::ScanError;

/// Stack that one level of nesting takes in the parser, at most.
const LEVEL: usize = 24 << 10;
/// Stack that one link of a chain (`a.b.c`, `a + b + c`) takes when the tree is dropped, at most.
const LINK: usize = 2 << 10;
/// Code that needs no more than this is parsed on the caller's stack.
const ORDINARY: usize = 1 << 20;
/// Code that could need more is refused.
const MOST: usize = 1 << 30;

/// A call of a name or dotted name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The dotted name.
    pub(super) name: String,
    /// 1-based line in the scanned code.
    pub(super) line: usize,
    /// Where the call is written in [`Calls::text`].
    pub(super) span: Range<usize>,
    /// The first two positional arguments.
    arguments: Vec<Argument>,
}

/// What a text calls.
#[derive(Debug)]
pub(super) struct Calls {
    /// The text as it was parsed.
    pub(super) text: String,
    /// In the order of Python's `ast.walk`.
    pub(super) calls: Vec<Call>,
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// A string literal.
    Text(String),
    /// Another constant, as Python's `str` prints it.
    Constant(String),
    /// Anything that must be computed.
    Other,
}

impl Call {
    /// A positional argument, which must be there.
    pub(super) fn argument(&self, index: usize) -> Result<&Argument, ScanError> {
        self.arguments.get(index).ok_or_else(|| ScanError::MissingArgument { line: self.line, call: self.name.clone() })
    }
}

/// All named calls.
pub(super) fn calls(code: &str) -> Result<Calls, ScanError> {
    let need = stack_need(code);
    if need <= ORDINARY {
        return parse(code);
    }
    if need > MOST {
        return Err(ScanError::TooDeep { line: 1 });
    }
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(need + ORDINARY)
            .spawn_scoped(scope, || parse(code))
            .map_err(|_| ScanError::TooDeep { line: 1 })?
            .join()
            .unwrap_or(Err(ScanError::TooDeep { line: 1 }))
    })
}

/// A bound of the stack that parsing and dropping takes, from what can nest at most.
fn stack_need(code: &str) -> usize {
    let mut need = 0;
    let mut indentation = 0;
    let mut deepest = 0;
    let mut at_start = true;
    for byte in code.bytes() {
        need += match byte {
            b'(' | b'[' | b'{' | b'-' | b'+' | b'~' | b'*' | b':' => LEVEL,
            b'.' | b'%' | b'/' | b'&' | b'|' | b'^' | b'@' | b'<' | b'>' => LINK,
            _ => 0,
        };
        match byte {
            b'\n' => (at_start, indentation) = (true, 0),
            b' ' | b'\t' if at_start => {
                indentation += 1;
                deepest = deepest.max(indentation);
            }
            _ => at_start = false,
        }
    }
    // Words that nest what follows them: `not`, `await`, `else` and `yield`, each at least as long as this.
    let words = ["not ", "await ", "else ", "yield "].iter().map(|word| code.matches(word).count()).sum::<usize>();
    need + (deepest + words) * LEVEL
}

fn parse(code: &str) -> Result<Calls, ScanError> {
    let (module, added) = outdented(code);
    let parsed = parse_module(&module).map_err(|error| {
        let (line, column) = position(&module, error.location.start().to_usize());
        ScanError::Python { line: line.saturating_sub(added).max(1), column, what: error.error.to_string() }
    })?;
    let lines = Lines::of(&module);
    let calls = tree::calls(&parsed.syntax().body)
        .filter_map(|call| {
            let span = call.range.start().to_usize()..call.range.end().to_usize();
            let line = lines.of_offset(span.start).saturating_sub(added).max(1);
            Some(Call { name: dotted_name(&call.func)?, line, span, arguments: arguments(call) })
        })
        .collect();
    Ok(Calls { text: module.into_owned(), calls })
}

/// Where the lines of a text start.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The 1-based line of an offset.
    fn of_offset(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn arguments(call: &ExprCall) -> Vec<Argument> {
    call.arguments
        .args
        .iter()
        .take(2)
        .map(|argument| match argument {
            Expr::StringLiteral(text) => Argument::Text(text.value.to_str().to_owned()),
            other => constant(other).map_or(Argument::Other, Argument::Constant),
        })
        .collect()
}

/// Code whose first line is indented becomes the body of an `if`; also says how many lines that put before it.
fn outdented(code: &str) -> (std::borrow::Cow<'_, str>, usize) {
    let first = code.len() - code.trim_start_matches(['\n', '\t', ' ']).len();
    if first == 0 || code.as_bytes()[first - 1] == b'\n' {
        (code.into(), 0)
    } else {
        (format!("if 1:\n{code}").into(), 1)
    }
}

/// 1-based line and column of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.split(|byte| *byte == b'\n').count();
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

/// The dotted name of a called expression, when it is names and attributes only.
fn dotted_name(mut expr: &Expr) -> Option<String> {
    let mut names = Vec::new();
    loop {
        match expr {
            Expr::Attribute(attribute) => {
                names.push(attribute.attr.as_str());
                expr = &attribute.value;
            }
            Expr::Name(name) => {
                names.push(name.id.as_str());
                names.reverse();
                return Some(names.join("."));
            }
            _ => return None,
        }
    }
}

/// A constant that is no text, as Python's `str` prints it.
fn constant(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::NoneLiteral(_) => "None".to_owned(),
        Expr::BooleanLiteral(literal) => if literal.value { "True" } else { "False" }.to_owned(),
        Expr::EllipsisLiteral(_) => "Ellipsis".to_owned(),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(int) => int.to_string(),
            Number::Float(float) => format!("{float:?}"),
            Number::Complex { imag, .. } => format!("{imag}j"),
        },
        Expr::BytesLiteral(literal) => bytes_repr(&literal.value.bytes().collect::<Vec<u8>>()),
        _ => return None,
    })
}

/// Python's `repr` of bytes.
fn bytes_repr(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut result = format!("b{quote}");
    for byte in bytes {
        match byte {
            b'\\' => result.push_str("\\\\"),
            b'\n' => result.push_str("\\n"),
            b'\r' => result.push_str("\\r"),
            b'\t' => result.push_str("\\t"),
            byte if char::from(*byte) == quote => result.extend(['\\', quote]),
            0x20..=0x7e => result.push(char::from(*byte)),
            byte => write!(result, "\\x{byte:02x}").expect("writing to a string cannot fail"),
        }
    }
    result.push(quote);
    result
}
