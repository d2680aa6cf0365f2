//! Who wrote which entry: a note in the entry's own record, so that neither is there without the other, whatever happens. Read only
//! when somebody asks.
//!
//! An entry that also goes to a tier behind outlives its record here. So before it goes there, a line is appended to a log, and
//! synced: one sync is for all lines that were written by then. A torn last line (after a power loss) is skipped.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use buildnet_cas::Store;
use buildnet_digest::{Digest, DigestFunction};
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
    /// Its key in the store's action cache. A note has none: it is found under the key.
    #[serde(default = "unknown", skip_serializing_if = "is_unknown")]
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
    /// The note that goes with the entry.
    pub(crate) fn note(&self) -> Result<Vec<u8>, CacheError> {
        let keyless = Self { key: unknown(), ..self.clone() };
        serde_json::to_vec(&keyless).map_err(|error| CacheError::Invalid { message: error.to_string() })
    }

    /// What the entry is found by.
    pub fn entry(&self) -> EntryKey {
        let action = (self.protocol == "reapi").then(|| self.name.parse().ok()).flatten();
        EntryKey { key: self.key, instance: self.instance.clone(), action }
    }
}

fn unknown() -> Digest {
    Digest::empty(DigestFunction::Sha256)
}

fn is_unknown(key: &Digest) -> bool {
    *key == unknown()
}

/// The log of what went to the tier behind.
#[derive(Debug)]
pub struct Provenance {
    path: PathBuf,
    file: Mutex<File>,
    /// Bytes appended since it was opened.
    appended: AtomicU64,
    /// How many of them are synced. Held while syncing.
    synced: Mutex<u64>,
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
        if let Some(dir) = path.parent() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io("sync", source))?;
        }
        let (appended, synced) = (AtomicU64::new(0), Mutex::new(0));
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), appended, synced })
    }

    /// Appends a line, which survives power loss when this returns.
    pub fn record(&self, written: &Written) -> Result<(), CacheError> {
        let line = line(written)?;
        let io = |source| CacheError::Io { action: "write", path: self.path.clone(), source };
        let mut file = self.file.lock();
        file.write_all(&line).map_err(io)?;
        let end = self.appended.fetch_add(line.len() as u64, Ordering::AcqRel) + line.len() as u64;
        let clone = file.try_clone().map_err(io)?;
        drop(file);
        // Who waits here finds, mostly, that the one before has synced the line with its own.
        let mut synced = self.synced.lock();
        if *synced < end {
            let target = self.appended.load(Ordering::Acquire);
            clone.sync_data().map_err(io)?;
            *synced = target;
        }
        Ok(())
    }

    /// Who wrote what, of the entries that `wanted` takes, oldest first: what the store's own records say, and the log for entries of
    /// which they say nothing.
    pub fn written(&self, store: &Store, wanted: impl Fn(&Written) -> bool) -> Result<Vec<Written>, CacheError> {
        let mut noted = HashSet::new();
        let mut found = Vec::new();
        let logged = read(&self.path)?;
        store.notes(&mut |key, note| {
            let Ok(written) = serde_json::from_slice::<Written>(&note) else { return };
            if !logged.is_empty() {
                noted.insert(*key);
            }
            if wanted(&written) {
                found.push(Written { key: *key, ..written });
            }
        })?;
        found.extend(logged.into_iter().filter(|written| !noted.contains(&written.key) && wanted(written)));
        found.sort_by_key(|written| written.time_ms);
        Ok(found)
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
    use buildnet_cas::StoreOptions;
    use buildnet_digest::reapi;

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
        assert_eq!(*log.synced.lock(), fs::metadata(&path).unwrap().len());
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"protocol\":\"p\"").unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let log = Provenance::open(&path).unwrap();
        let all = |written: &Written| written.protocol == "p";
        assert_eq!(log.written(&store, all).unwrap(), [written("b", "x"), written("a", "y")]);

        // What the entries themselves say counts more.
        let (mine, theirs) = (written("b", "z"), Written { time_ms: 9, ..written("c", "z") });
        for written in [&mine, &theirs] {
            store.put_noted_result(&written.key, &reapi::ActionResult::default(), &written.note().unwrap()).unwrap();
        }
        assert_eq!(log.written(&store, all).unwrap(), [mine.clone(), written("a", "y"), theirs.clone()]);
        assert_eq!(log.written(&store, |written| written.writer == "z").unwrap(), [mine.clone(), theirs.clone()]);
        // A result without a note is nobody's any more, as far as the records know.
        store.put_action_result(&theirs.key, &reapi::ActionResult::default()).unwrap();
        assert_eq!(log.written(&store, |written| written.writer == "z").unwrap(), [mine]);
    }

    #[test]
    fn lines_that_were_written_together_are_all_synced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Provenance::open(&path).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8_u64 {
                let log = &log;
                scope.spawn(move || {
                    for number in 0..20_u64 {
                        let written = Written {
                            protocol: "p".into(),
                            instance: String::new(),
                            name: number.to_string(),
                            key: DigestFunction::Sha256.digest(&[writer, number].map(u64::to_le_bytes).concat()),
                            writer: writer.to_string(),
                            author: None,
                            time_ms: 1,
                            source: None,
                        };
                        log.record(&written).unwrap();
                    }
                });
            }
        });
        assert_eq!(read(&path).unwrap().len(), 160);
        assert_eq!(*log.synced.lock(), fs::metadata(&path).unwrap().len());
    }
}
