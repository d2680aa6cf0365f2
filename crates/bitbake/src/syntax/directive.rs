//! The statements that every kind of file may hold.

use std::sync::LazyLock;

use fancy_regex::Regex;

use super::SyntaxKind;
use super::assignment::{assignment, explain, is_flag, is_plain_name};
use super::lines::{Problem, after_keyword};
use super::sink::Sink;
use super::statement::StatementKind;
use crate::Sym;

/// A statement, and what is odd about it; or what is wrong.
pub(super) type Found<'l> = Result<(StatementKind, Option<Problem<'l>>), Problem<'l>>;

/// Reads a statement that every kind of file may hold. `base` is whether `addpylib` is allowed here.
pub(super) fn common_statement<'l, S: Sink>(line: &'l str, base: bool, sink: &mut S) -> Found<'l> {
    if let Some(found) = assignment(line, sink) {
        return found.map(|(assignment, warning)| (StatementKind::Assign(assignment), warning));
    }
    directive(line, base, sink).map(|kind| (kind, None)).ok_or_else(|| explain(line))
}

/// A keyword with one argument, the rest of the line.
pub(super) fn with_argument<'l, S: Sink>(line: &'l str, keyword: &str, sink: &mut S) -> Option<&'l str> {
    let argument = after_keyword(line, keyword)?;
    mark(line, keyword, &[(SyntaxKind::Argument, argument)], sink);
    Some(argument)
}

pub(super) fn mark<S: Sink>(line: &str, keyword: &str, parts: &[(SyntaxKind, &str)], sink: &mut S) {
    sink.mark(SyntaxKind::Keyword, &line[..keyword.len()]);
    for (kind, part) in parts {
        sink.mark(*kind, part);
    }
}

fn directive<S: Sink>(line: &str, base: bool, sink: &mut S) -> Option<StatementKind> {
    if let Some(files) = with_argument(line, "include", sink) {
        return Some(StatementKind::Include { files: files.into(), required: false });
    }
    if let Some(files) = with_argument(line, "require", sink) {
        return Some(StatementKind::Include { files: files.into(), required: true });
    }
    if let Some(file) = with_argument(line, "include_all", sink) {
        return Some(StatementKind::IncludeAll(file.into()));
    }
    if let Some(name) = after_keyword(line, "export").filter(|name| is_plain_name(name)) {
        mark(line, "export", &[(SyntaxKind::Name, name)], sink);
        return Some(StatementKind::Export(Sym::new(name)));
    }
    if let Some(rest) = after_keyword(line, "unset") {
        return unset(line, rest, sink);
    }
    if base && let Some([directory, namespace]) = arguments(line, "addpylib", TWO.as_ref()) {
        let parts = [directory, namespace].map(|part| (SyntaxKind::Argument, part));
        mark(line, "addpylib", &parts, sink);
        return Some(StatementKind::AddPylib { directory: directory.into(), namespace: namespace.into() });
    }
    let words: [&str; 4] = arguments(line, "addfragments", FOUR.as_ref())?;
    mark(line, "addfragments", &words.map(|part| (SyntaxKind::Argument, part)), sink);
    Some(StatementKind::AddFragments(words.map(Into::into)))
}

fn unset<S: Sink>(line: &str, rest: &str, sink: &mut S) -> Option<StatementKind> {
    if is_plain_name(rest) {
        mark(line, "unset", &[(SyntaxKind::Name, rest)], sink);
        return Some(StatementKind::Unset(Sym::new(rest)));
    }
    let (name, flag) = rest.strip_suffix(']')?.split_once('[')?;
    if is_plain_name(name) && flag.len() > 1 && is_flag(flag, b"@") {
        mark(line, "unset", &[(SyntaxKind::Name, name), (SyntaxKind::Flag, flag)], sink);
        return Some(StatementKind::UnsetFlag(Sym::new(name), Sym::new(flag)));
    }
    None
}

/// BitBake's own patterns for the keywords with several arguments: white space belongs to the argument before, except for one
/// character.
static TWO: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A\s+(.+)\s+(.+)\z").ok());
static FOUR: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A\s+(.+)\s+(.+)\s+(.+)\s+(.+)\z").ok());

/// The arguments of a keyword that takes several.
fn arguments<'l, const N: usize>(line: &'l str, keyword: &str, pattern: Option<&Regex>) -> Option<[&'l str; N]> {
    let found = pattern?.captures(line.strip_prefix(keyword)?).ok()??;
    let parts: Vec<&str> = found.iter().skip(1).filter_map(|part| part.map(|part| part.as_str())).collect();
    parts.try_into().ok()
}
