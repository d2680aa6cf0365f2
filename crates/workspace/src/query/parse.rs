//! From text to a tree.

use super::QueryError;

/// A stretch of the query, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) length: usize,
}

/// A word of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) place: Place,
}

/// How two sets are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Union,
    Intersect,
    Except,
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Packages by name or glob.
    Word(Word),
    Call {
        function: Word,
        arguments: Vec<Expression>,
    },
    /// The first set, joined with others from left to right. Flat, so that a long chain is not a deep tree.
    Chain {
        first: Box<Expression>,
        rest: Vec<(Operator, Expression)>,
    },
}

impl Expression {
    /// Collects the words that name nodes: not depths, attributes and kinds.
    pub(super) fn names<'e>(&'e self, names: &mut Vec<&'e str>) {
        match self {
            Self::Word(word) if word.text.parse::<usize>().is_err() => names.push(&word.text),
            Self::Word(_) => {}
            Self::Call { function, .. } if matches!(function.text.as_str(), "attr" | "kind") => {}
            Self::Call { arguments, .. } => {
                for argument in arguments {
                    argument.names(names);
                }
            }
            Self::Chain { first, rest } => {
                first.names(names);
                for (_, expression) in rest {
                    expression.names(names);
                }
            }
        }
    }
}

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 64;
/// Longest query, in bytes.
const MAX_LENGTH: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Comma,
    Word { quoted: bool },
}

struct Parser<'q> {
    query: &'q str,
    tokens: Vec<(Token, Word)>,
    next: usize,
}

pub(super) fn error(query: &str, place: Place, message: impl Into<String>) -> QueryError {
    let (start, length) = (place.start, place.length);
    QueryError { message: message.into(), expression: query.to_owned(), start, length, hint: None }
}

pub(super) fn parse(query: &str) -> Result<Expression, QueryError> {
    if query.len() > MAX_LENGTH {
        let place = Place { start: 0, length: 0 };
        return Err(error("", place, format!("the query is longer than {MAX_LENGTH} bytes")));
    }
    let mut parser = Parser { query, tokens: tokenize(query)?, next: 0 };
    let expression = parser.chain(0)?;
    match parser.tokens.get(parser.next) {
        None => Ok(expression),
        Some((_, word)) => {
            let message = format!("expected `union`, `intersect`, `except` or the end, found `{}`", word.text);
            Err(error(query, word.place, message))
        }
    }
}

fn tokenize(query: &str) -> Result<Vec<(Token, Word)>, QueryError> {
    let mut tokens = Vec::new();
    let mut rest = query.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '"' | '\'' => {
                let Some((end, _)) = rest.by_ref().find(|&(_, other)| other == c) else {
                    let place = Place { start, length: query.len() - start };
                    return Err(error(query, place, "this quote is not closed"));
                };
                let place = Place { start, length: end + 1 - start };
                tokens.push((Token::Word { quoted: true }, Word { text: query[start + 1..end].to_owned(), place }));
                continue;
            }
            _ => {
                // A comma inside braces belongs to a glob such as `{ui,api}`.
                let mut braces = usize::from(c == '{');
                while let Some((_, c)) = rest.next_if(|&(_, c)| {
                    !c.is_whitespace() && !matches!(c, '(' | ')' | '"' | '\'') && (c != ',' || braces > 0)
                }) {
                    match c {
                        '{' => braces += 1,
                        '}' => braces = braces.saturating_sub(1),
                        _ => {}
                    }
                }
                Token::Word { quoted: false }
            }
        };
        let end = rest.peek().map_or(query.len(), |&(end, _)| end);
        tokens.push((token, Word { text: query[start..end].to_owned(), place: Place { start, length: end - start } }));
    }
    Ok(tokens)
}

impl Parser<'_> {
    fn chain(&mut self, depth: usize) -> Result<Expression, QueryError> {
        let first = self.term(depth)?;
        let mut rest = Vec::new();
        while let Some((Token::Word { quoted: false }, word)) = self.tokens.get(self.next) {
            let operator = match word.text.as_str() {
                "union" | "+" => Operator::Union,
                "intersect" | "^" => Operator::Intersect,
                "except" | "-" => Operator::Except,
                _ => break,
            };
            self.next += 1;
            rest.push((operator, self.term(depth)?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Chain { first: Box::new(first), rest } })
    }

    fn term(&mut self, depth: usize) -> Result<Expression, QueryError> {
        let end = Place { start: self.query.len(), length: 0 };
        let Some((token, word)) = self.tokens.get(self.next).cloned() else {
            return Err(error(self.query, end, "expected a name or a function, found the end"));
        };
        if depth > MAX_DEPTH {
            return Err(error(self.query, word.place, format!("nested deeper than {MAX_DEPTH}")));
        }
        self.next += 1;
        match token {
            Token::Open => {
                let expression = self.chain(depth + 1)?;
                self.close(word.place)?;
                Ok(expression)
            }
            Token::Word { quoted: false } if matches!(self.tokens.get(self.next), Some((Token::Open, _))) => {
                let open = self.tokens[self.next].1.place;
                self.next += 1;
                let mut arguments = Vec::new();
                if !matches!(self.tokens.get(self.next), Some((Token::Close, _))) {
                    arguments.push(self.chain(depth + 1)?);
                    while matches!(self.tokens.get(self.next), Some((Token::Comma, _))) {
                        self.next += 1;
                        arguments.push(self.chain(depth + 1)?);
                    }
                }
                self.close(open)?;
                Ok(Expression::Call { function: word, arguments })
            }
            Token::Word { .. } => Ok(Expression::Word(word)),
            Token::Close | Token::Comma => {
                Err(error(self.query, word.place, format!("expected a name or a function, found `{}`", word.text)))
            }
        }
    }

    fn close(&mut self, open: Place) -> Result<(), QueryError> {
        match self.tokens.get(self.next) {
            Some((Token::Close, _)) => {
                self.next += 1;
                Ok(())
            }
            Some((_, word)) => {
                Err(error(self.query, word.place, format!("expected `,` or `)`, found `{}`", word.text)))
            }
            None => Err(error(self.query, open, "this parenthesis is not closed")),
        }
    }
}
