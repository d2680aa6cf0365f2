//! The grammar of assignments.

use super::SyntaxKind;
use super::lines::{Problem, after_keyword};
use super::sink::Sink;
use super::statement::{Assignment, Operator};
use crate::Sym;

/// Operators, longest first where one begins another.
const OPERATORS: [(&str, Operator); 8] = [
    (":=", Operator::Immediate),
    ("??=", Operator::WeakDefault),
    ("?=", Operator::Default),
    ("+=", Operator::Append),
    ("=+", Operator::Prepend),
    ("=.", Operator::PrependDot),
    (".=", Operator::AppendDot),
    ("=", Operator::Set),
];

impl Operator {
    /// The operator of a sign.
    pub(super) fn of_sign(sign: &str) -> Option<Self> {
        OPERATORS.iter().find(|(own, _)| *own == sign).map(|(_, operator)| *operator)
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_+.${}/~:".contains(&byte)
}

/// Like a name, but without overrides: what `export` and `unset` take.
pub(super) fn is_plain_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| is_name_byte(b) && b != b':')
}

pub(super) fn is_flag(text: &str, more: &[u8]) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b"-_+.".contains(&b))
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"-_+.".contains(&b) || more.contains(&b))
}

/// An assignment's parts.
struct Parts<'l> {
    export: &'l str,
    name: &'l str,
    flag: Option<&'l str>,
    sign: &'l str,
    operator: Operator,
    value: &'l str,
    /// Whether white space stands on both sides of the operator.
    spaced: bool,
}

/// An assignment, and what is odd about it; `None` for a line that is none.
pub(super) type Found<'l> = Result<(Assignment, Option<Problem<'l>>), Problem<'l>>;

/// Reads an assignment.
pub(super) fn assignment<'l, S: Sink>(line: &'l str, sink: &mut S) -> Option<Found<'l>> {
    let exported = after_keyword(line, "export").and_then(|rest| without_export(rest, &line[.."export".len()]));
    let parts = exported.or_else(|| without_export(line, &line[..0]))?;
    if parts.name.is_empty() {
        return Some(Err(Problem::new(parts.sign, "the variable has no name")));
    }
    let Parts { export, name, flag, sign, operator, value, spaced } = parts;
    if !export.is_empty() {
        sink.mark(SyntaxKind::Keyword, export);
    }
    sink.mark(SyntaxKind::Name, name);
    if let Some(flag) = flag {
        sink.mark(SyntaxKind::Flag, flag);
    }
    sink.mark(SyntaxKind::Operator, sign);
    sink.mark(SyntaxKind::Value, value);
    let (var, flag, export) = (Sym::new(name), flag.map(Sym::new), !export.is_empty());
    let warning = (!spaced).then(|| Problem::new(sign, format!("white space is missing around the operator: {line}")));
    Some(Ok((Assignment { var, flag, operator, export, value: value.into() }, warning)))
}

fn without_export<'l>(line: &'l str, export: &'l str) -> Option<Parts<'l>> {
    let longest = line.bytes().position(|b| !is_name_byte(b)).unwrap_or(line.len());
    // The shortest name that lets the rest match: `A+=` is `+=` on A, not `=` on `A+`.
    (0..=longest).find_map(|end| {
        let (name, rest) = line.split_at(end);
        let with_flag =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|(flag, _)| is_flag(flag, b"@/"));
        let (flag, rest) = with_flag.map_or((None, rest), |(flag, rest)| (Some(flag), rest));
        let (sign, operator, value, spaced) = operator_and_value(rest)?;
        Some(Parts { export, name, flag, sign, operator, value, spaced })
    })
}

fn operator_and_value(text: &str) -> Option<(&str, Operator, &str, bool)> {
    let rest = text.trim_start();
    let space_before = rest.len() < text.len();
    OPERATORS.iter().find_map(|(sign, operator)| {
        let after = rest.strip_prefix(sign)?;
        let quoted = after.trim_start();
        let space_after = quoted.len() < after.len();
        let quote = quoted.chars().next().filter(|c| *c == '"' || *c == '\'')?;
        if quoted.len() < 2 || !quoted.ends_with(quote) {
            return None;
        }
        // One quote in the middle is a value that ends too early; two may belong together.
        if quoted.matches(quote).count() == 3 {
            return None;
        }
        Some((&rest[..sign.len()], *operator, &quoted[1..quoted.len() - 1], space_before && space_after))
    })
}

/// Says what is most likely wrong with a line that is no statement.
pub(super) fn explain(line: &str) -> Problem<'_> {
    let longest = line.bytes().position(|b| !is_name_byte(b)).unwrap_or(line.len());
    let after_name = line[longest..].trim_start();
    let operator = OPERATORS.iter().find_map(|(sign, _)| after_name.strip_prefix(sign));
    let indent = line.len() - line.trim_start().len();
    if indent > 0 {
        return Problem::new(&line[..indent], "a statement must start in the first column");
    }
    let Some(value) = operator.filter(|_| longest > 0).map(str::trim_start) else {
        return Problem::new(line, "not a statement");
    };
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) if value.len() < 2 || !value.ends_with(quote) => {
            Problem::new(value, format!("the value is not closed by {quote}"))
        }
        Some(quote @ ('"' | '\'')) => {
            let inner = value[1..].find(quote).map_or(value, |at| &value[at + 1..at + 2]);
            Problem::new(inner, format!("the value has a {quote} inside"))
        }
        Some(_) => Problem::new(value, "the value is not in quotes"),
        None => Problem::new(line, "the value is missing"),
    }
}

/// Whether a line is an assignment whose value begins with a quote that nothing closes.
pub(super) fn is_unclosed(line: &str) -> bool {
    explain(line).message.starts_with("the value is not closed")
}
