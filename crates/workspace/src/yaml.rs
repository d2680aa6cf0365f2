//! YAML as a tree whose nodes know their places.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::error::{Problem, ProblemKind};
use crate::text::{Location, SourceText, Span};

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;
/// Most nodes that one file may have once its aliases are expanded.
const MAX_NODES: usize = 1_000_000;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar; `plain` if it stood without quotes and may be a number or a boolean.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    /// Keys are scalars; in the order of the file.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

impl Value {
    /// The type as users call it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Sequence(_) => "a list".into(),
            Self::Mapping(_) => "a mapping".into(),
            Self::Scalar { text, plain: true } => format!("`{}`", text.chars().take(40).collect::<String>()),
            Self::Scalar { text, plain: false } => format!("the text `{}`", text.chars().take(40).collect::<String>()),
        }
    }
}

/// Reads the only document of a file; an empty file is null.
pub(crate) fn parse(source: &Arc<SourceText>) -> Result<Node, Problem> {
    let mut reader = Reader { parser: Parser::new_from_str(&source.text), anchors: HashMap::new(), nodes: 0 };
    reader.document().map_err(|error| {
        let Fault { reason, span } = error;
        Problem::new(ProblemKind::Syntax { format: "YAML", reason }).at(Location::new(source, span))
    })
}

struct Fault {
    reason: String,
    span: Span,
}

impl From<ScanError> for Fault {
    fn from(error: ScanError) -> Self {
        let marker = error.marker();
        let span = Span { line: marker.line().max(1), column: marker.col() + 1, length: 1 };
        Self { reason: error.info().to_owned(), span }
    }
}

struct Reader<'input> {
    parser: Parser<'input, saphyr_parser::StrInput<'input>>,
    /// Anchored nodes with the number of nodes in them.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Fault> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Err(error)) => Err(error.into()),
            Some(Ok((event, span))) => Ok(Some((event, convert(span)))),
        }
    }

    fn document(&mut self) -> Result<Node, Fault> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(Fault { reason: "a second document begins here; only one is read".into(), span });
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { value: Value::Null, span: Span { line: 1, column: 1, length: 1 } }))
    }

    /// The next node inside a collection, or none at its end.
    fn child(&mut self, depth: usize) -> Result<Option<Node>, Fault> {
        match self.next()? {
            None | Some((Event::SequenceEnd | Event::MappingEnd | Event::StreamEnd, _)) => Ok(None),
            Some((event, span)) => self.node(event, span, depth).map(Some),
        }
    }

    fn node(&mut self, event: Event<'input>, span: Span, depth: usize) -> Result<Node, Fault> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(Fault { reason: format!("nested deeper than {MAX_DEPTH}"), span });
        }
        let before = self.nodes;
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let (node, size) = self
                    .anchors
                    .get(&anchor)
                    .ok_or_else(|| Fault { reason: "an alias inside its own anchor".into(), span })?;
                self.nodes += size;
                let value = node.value.clone();
                self.check_size(span)?;
                (value, 0)
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (if null { Value::Null } else { Value::Scalar { text: text.into_owned(), plain } }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                while let Some(item) = self.child(depth + 1)? {
                    items.push(item);
                }
                (Value::Sequence(items), anchor)
            }
            Event::MappingStart(anchor, _) => (Value::Mapping(self.mapping(depth)?), anchor),
            _ => return Err(Fault { reason: "unexpected end".into(), span }),
        };
        self.check_size(span)?;
        let node = Node { value, span };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Fault> {
        let mut entries = Vec::new();
        while let Some(key) = self.child(depth + 1)? {
            let Value::Scalar { text, .. } = key.value else {
                return Err(Fault { reason: "a key must be a word".into(), span: key.span });
            };
            let value = self
                .child(depth + 1)?
                .ok_or_else(|| Fault { reason: format!("`{text}` has no value"), span: key.span })?;
            entries.push((Key { text, span: key.span }, value));
        }
        Ok(entries)
    }

    fn check_size(&self, span: Span) -> Result<(), Fault> {
        if self.nodes > MAX_NODES {
            return Err(Fault { reason: format!("more than {MAX_NODES} values"), span });
        }
        Ok(())
    }
}

fn convert(span: saphyr_parser::Span) -> Span {
    let length = if span.start.line() == span.end.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Span { line: span.start.line().max(1), column: span.start.col() + 1, length: length.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, Problem> {
        parse(&Arc::new(SourceText { path: "f.yaml".into(), text: text.into() }))
    }

    #[test]
    fn bounds_what_aliases_expand_to() {
        use std::fmt::Write as _;
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let before = level - 1;
            writeln!(text, "a{level}: &a{level} [{}]", vec![format!("*a{before}"); 10].join(", ")).unwrap();
        }
        let problem = read(&text).unwrap_err();
        assert!(problem.to_string().contains("more than 1000000 values"), "{problem}");
    }

    #[test]
    fn bounds_nesting() {
        let deep = |depth: usize| read(&"[".repeat(depth)).unwrap_err().to_string();
        assert!(deep(100).contains("nested deeper than 64"), "{}", deep(100));
        // The scanner has a limit of its own, which it meets before anything is parsed.
        assert!(deep(10_000).contains("recursion limit"), "{}", deep(10_000));
    }

    #[test]
    fn knows_places() {
        let node = read("a:\n  b: [one, two]\n").unwrap();
        let Value::Mapping(entries) = node.value else { panic!() };
        let Value::Mapping(entries) = &entries[0].1.value else { panic!() };
        let Value::Sequence(items) = &entries[0].1.value else { panic!() };
        assert_eq!(items[1].span, Span { line: 2, column: 12, length: 3 });
    }
}
