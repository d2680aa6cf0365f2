//! The lossless syntax tree.

use std::ops::Range;

use rowan::{GreenNode, GreenNodeBuilder, Language as _};

use super::kind::{BitBake, SyntaxKind};
use super::lines::{Logical, physical};
use super::sink::Sink;
use super::statement::{Function, Operator, Parsed, Statement, StatementKind};
use super::{Dialect, recipe};
use crate::{Sym, Text};

/// A node of the tree.
pub type SyntaxNode = rowan::SyntaxNode<BitBake>;
/// A token of the tree.
pub type SyntaxToken = rowan::SyntaxToken<BitBake>;

/// A file's tree: its text is the file's, byte for byte, whatever the file holds.
///
/// Below the root lie one node for each statement and for each stretch that is none ([`SyntaxKind::Error`]); comments and blank lines
/// lie between them as tokens.
#[derive(Clone, Debug)]
pub struct Tree {
    green: GreenNode,
    dialect: Dialect,
    /// What cannot be read, and what is odd; its statements are those of [`Tree::statements`].
    pub parsed: Parsed,
}

impl Tree {
    /// Reads a text of at most 4 GiB.
    pub fn of(text: &str, dialect: &Dialect) -> Self {
        let mut sink = Green { file: text, at: 0, marks: Vec::new(), builder: GreenNodeBuilder::new() };
        sink.open(SyntaxKind::File);
        let parsed = super::read(text, dialect, &mut sink);
        sink.gap(text.len());
        sink.close();
        Self { green: sink.builder.finish(), dialect: dialect.clone(), parsed }
    }

    /// The root.
    pub fn root(&self) -> SyntaxNode {
        SyntaxNode::new_root(self.green.clone())
    }

    /// Statements and errors, in order.
    pub fn nodes(&self) -> impl Iterator<Item = SyntaxNode> {
        self.root().children()
    }

    /// The statements, made from the tokens alone: the same that [`parse`](super::parse) reads.
    pub fn statements(&self) -> Vec<Statement> {
        let text = self.root().text().to_string();
        let mut lines = Lines { at: 0, line: 1 };
        let made = self.nodes().filter_map(|node| {
            let kind = self.statement(&node)?;
            Some(Statement { line: lines.counted(&node, &text), kind })
        });
        made.collect()
    }

    /// Where the statement lies that BitBake counts at a line.
    pub fn statement_at(&self, line: u32) -> Option<Range<usize>> {
        let text = self.root().text().to_string();
        let mut lines = Lines { at: 0, line: 1 };
        self.nodes().find(|node| lines.counted(node, &text) == line).map(|node| range(node.text_range()))
    }

    /// Where the name stands in the first assignment of a variable, whatever its overrides are.
    pub fn assignment_of(&self, variable: &str) -> Option<Range<usize>> {
        let is_wanted = |token: &SyntaxToken| {
            token.kind() == SyntaxKind::Name
                && token.text().strip_prefix(variable).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        let mut names = self
            .nodes()
            .filter(|node| node.kind() == SyntaxKind::Assignment)
            .filter_map(|node| node.children_with_tokens().filter_map(rowan::NodeOrToken::into_token).find(is_wanted));
        names.next().map(|token| range(token.text_range()))
    }

    fn statement(&self, node: &SyntaxNode) -> Option<StatementKind> {
        let argument = || -> Option<Text> { Some(token_texts(node, SyntaxKind::Argument).into_iter().next()?.into()) };
        let name = || Some(Sym::new(token_texts(node, SyntaxKind::Name).first()?));
        let flag = || token_texts(node, SyntaxKind::Flag).first().map(|flag| Sym::new(flag));
        let has = |keyword: &str| token_texts(node, SyntaxKind::Keyword).iter().any(|word| word == keyword);
        Some(match node.kind() {
            SyntaxKind::Assignment => StatementKind::Assign(super::Assignment {
                var: name()?,
                flag: flag(),
                operator: Operator::of_sign(token_texts(node, SyntaxKind::Operator).first()?)?,
                export: has("export"),
                value: token_texts(node, SyntaxKind::Value).concat().into(),
            }),
            SyntaxKind::Include => StatementKind::Include { files: argument()?, required: false },
            SyntaxKind::Require => StatementKind::Include { files: argument()?, required: true },
            SyntaxKind::IncludeAll => StatementKind::IncludeAll(argument()?),
            SyntaxKind::Inherit => StatementKind::Inherit(argument()?),
            SyntaxKind::InheritDefer => StatementKind::InheritDefer(argument()?),
            SyntaxKind::Export => StatementKind::Export(name()?),
            SyntaxKind::Unset => match flag() {
                Some(flag) => StatementKind::UnsetFlag(name()?, flag),
                None => StatementKind::Unset(name()?),
            },
            SyntaxKind::ExportFunctions => StatementKind::ExportFunctions {
                names: recipe::names(&argument()?),
                class: self.dialect.class().into(),
            },
            SyntaxKind::AddTask => recipe::add_task(&argument()?),
            SyntaxKind::DelTask => StatementKind::DelTask(argument()?),
            SyntaxKind::AddHandler => StatementKind::AddHandler(recipe::names(&argument()?)),
            SyntaxKind::AddPylib => {
                let [directory, namespace] = token_texts(node, SyntaxKind::Argument).try_into().ok()?;
                StatementKind::AddPylib { directory: directory.into(), namespace: namespace.into() }
            }
            SyntaxKind::AddFragments => {
                let words: [String; 4] = token_texts(node, SyntaxKind::Argument).try_into().ok()?;
                StatementKind::AddFragments(words.map(Into::into))
            }
            SyntaxKind::Function => {
                if !token_texts(node, SyntaxKind::Close).iter().any(|brace| brace == "}") {
                    return None;
                }
                let name = name().filter(|name| name.as_str() != "__anonymous");
                let (python, fakeroot) = (has("python"), has("fakeroot"));
                let function = Function { name, body: "".into(), lines: 0, python, fakeroot };
                let body = token_texts(node, SyntaxKind::Body).concat();
                StatementKind::Function(recipe::with_body(function, &physical(&body)))
            }
            SyntaxKind::Def => {
                let body = token_texts(node, SyntaxKind::Body).concat();
                recipe::def(name()?, &head(node), &physical(&body))
            }
            _ => return None,
        })
    }
}

fn range(range: rowan::TextRange) -> Range<usize> {
    range.start().into()..range.end().into()
}

/// The texts of a kind of token in a node; those that only a continuation parts are one.
pub fn token_texts(node: &SyntaxNode, kind: SyntaxKind) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut joined = false;
    for token in node.children_with_tokens().filter_map(rowan::NodeOrToken::into_token) {
        match token.kind() {
            own if own == kind => match found.last_mut().filter(|_| joined) {
                Some(last) => last.push_str(token.text()),
                None => found.push(token.text().to_owned()),
            },
            SyntaxKind::Continuation => continue,
            _ => {}
        }
        joined = token.kind() == kind;
    }
    found
}

/// The logical line that a `def` begins with.
fn head(node: &SyntaxNode) -> String {
    let tokens = node.children_with_tokens().filter_map(rowan::NodeOrToken::into_token);
    let mut tokens: Vec<SyntaxToken> = tokens.take_while(|token| token.kind() != SyntaxKind::Newline).collect();
    if tokens.last().is_some_and(|token| token.kind() == SyntaxKind::Space) {
        tokens.pop();
    }
    tokens.retain(|token| token.kind() != SyntaxKind::Continuation);
    tokens.iter().map(SyntaxToken::text).collect()
}

/// Counts lines, from one node to the next.
struct Lines {
    at: usize,
    line: u32,
}

impl Lines {
    /// The line that BitBake counts a node at: its last one; for a `def` the one after it.
    fn counted(&mut self, node: &SyntaxNode, text: &str) -> u32 {
        let end = usize::from(node.text_range().end());
        let ends = |text: &str| super::lines::number(text.replace("\r\n", "\n").matches(['\n', '\r']).count());
        self.line += ends(&text[self.at..end]);
        self.at = end;
        let closed = text[..end].ends_with(['\n', '\r']);
        match (node.kind() == SyntaxKind::Def, closed) {
            (true, true) | (false, false) => self.line,
            (true, false) => self.line + 1,
            (false, true) => self.line - 1,
        }
    }
}

/// Builds the tree.
struct Green<'a> {
    file: &'a str,
    /// Up to where the file is in the tree.
    at: usize,
    /// Parts of the logical line that comes next: kind, address and length.
    marks: Vec<(SyntaxKind, usize, usize)>,
    builder: GreenNodeBuilder<'static>,
}

impl Green<'_> {
    fn token(&mut self, kind: SyntaxKind, end: usize) {
        if end > self.at {
            self.builder.token(BitBake::kind_to_raw(kind), &self.file[self.at..end]);
            self.at = end;
        }
    }

    /// Adds what nothing was said of: white space, comments, ends of lines, and the rest.
    fn gap(&mut self, end: usize) {
        while self.at < end {
            let rest = &self.file[self.at..end];
            let first = rest.chars().next().unwrap_or_default();
            if matches!(first, '\n' | '\r') {
                self.token(SyntaxKind::Newline, after_end(self.file, self.at).min(end));
                continue;
            }
            let line = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
            let ended = line.len() < rest.len();
            let text = line.trim_end();
            if ended && text.ends_with('\\') && text.len() == 1 {
                self.token(SyntaxKind::Continuation, after_end(self.file, self.at + line.len()).min(end));
            } else if first == '#' {
                self.token(SyntaxKind::Comment, self.at + text.len());
            } else if first.is_whitespace() {
                self.token(SyntaxKind::Space, end - rest.trim_start_matches(is_blank).len());
            } else {
                let word = text.find(char::is_whitespace).unwrap_or(text.len());
                let backslash = ended && word == text.len() && text.ends_with('\\') && word > 1;
                self.token(SyntaxKind::Text, self.at + word - usize::from(backslash));
            }
        }
    }
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\n' && c != '\r'
}

/// The place after the end of line at a place.
fn after_end(file: &str, at: usize) -> usize {
    let rest = &file[at..];
    let after = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])).unwrap_or(rest);
    file.len() - after.len()
}

impl Sink for Green<'_> {
    fn mark(&mut self, kind: SyntaxKind, part: &str) {
        self.marks.push((kind, part.as_ptr().addr(), part.len()));
    }

    fn line(&mut self, line: &Logical<'_, '_>) {
        let base = line.text.as_ptr().addr();
        for (kind, address, length) in std::mem::take(&mut self.marks) {
            let start = address.wrapping_sub(base);
            for (index, range) in line.in_file(start..start + length).enumerate() {
                if index == 0 {
                    self.gap(range.start);
                }
                self.token(SyntaxKind::Continuation, range.start);
                self.token(kind, range.end);
            }
        }
        let end = line.end().max(self.at);
        self.gap(end);
        // White space, and backslashes that nothing follows.
        let rest = &self.file[end..];
        let newline = rest.find(['\n', '\r']).map_or(self.file.len(), |at| end + at);
        self.gap(newline);
        self.gap(after_end(self.file, newline));
    }

    fn open(&mut self, kind: SyntaxKind) {
        self.builder.start_node(BitBake::kind_to_raw(kind));
    }

    fn close(&mut self) {
        self.builder.finish_node();
    }

    fn body(&mut self, line: &str) {
        let start = line.as_ptr().addr() - self.file.as_ptr().addr();
        let end = start + line.len();
        let newline = self.file[end..].find(['\n', '\r']).map_or(self.file.len(), |at| end + at);
        self.token(SyntaxKind::Body, after_end(self.file, newline));
    }
}
