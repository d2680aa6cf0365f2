//! The grammar of assignments, and the statements that every kind of file shares.

use super::lines::after_keyword;
use super::statement::{Assignment, Operator, Parsed, Statement, StatementKind, SyntaxError};
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

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_+.${}/~:".contains(&byte)
}

/// Like a name, but without overrides: what `export` and `unset` take.
fn is_plain_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| is_name_byte(b) && b != b':')
}

fn is_flag(text: &str, more: &[u8]) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric() || b"-_+.".contains(&b))
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"-_+.".contains(&b) || more.contains(&b))
}

/// Reads an assignment: the name, and whether white space stands on both sides of the operator.
fn assignment(line: &str) -> Option<(&str, Assignment, bool)> {
    if let Some(rest) = after_keyword(line, "export")
        && let Some(found) = without_export(rest, true)
    {
        return Some(found);
    }
    without_export(line, false)
}

fn without_export(line: &str, export: bool) -> Option<(&str, Assignment, bool)> {
    let longest = line.bytes().position(|b| !is_name_byte(b)).unwrap_or(line.len());
    // The shortest name that lets the rest match: `A+=` is `+=` on A, not `=` on `A+`.
    (0..=longest).find_map(|end| {
        let (name, rest) = line.split_at(end);
        let with_flag =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|(flag, _)| is_flag(flag, b"@/"));
        let tail = match with_flag {
            Some((flag, rest)) => operator_and_value(rest).map(|found| (Some(Sym::new(flag)), found)),
            None => None,
        };
        let (flag, (operator, value, spaced)) = tail.or_else(|| operator_and_value(rest).map(|found| (None, found)))?;
        Some((name, Assignment { var: Sym::new(name), flag, operator, export, value: value.into() }, spaced))
    })
}

fn operator_and_value(text: &str) -> Option<(Operator, &str, bool)> {
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
        Some((*operator, &quoted[1..quoted.len() - 1], space_before && space_after))
    })
}

/// Reads a statement that every kind of file may hold. `base` is whether `addpylib` is allowed here.
pub(super) fn common_statement(line: &str, number: u32, base: bool, parsed: &mut Parsed) {
    let kind = if let Some((name, assignment, spaced)) = assignment(line) {
        if name.is_empty() {
            parsed.errors.push(SyntaxError { line: number, message: format!("the variable has no name: {line}") });
            return;
        }
        if !spaced {
            parsed.warnings.push(SyntaxError {
                line: number,
                message: format!("white space is missing around the operator: {line}"),
            });
        }
        Some(StatementKind::Assign(assignment))
    } else {
        directive(line, base)
    };
    match kind {
        Some(kind) => parsed.statements.push(Statement { line: number, kind }),
        None => parsed.errors.push(SyntaxError { line: number, message: explain(line) }),
    }
}

fn directive(line: &str, base: bool) -> Option<StatementKind> {
    if let Some(files) = after_keyword(line, "include") {
        return Some(StatementKind::Include { files: files.into(), required: false });
    }
    if let Some(files) = after_keyword(line, "require") {
        return Some(StatementKind::Include { files: files.into(), required: true });
    }
    if let Some(file) = after_keyword(line, "include_all") {
        return Some(StatementKind::IncludeAll(file.into()));
    }
    if let Some(name) = after_keyword(line, "export").filter(|name| is_plain_name(name)) {
        return Some(StatementKind::Export(Sym::new(name)));
    }
    if let Some(rest) = after_keyword(line, "unset") {
        if is_plain_name(rest) {
            return Some(StatementKind::Unset(Sym::new(rest)));
        }
        let (name, flag) = rest.strip_suffix(']')?.split_once('[')?;
        if is_plain_name(name) && flag.len() > 1 && is_flag(flag, b"@") {
            return Some(StatementKind::UnsetFlag(Sym::new(name), Sym::new(flag)));
        }
        return None;
    }
    if let Some(rest) = after_keyword(line, "addpylib").filter(|_| base) {
        let (directory, namespace) = rest.rsplit_once(char::is_whitespace)?;
        return Some(StatementKind::AddPylib { directory: directory.trim_end().into(), namespace: namespace.into() });
    }
    if let Some(rest) = after_keyword(line, "addfragments") {
        let mut words: Vec<&str> = Vec::new();
        let mut head = rest;
        for _ in 0..3 {
            let (before, word) = head.rsplit_once(char::is_whitespace)?;
            words.push(word);
            head = before.trim_end();
        }
        let [builtin, flagged, list] = words.try_into().ok()?;
        return Some(StatementKind::AddFragments([head.into(), list.into(), flagged.into(), builtin.into()]));
    }
    None
}

/// Says what is most likely wrong with a line.
fn explain(line: &str) -> String {
    let longest = line.bytes().position(|b| !is_name_byte(b)).unwrap_or(line.len());
    let after_name = line[longest..].trim_start();
    let operator = OPERATORS.iter().find_map(|(sign, _)| after_name.strip_prefix(sign));
    if line.starts_with(char::is_whitespace) {
        return format!("a statement must start in the first column: {line}");
    }
    match operator.map(str::trim_start) {
        Some(value) if longest > 0 => match value.chars().next() {
            Some(quote @ ('"' | '\'')) if value.len() < 2 || !value.ends_with(quote) => {
                format!("the value is not closed by {quote}: {line}")
            }
            Some(quote @ ('"' | '\'')) => format!("the value has a {quote} inside: {line}"),
            _ => format!("the value is not in quotes: {line}"),
        },
        _ => format!("not a statement: {line}"),
    }
}
