//! Differences, as data and in words.

use buildnet_digest::Digest;
use serde::Serialize;

/// One part in which two actions differ. `a` is of the action that was asked about, `b` of the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Difference {
    /// The command line differs from an argument on, for as many as are listed.
    Arguments {
        /// Index of the first that differs; 0 is the program.
        first: usize,
        /// The arguments up to where both are the same again.
        a: Vec<String>,
        /// The other's.
        b: Vec<String>,
    },
    /// A variable of the command's environment; none where it is not set.
    EnvironmentVariable {
        /// Its name.
        name: String,
        /// Its value.
        a: Option<String>,
        /// The other's.
        b: Option<String>,
    },
    /// What the worker must be; a property may have several values.
    PlatformProperty {
        /// Its name.
        name: String,
        /// Its values.
        a: Vec<String>,
        /// The other's.
        b: Vec<String>,
    },
    /// The directory that the command starts in.
    WorkingDirectory {
        /// Relative to the input root.
        a: String,
        /// The other's.
        b: String,
    },
    /// A path that is collected after the command, by one of the two alone.
    OutputPath {
        /// The path, relative to the working directory.
        path: String,
        /// `file`, `directory` or `path`.
        kind: &'static str,
        /// Whether it is `a` that collects it.
        in_a: bool,
    },
    /// The time that the command may take, in milliseconds.
    Timeout {
        /// None: no limit of its own.
        a: Option<i64>,
        /// The other's.
        b: Option<i64>,
    },
    /// Whether the result is kept from the cache.
    DoNotCache {
        /// Whether.
        a: bool,
        /// The other's.
        b: bool,
    },
    /// Bytes that keep actions apart which are the same otherwise, in hexadecimal.
    Salt {
        /// The bytes.
        a: String,
        /// The other's.
        b: String,
    },
    /// An input file; none where it is not.
    File {
        /// Relative to the input root.
        path: String,
        /// What it is.
        a: Option<FileFacts>,
        /// The other's.
        b: Option<FileFacts>,
    },
    /// A symlink among the inputs, by its target; none where it is not.
    Symlink {
        /// Relative to the input root.
        path: String,
        /// Its target.
        a: Option<String>,
        /// The other's.
        b: Option<String>,
    },
    /// A directory among the inputs that only one has; what is in it is told, too.
    Directory {
        /// Relative to the input root.
        path: String,
        /// Whether it is `a` that has it.
        in_a: bool,
    },
    /// Properties of a file, symlink or directory, such as its modification time.
    NodeProperties {
        /// Relative to the input root; empty for the root itself.
        path: String,
    },
    /// The messages are different bytes of the same content, or differ in what this program does not know.
    Encoding {
        /// `action`, `command` or the path of a directory.
        what: String,
    },
}

/// An input file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// Its content.
    pub digest: Digest,
    /// Whether it may be run.
    pub executable: bool,
}

/// A directory whose message is not in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// Relative to the input root; empty for the root itself.
    pub path: String,
    /// The message.
    pub digest: Digest,
    /// Whether it is of `a`.
    pub in_a: bool,
}

impl Difference {
    /// The difference in words, calling the two A and B.
    pub fn in_words(&self) -> String {
        match self {
            Self::Arguments { first, a, b } => match (a.as_slice(), b.as_slice()) {
                ([], b) => format!("arguments only in B, from number {first} on: {}", quoted(b)),
                (a, []) => format!("arguments only in A, from number {first} on: {}", quoted(a)),
                ([a], [b]) => format!("argument {first}: `{a}` in A, `{b}` in B"),
                (a, b) => format!("arguments from number {first} on: {} in A, {} in B", quoted(a), quoted(b)),
            },
            Self::EnvironmentVariable { name, a, b } => {
                format!("environment variable {name}: {}", values(a.as_deref(), b.as_deref(), "not set"))
            }
            Self::PlatformProperty { name, a, b } => {
                let value = |values: &[String]| (!values.is_empty()).then(|| values.join(", "));
                format!(
                    "platform property {name}: {}",
                    values(value(a).as_deref(), value(b).as_deref(), "not asked for")
                )
            }
            Self::WorkingDirectory { a, b } => {
                let value =
                    |path: &str| if path.is_empty() { "the input root".to_owned() } else { format!("`{path}`") };
                format!("working directory: {} in A, {} in B", value(a), value(b))
            }
            Self::OutputPath { path, kind, in_a } => format!("output {kind} {path}: only in {}", letter(*in_a)),
            Self::Timeout { a, b } => {
                let value = |limit: &Option<i64>| limit.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms"));
                format!("timeout: {} in A, {} in B", value(a), value(b))
            }
            Self::DoNotCache { a, .. } => format!("results are kept from the cache in {} alone", letter(*a)),
            Self::Salt { a, b } => {
                let value = |salt: &str| (!salt.is_empty()).then(|| salt.to_owned());
                format!("salt: {}", values(value(a).as_deref(), value(b).as_deref(), "none"))
            }
            Self::File { path, a: Some(a), b: Some(b) } => {
                let mode = |file: &FileFacts| if file.executable { "executable" } else { "not executable" };
                let content = |file: &FileFacts| format!("{}/{}", short(&file.digest), file.digest.size());
                let mut parts = Vec::new();
                if a.digest != b.digest {
                    parts.push(format!("content {} in A, {} in B", content(a), content(b)));
                }
                if a.executable != b.executable {
                    parts.push(format!("{} in A, {} in B", mode(a), mode(b)));
                }
                format!("input {path}: {}", parts.join("; "))
            }
            Self::File { path, a, .. } => format!("input {path}: only in {}", letter(a.is_some())),
            Self::Symlink { path, a, b } => {
                format!("symlink {path}: {}", values(a.as_deref(), b.as_deref(), "not there"))
            }
            Self::Directory { path, in_a } => format!("input directory {path}: only in {}", letter(*in_a)),
            Self::NodeProperties { path } if path.is_empty() => "node properties of the input root".to_owned(),
            Self::NodeProperties { path } => format!("node properties of {path}"),
            Self::Encoding { what } => {
                format!(
                    "the message of the {what} is written differently, or differs in what this program does not know"
                )
            }
        }
    }
}

impl Unknown {
    /// What is not known, in words.
    pub fn in_words(&self) -> String {
        let place =
            if self.path.is_empty() { "the whole input tree".to_owned() } else { format!("directory {}", self.path) };
        format!("{place} of {} ({}/{})", letter(self.in_a), short(&self.digest), self.digest.size())
    }
}

const fn letter(in_a: bool) -> char {
    if in_a { 'A' } else { 'B' }
}

fn values(a: Option<&str>, b: Option<&str>, none: &str) -> String {
    let value = |value: Option<&str>| value.map_or_else(|| none.to_owned(), |value| format!("`{value}`"));
    format!("{} in A, {} in B", value(a), value(b))
}

fn quoted(arguments: &[String]) -> String {
    arguments.iter().map(|argument| format!("`{argument}`")).collect::<Vec<_>>().join(" ")
}

/// Enough of a hash to tell it from others.
fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
