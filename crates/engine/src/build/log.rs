//! The log of a task: into a file, to whoever watches, and its end kept for a failure's report.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use buildnet_event::TaskName;

/// Most bytes of a log that are kept.
const MAX_LOG: u64 = 64 << 20;

/// Bytes of the end that are kept for a failure's report.
const TAIL: usize = 8 * 1024;

/// A log being written.
pub(super) struct TaskLog {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    tail: Vec<u8>,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
}

impl TaskLog {
    /// Starts a log; an earlier one of the task is removed. The file is made when there is something to write: most commands say
    /// nothing.
    pub(super) fn create(logs: &Path, task: &TaskName) -> Self {
        let path = path_of(logs, task);
        // Removed, not truncated: the old file may be what a watcher still reads.
        let _ = std::fs::remove_file(&path);
        Self { path, file: None, written: 0, tail: Vec::new(), partial: Vec::new() }
    }

    /// The file; none if it cannot be made, which is no reason to fail a build.
    fn file(&mut self) -> Option<&mut File> {
        if self.file.is_none() {
            std::fs::create_dir_all(self.path.parent()?).ok()?;
            self.file = File::create(&self.path).ok();
        }
        self.file.as_mut()
    }

    /// Adds output; returns the text to show.
    pub(super) fn add(&mut self, bytes: &[u8]) -> String {
        if self.written < MAX_LOG {
            let room = usize::try_from(MAX_LOG - self.written).unwrap_or(usize::MAX);
            let kept = &bytes[..bytes.len().min(room)];
            self.written += kept.len() as u64;
            if let Some(file) = self.file() {
                let _ = file.write_all(kept);
                if kept.len() < bytes.len() {
                    let _ = file.write_all(b"\n[the log is longer than 64 MiB; the rest is not kept]\n");
                }
            }
        }
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.decode(bytes)
    }

    /// Text of the bytes, keeping back a character that the next piece may complete.
    fn decode(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let cut = match std::str::from_utf8(&self.partial) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.partial.len(),
        };
        let text = String::from_utf8_lossy(&self.partial[..cut]).into_owned();
        self.partial.drain(..cut);
        text
    }

    /// The end of the log, from the beginning of a line.
    pub(super) fn tail(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        match text.split_once('\n') {
            Some((_, rest)) if self.written > TAIL as u64 => rest.to_owned(),
            _ => text.into_owned(),
        }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written.
    pub(super) const fn len(&self) -> u64 {
        self.written
    }
}

/// Where the log of a task lies.
pub(super) fn path_of(logs: &Path, task: &TaskName) -> PathBuf {
    let plain = |name: &str| name.replace(['/', '\\', '\0'], "+").replace("..", "+");
    logs.join(plain(&task.package)).join(format!("{}.log", plain(&task.task)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_log_directory() {
        let path = path_of(Path::new("/logs"), &TaskName::new("@scope/../x", "build"));
        assert_eq!(path, Path::new("/logs/@scope+++x/build.log"));
    }

    #[test]
    fn a_character_split_over_two_pieces_is_shown_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TaskLog::create(dir.path(), &TaskName::new("p", "build"));
        let (one, other) = "aé".as_bytes().split_at(2);
        assert_eq!(log.add(one), "a");
        assert_eq!(log.add(other), "é");
        assert_eq!(log.add(b"\xffz"), "\u{fffd}z");
        assert_eq!(std::fs::read(log.path()).unwrap(), b"a\xc3\xa9\xffz");
    }

    #[test]
    fn the_tail_starts_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = TaskLog::create(dir.path(), &TaskName::new("p", "build"));
        for number in 0..2000 {
            log.add(format!("line {number}\n").as_bytes());
        }
        assert!(log.tail().starts_with("line "), "{}", &log.tail()[..20]);
        assert!(log.tail().ends_with("line 1999\n"));
    }
}
