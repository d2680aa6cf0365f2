//! Shell text to tokens.
//!
//! Two things differ from a real shell, and matter: a word is an assignment only at the very end of the text, and a reserved word is
//! one wherever it stands, except `in`, which is one only as the second word after `for` or `case`.

use super::Fault;
use super::word::{quoted, unquoted};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Newline,
    IoNumber,
    Assignment,
    HereName,
    AndIf,
    OrIf,
    DoubleSemi,
    Semi,
    Amp,
    /// `<`, `>`, `>>`, `<&`, `>&`, `<>`, `>|`.
    Redirect,
    /// `<<`, `<<-`.
    HereDoc,
    LeftParen,
    RightParen,
    Pipe,
    If,
    Then,
    Else,
    Elif,
    Fi,
    Do,
    Done,
    Case,
    Esac,
    While,
    Until,
    For,
    In,
    LeftBrace,
    RightBrace,
    Bang,
}

/// A token with the line it ends on.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    /// 1-based line in the text.
    pub(super) line: usize,
}

/// What the characters gathered so far are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Word,
    Operator,
    Newline,
    Comment,
    HereName,
}

/// A here-document that was announced on this line.
struct HereDoc {
    strip_tabs: bool,
    name: Option<String>,
    /// Tokens between the name and the end of the line: they follow the document.
    held: Vec<(String, Pending, Delimiter)>,
}

/// What ended a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimiter {
    /// Nothing: the end of the text, or of an operator.
    None,
    /// `<` or `>`, which make a number before them an I/O number.
    Angle,
    Other,
}

impl Delimiter {
    fn of(byte: u8) -> Self {
        if matches!(byte, b'<' | b'>') { Self::Angle } else { Self::Other }
    }
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    line: usize,
    text: String,
    pending: Pending,
    heredoc: Option<HereDoc>,
    /// Set when the line that announced a here-document has ended.
    document_follows: bool,
    /// Tokens since the last `for` or `case`, up to two.
    since_for: Option<u8>,
    tokens: Vec<Token>,
}

/// Splits shell text into tokens.
pub(super) fn tokens(input: &str) -> Result<Vec<Token>, (Fault, usize)> {
    let mut lexer = Lexer {
        input,
        at: 0,
        line: 1,
        text: String::new(),
        pending: Pending::Word,
        heredoc: None,
        document_follows: false,
        since_for: None,
        tokens: Vec::new(),
    };
    match lexer.run() {
        Ok(()) => Ok(lexer.tokens),
        Err(fault) => Err((fault, lexer.line)),
    }
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        loop {
            if self.document_follows {
                self.document()?;
                continue;
            }
            let Some(&byte) = self.input.as_bytes().get(self.at) else {
                self.push(Delimiter::None)?;
                break;
            };
            match byte {
                b'\n' => {
                    self.push(Delimiter::Other)?;
                    self.text.push('\n');
                    self.pending = Pending::Newline;
                    self.push(Delimiter::None)?;
                    self.at += 1;
                    self.line += 1;
                }
                b'\\' | b'\'' | b'"' | b'`' | b'$' => self.quotation()?,
                b'&' | b'|' | b';' | b'<' | b'>' | b'(' | b')' => self.operator(byte)?,
                b' ' | b'\t' => {
                    self.push(Delimiter::Other)?;
                    self.at += 1;
                }
                b'#' if self.text.is_empty() => self.comment()?,
                _ => {
                    let start = self.at;
                    let end = self.input[start..]
                        .find(['\n', '\\', '\'', '"', '`', '$', '&', '|', ';', '<', '>', '(', ')', ' ', '\t'])
                        .map_or(self.input.len(), |len| start + len);
                    self.text.push_str(&self.input[start..end]);
                    self.at = end;
                }
            }
        }
        if self.heredoc.is_some() {
            return Err(Fault::Syntax("a here-document has no body".to_owned()));
        }
        Ok(())
    }

    fn quotation(&mut self) -> Result<(), Fault> {
        let (part, used) = quoted(&self.input[self.at..])?;
        part.write(&mut self.text);
        self.line += self.input[self.at..self.at + used].bytes().filter(|byte| *byte == b'\n').count();
        self.at += used;
        Ok(())
    }

    fn operator(&mut self, first: u8) -> Result<(), Fault> {
        self.push(Delimiter::of(first))?;
        self.pending = Pending::Operator;
        let rest = &self.input[self.at..];
        let operator = ["<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", ">|"]
            .into_iter()
            .find(|operator| rest.starts_with(operator))
            .unwrap_or(&rest[..1]);
        self.text.push_str(operator);
        self.at += operator.len();
        let delimiter = self.input.as_bytes().get(self.at).map_or(Delimiter::None, |&byte| Delimiter::of(byte));
        self.push(delimiter)
    }

    /// A comment runs to a newline; one that the text ends in is refused, except a bare `#`.
    fn comment(&mut self) -> Result<(), Fault> {
        self.pending = Pending::Comment;
        self.at += 1;
        let rest = &self.input[self.at..];
        match rest.find('\n') {
            Some(len) => {
                self.text.push_str(&rest[..len]);
                self.at += len;
                Ok(())
            }
            None if rest.is_empty() => Ok(()),
            None => Err(Fault::Syntax("the text ends inside a comment".to_owned())),
        }
    }

    /// Reads the body of a here-document, then lets the held tokens go.
    fn document(&mut self) -> Result<(), Fault> {
        self.document_follows = false;
        let heredoc = self.heredoc.take().expect("a document follows only where one was announced");
        let name = heredoc.name.expect("a document follows only when it is named");
        if name.is_empty() {
            return Err(Fault::Syntax("a here-document needs a delimiter".to_owned()));
        }
        if self.at >= self.input.len() {
            return Err(Fault::Syntax("a here-document has no body".to_owned()));
        }
        let mut body = String::new();
        while self.at < self.input.len() {
            let rest = &self.input[self.at..];
            let end = unescaped_newline(rest);
            let (line, used) = end.map_or((rest, rest.len()), |end| (&rest[..end], end + 1));
            self.line += rest[..used].bytes().filter(|byte| *byte == b'\n').count();
            self.at += used;
            let line = if heredoc.strip_tabs { line.trim_start_matches('\t') } else { line };
            if line == name {
                break;
            }
            body.push_str(line);
            if end.is_some() {
                body.push('\n');
            }
        }
        self.text = body;
        self.pending = Pending::Word;
        self.push(Delimiter::Other)?;
        for (text, pending, delimiter) in heredoc.held {
            self.text = text;
            self.pending = pending;
            self.push(delimiter)?;
        }
        Ok(())
    }

    /// Ends the current token, if there is one.
    fn push(&mut self, delimiter: Delimiter) -> Result<(), Fault> {
        if self.text.is_empty() {
            return Ok(());
        }
        if let Some(heredoc) = &mut self.heredoc {
            if heredoc.name.is_some() {
                if self.pending == Pending::Newline {
                    self.document_follows = true;
                }
                heredoc.held.push((std::mem::take(&mut self.text), self.pending, delimiter));
                self.pending = Pending::Word;
                return Ok(());
            }
            if self.pending != Pending::Word {
                return Err(Fault::Syntax(format!(
                    "a here-document's delimiter is expected before `{}`",
                    self.text.trim_end()
                )));
            }
            heredoc.name = Some(unquoted(&self.text)?);
            self.pending = Pending::HereName;
        }
        let text = std::mem::take(&mut self.text);
        let kind = match std::mem::replace(&mut self.pending, Pending::Word) {
            Pending::Comment => return Ok(()),
            Pending::Newline => Kind::Newline,
            Pending::HereName => Kind::HereName,
            Pending::Operator => self.operator_kind(&text)?,
            Pending::Word => self.word_kind(&text, delimiter),
        };
        if let Some(count) = self.since_for {
            self.since_for = (count < 2).then_some(count + 1);
        }
        if matches!(kind, Kind::For | Kind::Case) {
            self.since_for = Some(1);
        }
        self.tokens.push(Token { kind, text, line: self.line });
        Ok(())
    }

    fn operator_kind(&mut self, text: &str) -> Result<Kind, Fault> {
        Ok(match text {
            "&&" => Kind::AndIf,
            "||" => Kind::OrIf,
            ";;" => Kind::DoubleSemi,
            ";" => Kind::Semi,
            "&" => Kind::Amp,
            "(" => Kind::LeftParen,
            ")" => Kind::RightParen,
            "|" => Kind::Pipe,
            "<<" | "<<-" => {
                if self.heredoc.is_some() {
                    return Err(Fault::Syntax(format!("unexpected `{text}`")));
                }
                self.heredoc = Some(HereDoc { strip_tabs: text == "<<-", name: None, held: Vec::new() });
                Kind::HereDoc
            }
            _ => Kind::Redirect,
        })
    }

    fn word_kind(&self, text: &str, delimiter: Delimiter) -> Kind {
        if delimiter == Delimiter::None
            && let Some((name, _)) = text.split_once('=')
        {
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return if is_name { Kind::Assignment } else { Kind::Word };
        }
        match text {
            "if" => Kind::If,
            "then" => Kind::Then,
            "else" => Kind::Else,
            "elif" => Kind::Elif,
            "fi" => Kind::Fi,
            "do" => Kind::Do,
            "done" => Kind::Done,
            "case" => Kind::Case,
            "esac" => Kind::Esac,
            "while" => Kind::While,
            "until" => Kind::Until,
            "for" => Kind::For,
            "{" => Kind::LeftBrace,
            "}" => Kind::RightBrace,
            "!" => Kind::Bang,
            "in" if self.since_for == Some(2) => Kind::In,
            _ if delimiter == Delimiter::Angle && text.bytes().all(|byte| byte.is_ascii_digit()) => Kind::IoNumber,
            _ => Kind::Word,
        }
    }
}

/// The first newline that no backslash precedes; quotes do not matter in a here-document.
fn unescaped_newline(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let found = byte == b'\n' && !escaped;
        escaped = byte == b'\\' && !escaped;
        found
    })
}
