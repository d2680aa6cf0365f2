//! What reading a recipe looked at outside the datastore.

use crate::{Sym, Value};

/// A kind of question to the world outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// Whether a path exists, links followed. The answer is `1` or `0`.
    Exists,
    /// Whether a path is a directory, links followed. The answer is `1` or `0`.
    Directory,
    /// What a path is, links followed. The answer is `f`, `d`, `o`, or `-` for nothing.
    Type,
    /// The same of a link itself, which is `l`.
    LinkType,
    /// All stat data, links followed.
    Stat,
    /// All stat data of a link itself.
    LinkStat,
    /// The content of a file that Python opened.
    Opened,
    /// The content of a file of metadata.
    Content,
    /// The names in a directory.
    Listing,
    /// The path without links. The answer is that path.
    RealPath,
    /// A variable of the environment, `*` for all of them.
    Environment,
    /// What a program says that does nothing else: a JSON list of the directory, the program and its arguments. The answer is the SHA-256
    /// of its exit code, a space, and its output.
    Program,
    /// A variable of the configuration that may be another in the next run though nobody edited anything.
    Setting,
    /// Something that is never the same twice: the clock, randomness, a program that was run.
    Fickle,
}

/// One question, with its answer where whoever asked knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The kind of question.
    pub kind: Kind,
    /// What it was about, a path mostly.
    pub what: Sym,
    /// The answer; empty for kinds that have none.
    pub answer: Sym,
}

fn truth(answer: bool) -> Sym {
    Sym::new(if answer { "1" } else { "0" })
}

impl Seen {
    fn new(kind: Kind, what: Sym) -> Self {
        Self { kind, what, answer: Sym::new("") }
    }

    /// Whether a path exists.
    pub(crate) fn exists(path: Sym, answer: bool) -> Self {
        Self { kind: Kind::Exists, what: path, answer: truth(answer) }
    }

    /// Whether a path is a directory.
    pub(crate) fn directory(path: Sym, answer: bool) -> Self {
        Self { kind: Kind::Directory, what: path, answer: truth(answer) }
    }

    /// The content of a file of metadata.
    pub(crate) fn content(path: Sym) -> Self {
        Self::new(Kind::Content, path)
    }

    /// A variable of the configuration that does not last.
    pub(crate) fn setting(var: Sym) -> Self {
        Self::new(Kind::Setting, var)
    }

    /// What a path is.
    pub(crate) fn kind_of(path: &str, answer: char) -> Self {
        Self { kind: Kind::Type, what: Sym::new(path), answer: Sym::new(answer.encode_utf8(&mut [0; 4])) }
    }

    /// Where a path leads.
    pub(crate) fn real_path(path: &str, answer: &str) -> Self {
        Self { kind: Kind::RealPath, what: Sym::new(path), answer: Sym::new(answer) }
    }

    /// The content of a file that is read besides the metadata.
    pub(crate) fn opened(path: &str) -> Self {
        Self::new(Kind::Opened, Sym::new(path))
    }

    /// The whole environment.
    pub(crate) fn environment() -> Self {
        Self::new(Kind::Environment, Sym::new("*"))
    }

    /// Code that is never the same twice.
    pub(crate) fn fickle(what: &str) -> Self {
        let shown: String = what.chars().take(80).collect();
        Self::new(Kind::Fickle, Sym::new(&shown))
    }

    /// As Python tells it: `(kind, what, answer)`. What it tells in an unknown way counts as never the same.
    pub(crate) fn told(row: &Value) -> Option<Self> {
        let Value::Tuple(parts) = row else { return None };
        let [kind, what, answer] = parts.as_slice() else { return None };
        let what = what.to_text();
        let kind = match kind.as_str()? {
            "t" => Kind::Type,
            "k" => Kind::LinkType,
            "s" => Kind::Stat,
            "l" => Kind::LinkStat,
            "c" => Kind::Opened,
            "d" => Kind::Listing,
            "p" => Kind::RealPath,
            "v" => Kind::Environment,
            "g" => Kind::Program,
            _ => return Some(Self::fickle(&what)),
        };
        Some(Self { kind, what: Sym::new(&what), answer: Sym::new(&answer.to_text()) })
    }
}
