//! Who wrote which entry: an append-only log of JSON lines, read only when somebody asks.
//!
//! A line is written before its entry, with one `write`, so that the death of the process never leaves an entry without
//! its writer. A torn last line (after a power loss) is skipped.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use buildnet_digest::Digest;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::backing::EntryKey;
use crate::service::CacheError;
use crate::source::RequestSource;

/// Above this size the log is compacted when it is opened. In bytes.
const COMPACT: u64 = 64 << 20;

/// One entry that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The protocol (`reapi`, `gradle`, …).
    pub protocol: String,
    /// The instance it was written to.
    pub instance: String,
    /// Its key as the protocol writes it.
    pub name: String,
    /// Its key in the store's action cache.
    pub key: Digest,
    /// Name of the token that wrote it.
    pub writer: String,
    /// Name of the token that wrote it to another instance first, where it was promoted from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When, in milliseconds since 1970; 0 where that was not recorded.
    #[serde(default)]
    pub time_ms: u64,
    /// What it was written with, where the protocol says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RequestSource>,
}

impl Written {
    /// What the entry is found by.
    pub fn entry(&self) -> EntryKey {
        let action = (self.protocol == "reapi").then(|| self.name.parse().ok()).flatten();
        EntryKey { key: self.key, instance: self.instance.clone(), action }
    }
}

/// The log.
#[derive(Debug)]
pub struct Provenance {
    path: PathBuf,
    file: Mutex<File>,
}

impl Provenance {
    /// Opens or creates the log.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let io = |action, source| CacheError::Io { action, path: path.to_owned(), source };
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > COMPACT) {
            let compacted = path.with_extension("compacting");
            let mut lines = Vec::new();
            for written in read(path)? {
                lines.extend(line(&written)?);
            }
            fs::write(&compacted, &lines)
                .and_then(|()| fs::rename(&compacted, path))
                .map_err(|source| io("compact", source))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|source| io("open", source))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Appends a line.
    pub fn record(&self, written: &Written) -> Result<(), CacheError> {
        let line = line(written)?;
        let io = |source| CacheError::Io { action: "write", path: self.path.clone(), source };
        self.file.lock().write_all(&line).map_err(io)
    }

    /// The last line of each entry, oldest entry first.
    pub fn latest(&self) -> Result<Vec<Written>, CacheError> {
        read(&self.path)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn line(written: &Written) -> Result<Vec<u8>, CacheError> {
    let mut line = serde_json::to_vec(written).map_err(|error| CacheError::Invalid { message: error.to_string() })?;
    line.push(b'\n');
    Ok(line)
}

fn read(path: &Path) -> Result<Vec<Written>, CacheError> {
    let io = |source| CacheError::Io { action: "read", path: path.to_owned(), source };
    let mut latest: HashMap<Digest, usize> = HashMap::new();
    let mut entries: Vec<Option<Written>> = Vec::new();
    for line in BufReader::new(File::open(path).map_err(io)?).split(b'\n') {
        let Ok(written) = serde_json::from_slice::<Written>(&line.map_err(io)?) else { continue };
        if let Some(older) = latest.insert(written.key, entries.len()) {
            entries[older] = None;
        }
        entries.push(Some(written));
    }
    Ok(entries.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use buildnet_digest::DigestFunction;

    use super::*;

    #[test]
    fn the_last_writer_counts_and_torn_lines_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let written = |name: &str, writer: &str| Written {
            protocol: "p".into(),
            instance: "i".into(),
            name: name.into(),
            key: DigestFunction::Sha256.digest(name.as_bytes()),
            writer: writer.into(),
            author: None,
            time_ms: 7,
            source: (writer == "y").then(|| RequestSource { tool: "bazel".into(), ..RequestSource::default() }),
        };
        let log = Provenance::open(&path).unwrap();
        for (name, writer) in [("a", "x"), ("b", "x"), ("a", "y")] {
            log.record(&written(name, writer)).unwrap();
        }
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"protocol\":\"p\"").unwrap();
        assert_eq!(Provenance::open(&path).unwrap().latest().unwrap(), [written("b", "x"), written("a", "y")]);
    }
}
