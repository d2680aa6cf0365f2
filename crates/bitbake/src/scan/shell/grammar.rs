//! Tokens to commands: the POSIX shell grammar, with its reserved words recognised by the tokens.

use super::token::{Kind, Token};
use super::{Fault, Item, MAX_DEPTH, Role, Word};

type Failure = (Fault, usize);

/// All simple commands, pattern lists and function names of a text.
pub(super) fn items(tokens: &[Token]) -> Result<Vec<Item>, Failure> {
    let mut parser = Parser { tokens, at: 0, depth: 0, items: Vec::new() };
    parser.newlines();
    while parser.at < tokens.len() {
        parser.complete_command()?;
    }
    Ok(parser.items)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    items: Vec<Item>,
}

/// What stands between two commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    None,
    Newline,
    Semi,
    Amp,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Kind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn take(&mut self, kind: Kind) -> Option<&'a Token> {
        let token = self.tokens.get(self.at).filter(|token| token.kind == kind)?;
        self.at += 1;
        Some(token)
    }

    fn need(&mut self, kind: Kind, what: &str) -> Result<&'a Token, Failure> {
        self.take(kind).ok_or_else(|| self.unexpected(what))
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    fn fault(&self, what: String) -> Failure {
        (Fault::Syntax(what), self.line())
    }

    fn unexpected(&self, what: &str) -> Failure {
        self.fault(match self.tokens.get(self.at) {
            Some(token) if token.kind == Kind::Newline => format!("{what} is expected before the end of the line"),
            Some(token) => format!("{what} is expected before `{}`", token.text),
            None => format!("{what} is expected before the end"),
        })
    }

    fn newlines(&mut self) {
        while self.take(Kind::Newline).is_some() {}
    }

    fn separator(&mut self) -> Separator {
        let found = match self.peek() {
            Some(Kind::Newline) => Separator::Newline,
            Some(Kind::Semi) => Separator::Semi,
            Some(Kind::Amp) => Separator::Amp,
            _ => return Separator::None,
        };
        self.at += 1;
        if found == Separator::Semi {
            self.take(Kind::Semi);
        }
        self.newlines();
        found
    }

    /// A line of commands. A command may follow another without a separator, as after `}`.
    fn complete_command(&mut self) -> Result<(), Failure> {
        self.and_or()?;
        self.separator();
        Ok(())
    }

    fn starts_command(&self) -> bool {
        matches!(
            self.peek(),
            Some(
                Kind::Word
                    | Kind::Assignment
                    | Kind::IoNumber
                    | Kind::Redirect
                    | Kind::HereDoc
                    | Kind::LeftBrace
                    | Kind::LeftParen
                    | Kind::For
                    | Kind::Case
                    | Kind::If
                    | Kind::While
                    | Kind::Until
                    | Kind::Bang
            )
        )
    }

    fn and_or(&mut self) -> Result<(), Failure> {
        self.pipeline()?;
        while self.take(Kind::AndIf).or_else(|| self.take(Kind::OrIf)).is_some() {
            self.newlines();
            self.pipeline()?;
        }
        Ok(())
    }

    fn pipeline(&mut self) -> Result<(), Failure> {
        self.take(Kind::Bang);
        self.command()?;
        while self.take(Kind::Pipe).is_some() {
            self.newlines();
            self.command()?;
        }
        Ok(())
    }

    fn command(&mut self) -> Result<(), Failure> {
        if self.depth > MAX_DEPTH {
            return Err((Fault::TooDeep, self.line()));
        }
        self.depth += 1;
        let function = self.peek() == Some(Kind::Word)
            && self.tokens.get(self.at + 1).is_some_and(|token| token.kind == Kind::LeftParen);
        if function {
            self.function()?;
        } else if self.compound()? {
            while self.redirect()? {}
        } else {
            self.simple()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn function(&mut self) -> Result<(), Failure> {
        let name = self.need(Kind::Word, "a function's name")?;
        self.need(Kind::LeftParen, "`(`")?;
        self.need(Kind::RightParen, "`)`")?;
        self.newlines();
        self.items.push(Item::Function(name.text.clone()));
        if !self.compound()? {
            return Err(self.unexpected("a function's body"));
        }
        if matches!(self.peek(), Some(Kind::Redirect | Kind::HereDoc | Kind::IoNumber)) {
            return Err(self.fault("a redirection of a whole function is not supported".to_owned()));
        }
        Ok(())
    }

    /// A compound command; says whether there was one.
    fn compound(&mut self) -> Result<bool, Failure> {
        match self.peek() {
            Some(Kind::LeftBrace) => {
                self.at += 1;
                self.list()?;
                self.need(Kind::RightBrace, "`}`")?;
            }
            Some(Kind::LeftParen) => {
                self.at += 1;
                self.list()?;
                self.need(Kind::RightParen, "`)`")?;
            }
            Some(Kind::While | Kind::Until) => {
                self.at += 1;
                self.list()?;
                self.do_group()?;
            }
            Some(Kind::For) => self.for_loop()?,
            Some(Kind::Case) => self.case()?,
            Some(Kind::If) => self.condition()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The commands inside a compound command.
    fn list(&mut self) -> Result<(), Failure> {
        self.newlines();
        loop {
            self.and_or()?;
            let separator = self.separator();
            if separator == Separator::None {
                return Ok(());
            }
            if !self.starts_command() {
                return if separator == Separator::Amp {
                    Err(self.fault("`&` at the end of a group of commands is not supported".to_owned()))
                } else {
                    Ok(())
                };
            }
        }
    }

    fn do_group(&mut self) -> Result<(), Failure> {
        self.need(Kind::Do, "`do`")?;
        self.list()?;
        self.need(Kind::Done, "`done`")?;
        Ok(())
    }

    fn condition(&mut self) -> Result<(), Failure> {
        self.at += 1;
        self.list()?;
        self.need(Kind::Then, "`then`")?;
        self.list()?;
        while self.take(Kind::Elif).is_some() {
            self.list()?;
            self.need(Kind::Then, "`then`")?;
            self.list()?;
        }
        if self.take(Kind::Else).is_some() {
            self.list()?;
        }
        self.need(Kind::Fi, "`fi`")?;
        Ok(())
    }

    /// A word where `fi` is an ordinary one.
    fn plain_word(&mut self) -> Option<&'a Token> {
        self.take(Kind::Word).or_else(|| self.take(Kind::Fi))
    }

    fn for_loop(&mut self) -> Result<(), Failure> {
        self.at += 1;
        if self.plain_word().is_none() {
            return Err(self.unexpected("a variable's name"));
        }
        self.newlines();
        if self.take(Kind::In).is_none() {
            return Err(self.fault("`for` without `in` is not supported".to_owned()));
        }
        let line = self.line();
        let mut words = Vec::new();
        while let Some(token) = self.plain_word() {
            words.push(argument(token));
        }
        if self.take(Kind::Semi).is_none() && self.peek() != Some(Kind::Newline) {
            return Err(self.unexpected("`;`"));
        }
        self.newlines();
        self.items.push(Item::Words(words, line));
        self.do_group()
    }

    fn case(&mut self) -> Result<(), Failure> {
        self.at += 1;
        if self.plain_word().is_none() {
            return Err(self.unexpected("a word"));
        }
        self.newlines();
        self.need(Kind::In, "`in`")?;
        self.newlines();
        while self.peek() != Some(Kind::Esac) {
            let line = self.line();
            let bracket = self.take(Kind::LeftParen).is_some();
            // Of several patterns BitBake scans the first only.
            let pattern = self.plain_word().ok_or_else(|| self.unexpected("a pattern"))?;
            while self.take(Kind::Pipe).is_some() {
                self.plain_word().ok_or_else(|| self.unexpected("a pattern"))?;
            }
            self.need(Kind::RightParen, "`)`")?;
            self.newlines();
            if self.starts_command() {
                self.list()?;
            }
            self.newlines();
            let last = self.take(Kind::DoubleSemi).is_none();
            // That of a last item without `;;` but with a leading bracket is overlooked, too.
            if !(last && bracket) {
                self.items.push(Item::Words(vec![argument(pattern)], line));
            }
            if last {
                break;
            }
            self.newlines();
        }
        self.need(Kind::Esac, "`esac`")?;
        Ok(())
    }

    /// A redirection; says whether there was one. Its words are not scanned.
    fn redirect(&mut self) -> Result<bool, Failure> {
        let number = self.take(Kind::IoNumber).is_some();
        if self.take(Kind::Redirect).is_some() {
            self.need(Kind::Word, "a file name")?;
            Ok(true)
        } else if self.take(Kind::HereDoc).is_some() {
            self.need(Kind::HereName, "a here-document's delimiter")?;
            self.need(Kind::Word, "a here-document's body")?;
            Ok(true)
        } else if number {
            Err(self.unexpected("a redirection"))
        } else {
            Ok(false)
        }
    }

    fn simple(&mut self) -> Result<(), Failure> {
        let start = self.at;
        let mut words = Vec::new();
        let mut assigned = Vec::new();
        loop {
            if let Some(token) = self.take(Kind::Assignment) {
                let value = token.text.split_once('=').map_or("", |(_, value)| value);
                assigned.push(Word { role: Role::Assigned, text: value.to_owned() });
            } else if !self.redirect()? {
                break;
            }
        }
        let first = if self.at == start { self.take(Kind::Word) } else { self.plain_word() };
        let line = self.line();
        if let Some(token) = first {
            words.push(Word { role: Role::Command, text: token.text.clone() });
            self.suffix(&mut words)?;
        } else if self.at == start {
            return Err(self.unexpected("a command"));
        }
        words.extend(assigned);
        self.items.push(Item::Words(words, line));
        Ok(())
    }

    /// Arguments and redirections. Some reserved words are ordinary arguments.
    fn suffix(&mut self, words: &mut Vec<Word>) -> Result<(), Failure> {
        loop {
            match self.tokens.get(self.at) {
                Some(
                    token @ Token {
                        kind:
                            Kind::Word
                            | Kind::Fi
                            | Kind::For
                            | Kind::Done
                            | Kind::Do
                            | Kind::Until
                            | Kind::Assignment
                            | Kind::If
                            | Kind::Then
                            | Kind::Bang,
                        ..
                    },
                ) => {
                    words.push(argument(token));
                    self.at += 1;
                }
                _ => {
                    if !self.redirect()? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn argument(token: &Token) -> Word {
    Word { role: Role::Argument, text: token.text.clone() }
}
