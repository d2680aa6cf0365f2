//! A question with the answer it had, and whether it would be answered the same now.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use buildnet_digest::stat::Stamp;
use rustc_hash::FxHashMap;
use rustix::fs::{AtFlags, CWD, statat};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::seen::{Kind, Seen};
use crate::Sym;

/// BLAKE3 of something.
pub(crate) type Hash = [u8; 32];

/// What the answer was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// As the question itself says.
    Told,
    /// Stat data; `None` where there was nothing.
    Stat(Option<Stamp>),
    /// A digest of content or names; `None` where there was nothing. The stat data, if they are such that a later change is certain to
    /// show in them.
    Digest(Option<(Option<Stamp>, Hash)>),
    /// It may have changed while it was looked at: nothing is known.
    Unknown,
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) kind: Kind,
    pub(crate) what: Sym,
    pub(crate) told: Sym,
    pub(crate) answer: Answer,
}

/// What looking again found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The same.
    Same,
    /// The same content with other stat data.
    Touched(Answer),
    /// Another answer.
    Changed,
}

/// The variables of an environment.
pub(crate) type Environment = BTreeMap<String, String>;

impl Fact {
    /// Looks now for what was asked since `began` (nanoseconds since the epoch). `read` knows the contents of metadata as they were read.
    pub(crate) fn record(
        seen: Seen,
        began: i64,
        environment: &Environment,
        read: impl Fn(Sym) -> Option<(Stamp, Hash)>,
    ) -> Self {
        let Seen { kind, what, answer: told } = seen;
        let path = what.as_str();
        let now = buildnet_digest::stat::now_ns();
        let answer = match kind {
            // Who looks next compares with the answer that was told, whatever is there now. Git may see a change before a moment ago as
            // another.
            Kind::Exists | Kind::Directory | Kind::Type | Kind::LinkType | Kind::RealPath | Kind::Program => {
                Answer::Told
            }
            Kind::Setting | Kind::Fickle => Answer::Unknown,
            Kind::Environment => Answer::Digest(variable(path, environment).map(|hash| (None, hash))),
            Kind::Stat | Kind::LinkStat => {
                let stamp = whole(path, kind == Kind::Stat);
                if stamp.is_none_or(|stamp| stamp.is_settled(began)) { Answer::Stat(stamp) } else { Answer::Unknown }
            }
            Kind::Content => match read(what) {
                Some((stamp, hash)) => Answer::Digest(Some((Some(stamp).filter(|stamp| stamp.is_settled(now)), hash))),
                None => Answer::Unknown,
            },
            Kind::Opened | Kind::Listing => match look(path, true) {
                None => Answer::Digest(None),
                Some(stamp) if stamp.is_settled(began) => match digest(kind, path) {
                    Some(hash) if look(path, true) == Some(stamp) => Answer::Digest(Some((Some(stamp), hash))),
                    _ => Answer::Unknown,
                },
                Some(_) => Answer::Unknown,
            },
        };
        Self { kind, what, told, answer }
    }

    /// Looks again.
    pub(crate) fn look(&self, environment: &Environment, places: &mut Places) -> Look {
        let path = self.what.as_str();
        let same = |same: bool| if same { Look::Same } else { Look::Changed };
        match &self.answer {
            Answer::Unknown => Look::Changed,
            Answer::Told if self.kind == Kind::Program => {
                same(run(path, environment).as_deref() == Some(self.told.as_str()))
            }
            Answer::Told if places.has_nothing_at(path) => same(match self.kind {
                Kind::RealPath => self.told.as_str() == path.trim_end_matches('/'),
                Kind::Exists | Kind::Directory => self.told.as_str() == "0",
                _ => self.told.as_str() == "-",
            }),
            Answer::Told => same(tell(self.kind, path) == self.told.as_str()),
            Answer::Stat(before) => same(whole(path, self.kind == Kind::Stat) == *before),
            Answer::Digest(before) if self.kind == Kind::Environment => {
                same(variable(path, environment) == before.as_ref().map(|(_, hash)| *hash))
            }
            Answer::Digest(before) => {
                let Some((stamp, hash)) = before else { return same(look(path, true).is_none()) };
                let Some(now) = look(path, true) else { return Look::Changed };
                if *stamp == Some(now) {
                    return Look::Same;
                }
                if digest(self.kind, path) != Some(*hash) || look(path, true) != Some(now) {
                    return Look::Changed;
                }
                let settled = now.is_settled(buildnet_digest::stat::now_ns());
                if settled { Look::Touched(Answer::Digest(Some((Some(now), *hash)))) } else { Look::Same }
            }
        }
    }

    /// Whether it is about the file system.
    pub(crate) fn is_about_a_path(&self) -> bool {
        !matches!(self.kind, Kind::Environment | Kind::Program | Kind::Setting | Kind::Fickle)
    }

    /// Whether two answers say the same, as far as both say anything.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        match (&self.answer, &other.answer) {
            (Answer::Digest(a), Answer::Digest(b)) => {
                a.as_ref().map(|(_, hash)| hash) == b.as_ref().map(|(_, hash)| hash)
            }
            (a, b) => a == b,
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen { kind: self.kind, what: self.what, answer: self.told }
    }
}

/// Directories that were looked at: most of what recipes look for is nowhere, in directories that are nowhere.
#[derive(Debug, Default)]
pub(crate) struct Places(FxHashMap<&'static str, Place>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A directory, and so is everything above it: no link among them.
    Plain,
    /// Nothing, below a directory of the kind above.
    Nothing,
    /// Anything else: who knows where it leads.
    Other,
}

impl Places {
    /// Whether it is certain that there is nothing at a path, because a directory above it does not exist, and that no link leads to
    /// it.
    fn has_nothing_at(&mut self, path: &'static str) -> bool {
        let plain = path.starts_with('/') && !path.contains("//") && !path.contains("/.");
        plain
            && path.trim_end_matches('/').rsplit_once('/').is_some_and(|(above, _)| self.place(above) == Place::Nothing)
    }

    fn place(&mut self, path: &'static str) -> Place {
        let Some((above, _)) = path.rsplit_once('/') else { return Place::Plain };
        if let Some(known) = self.0.get(path) {
            return *known;
        }
        let place = match self.place(above) {
            Place::Plain => match look(path, false) {
                None => Place::Nothing,
                Some(stamp) if stamp.is_directory() => Place::Plain,
                Some(_) => Place::Other,
            },
            other => other,
        };
        self.0.insert(path, place);
        place
    }
}

fn look(path: &str, follow: bool) -> Option<Stamp> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    statat(CWD, path, flags).ok().map(|stat| Stamp::of(&stat))
}

/// All stat data; of a directory without what changes with the names in it.
fn whole(path: &str, follow: bool) -> Option<Stamp> {
    let stamp = look(path, follow)?;
    let timeless = Stamp { mtime_ns: 0, ctime_ns: 0, size: 0, ..stamp };
    Some(if stamp.is_directory() { timeless } else { stamp })
}

/// What a path is, links followed, as [`Kind::Type`] names it.
pub(crate) fn type_of(path: &str) -> char {
    type_name(look(path, true))
}

fn type_name(stamp: Option<Stamp>) -> char {
    match stamp {
        None => '-',
        Some(stamp) if stamp.is_file() => 'f',
        Some(stamp) if stamp.is_directory() => 'd',
        Some(stamp) if stamp.is_symlink() => 'l',
        Some(_) => 'o',
    }
}

/// The answer to a question whose answer is a word.
fn tell(kind: Kind, path: &str) -> String {
    let truth = |truth: bool| if truth { "1" } else { "0" }.to_owned();
    match kind {
        Kind::Exists => truth(look(path, true).is_some()),
        Kind::Directory => truth(look(path, true).is_some_and(|stamp| stamp.is_directory())),
        Kind::RealPath => real(Path::new(path)).display().to_string(),
        _ => type_name(look(path, kind == Kind::Type)).to_string(),
    }
}

/// Python's `os.path.realpath`: what does not exist is taken as it is written.
fn real(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let mut result = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                result.pop();
            }
            Component::Normal(name) => {
                result.push(name);
                if let Ok(found) = result.canonicalize() {
                    result = found;
                }
            }
            _ => {}
        }
    }
    result
}

fn digest(kind: Kind, path: &str) -> Option<Hash> {
    if kind == Kind::Listing {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in std::fs::read_dir(path).ok()? {
            let entry = entry.ok()?;
            let mut name = entry.file_name().into_encoded_bytes();
            let kind = entry.file_type().ok()?;
            name.push(if kind.is_dir() {
                b'/'
            } else if kind.is_symlink() {
                b'@'
            } else {
                0
            });
            names.push(name);
        }
        names.sort_unstable();
        return Some(*blake3::hash(&names.concat()).as_bytes());
    }
    // Never a pipe or a device, which may block.
    look(path, true).filter(Stamp::is_file)?;
    let mut hasher = blake3::Hasher::new();
    let mut file = std::fs::File::open(path).ok()?;
    std::io::copy(&mut file, &mut hasher).ok()?;
    Some(*hasher.finalize().as_bytes())
}

/// What a program says now; `None` where it cannot be run.
fn run(command: &str, environment: &Environment) -> Option<String> {
    let words: Vec<String> = serde_json::from_str(command).ok()?;
    let [directory, program, arguments @ ..] = words.as_slice() else { return None };
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment)
        // To look is not to write: Git would bring its index up to date otherwise.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    let mut digest = Sha256::new();
    digest.update(format!("{} ", output.status.code()?));
    digest.update(&output.stdout);
    Some(hex::encode(digest.finalize()))
}

/// Digest of a variable of the environment, or of all of it.
fn variable(name: &str, environment: &Environment) -> Option<Hash> {
    if name != "*" {
        return environment.get(name).map(|value| *blake3::hash(value.as_bytes()).as_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    for (name, value) in environment {
        for text in [name, value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    Some(*hasher.finalize().as_bytes())
}
