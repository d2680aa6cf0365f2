//! Results that were purged here and could not be removed behind: they must not come back from there.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use buildnet_digest::Digest;
use parking_lot::Mutex;

/// The set, by the store's own keys. A key leaves it when its result was written behind anew.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each was forgotten, by count.
    keys: HashMap<Digest, u64>,
    count: u64,
    /// `+ KEY` and `- KEY`, one per line; the last one of a key counts.
    file: Option<File>,
}

impl Forgotten {
    /// Takes up what an earlier process wrote to a file, and keeps it there from now on.
    pub(crate) fn keep(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        // A line torn by a power loss names no key.
        for (sign, key) in text.lines().filter_map(|line| line.split_once(' ')) {
            match (sign, key.parse::<Digest>()) {
                ("+", Ok(key)) => drop(state.keys.insert(key, 0)),
                ("-", Ok(key)) => drop(state.keys.remove(&key)),
                _ => {}
            }
        }
        let compacted = path.with_extension("new");
        let lines: String = state.keys.keys().map(|key| format!("+ {key}\n")).collect();
        let mut file = File::create(&compacted)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        fs::rename(&compacted, path)?;
        state.file = Some(OpenOptions::new().append(true).open(path)?);
        Ok(())
    }

    /// From now on a key is not to be read; for good only after [`Forgotten::confirm`].
    pub(crate) fn add(&self, key: Digest) {
        let mut state = self.state.lock();
        state.count += 1;
        let count = state.count;
        state.keys.insert(key, count);
    }

    /// The next process, too, is not to read a key.
    pub(crate) fn confirm(&self, key: &Digest) -> io::Result<()> {
        self.state.lock().append('+', key)
    }

    /// It was removed after all.
    pub(crate) fn remove(&self, key: &Digest) {
        let mut state = self.state.lock();
        if state.keys.remove(key).is_some() {
            // A line too many makes the next process miss once more.
            let _ = state.append('-', key);
        }
    }

    pub(crate) fn contains(&self, key: &Digest) -> bool {
        self.state.lock().keys.contains_key(key)
    }

    /// What to give to [`Forgotten::written`] when something begins to be written.
    pub(crate) fn now(&self) -> u64 {
        self.state.lock().count
    }

    /// A key was written behind anew, by somebody who began at `since`. What was forgotten after that stays forgotten.
    pub(crate) fn written(&self, key: &Digest, since: u64) {
        let before = self.state.lock().keys.get(key).is_some_and(|forgotten| *forgotten <= since);
        if before {
            self.remove(key);
        }
    }
}

impl State {
    fn append(&mut self, sign: char, key: &Digest) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(format!("{sign} {key}\n").as_bytes())?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use buildnet_digest::DigestFunction;

    use super::*;

    #[test]
    fn what_is_forgotten_stays_so_until_it_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("forgotten");
        let [a, b, c] = ["a", "b", "c"].map(|name| DigestFunction::Sha256.digest(name.as_bytes()));
        let first = Forgotten::default();
        first.keep(&path).unwrap();
        for key in [a, b, c] {
            first.add(key);
            first.confirm(&key).unwrap();
        }
        let before = first.now();
        first.written(&b, before);
        // Whoever began before it was forgotten wrote what is to be forgotten.
        first.add(c);
        first.written(&c, before);
        assert_eq!([a, b, c].map(|key| first.contains(&key)), [true, false, true]);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"+ sha256:12").unwrap();
        let second = Forgotten::default();
        second.keep(&path).unwrap();
        assert_eq!([a, b, c].map(|key| second.contains(&key)), [true, false, true]);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "compacted");
    }
}
