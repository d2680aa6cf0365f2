//! Counting and verifying everything.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use buildnet_digest::{Digest, reapi};
use bytes::Bytes;
use prost::Message;

use crate::core::Core;
use crate::error::CasError;
use crate::index::Located;
use crate::large::LargeReader;
use crate::lookup::{expand, expand_within};
use crate::options::{StoreStats, VerifyReport};
use crate::record::{Entry, Key, Kind, MAX_STORED, REMOVED};
use crate::references::References;
use crate::segment::{DEAD, Segment};

impl Core {
    pub(crate) fn stats(&self) -> Result<StoreStats, CasError> {
        let failed = |error| self.index_failed(error);
        self.index.refresh().map_err(failed)?;
        let mut stats = StoreStats::default();
        self.each(&mut |found, current| {
            if !current {
                return Ok(());
            }
            let key = &found.entry.key;
            match key.kind {
                Kind::Action if found.entry.flags & REMOVED == 0 => stats.action_results += 1,
                Kind::Action => {}
                Kind::Blob | Kind::Large => {
                    stats.blobs += 1;
                    stats.logical_bytes += key.size;
                }
            }
            Ok(())
        })?;
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        stats.disk_bytes = self.estimate().map_err(failed)?;
        stats.max_bytes = self.options.max_bytes;
        stats.hits = load(&self.counters.hits);
        stats.misses = load(&self.counters.misses);
        stats.corrupted = load(&self.counters.corrupted) + load(&self.index.damaged);
        stats.written_bytes = load(&self.counters.written);
        stats.read_bytes = load(&self.counters.read);
        stats.evicted = load(&self.counters.evicted);
        Ok(stats)
    }

    /// Calls `act` for every record that was not removed, and says whether it is the one that lookups find.
    fn each(&self, act: &mut dyn FnMut(Located, bool) -> Result<(), CasError>) -> Result<(), CasError> {
        let view = self.index.view().map_err(|error| self.index_failed(error))?;
        let segments: Vec<Arc<Segment>> = view.segments().map(Arc::clone).collect();
        drop(view);
        for segment in segments {
            let entries = match segment.all_entries(&*self.disk) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|error| CasError::io("read", segment.sidecar_path(), error))?,
            };
            for (entry, _) in entries.into_iter().filter(|(_, used)| *used != DEAD) {
                let current = self.is_current(&segment, &entry)?;
                act(Located { segment: Arc::clone(&segment), entry }, current)?;
            }
        }
        Ok(())
    }

    /// Calls `act` with the digest of every blob and of every action that has a result; the latter are told by `true`.
    pub(crate) fn digests(&self, act: &mut dyn FnMut(&Digest, bool)) -> Result<(), CasError> {
        self.index.refresh().map_err(|error| self.index_failed(error))?;
        self.each(&mut |found, current| {
            if !current || found.entry.flags & REMOVED != 0 {
                return Ok(());
            }
            match self.record(&found) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(CasError::io("read", found.segment.path(), error)),
                // What is damaged is for `verify` to tell.
                Ok(record) => {
                    if let Some((header, _)) = record {
                        act(&header.digest, header.entry.key.kind == Kind::Action);
                    }
                }
            }
            Ok(())
        })
    }

    fn is_current(&self, segment: &Segment, entry: &Entry) -> Result<bool, CasError> {
        let view = self.index.view().map_err(|error| self.index_failed(error))?;
        let current = view.find(&entry.key);
        Ok(current.is_some_and(|(known, current)| known.salt == segment.salt && current.offset == entry.offset))
    }

    pub(crate) fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, CasError> {
        let total = self.stats()?.logical_bytes;
        let mut report = VerifyReport::default();
        progress(0, total);
        self.each(&mut |found, current| {
            let record = match self.record(&found) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(|error| CasError::io("read", found.segment.path(), error))?,
            };
            let Some((header, payload)) = record.filter(|(header, _)| header.entry.key == found.entry.key) else {
                // Not even its digest is known in full: what is known of the hash names it.
                let key = &found.entry.key;
                let function =
                    buildnet_digest::DigestFunction::ALL.into_iter().find(|known| *known as u8 == key.function);
                let digest = function.map_or_else(
                    || Digest::empty(buildnet_digest::DigestFunction::Sha256),
                    |function| {
                        let mut hash = key.hash.to_vec();
                        hash.resize(function.hash_len(), 0);
                        Digest::new(function, &hash, key.size)
                    },
                );
                self.condemn(&found, &digest);
                report.corrupted.push(digest);
                return Ok(());
            };
            if header.entry.key.kind == Kind::Action {
                if !current || header.entry.flags & REMOVED != 0 {
                    return Ok(());
                }
                report.action_results += 1;
                report.incomplete += u64::from(!self.names_present(&header.digest, header.entry.codec, payload)?);
                return Ok(());
            }
            if !self.is_intact(&found, &header.digest, payload)? {
                self.condemn(&found, &header.digest);
                report.corrupted.push(header.digest);
            }
            if current {
                report.blobs += 1;
                report.bytes += header.digest.size();
            }
            progress(report.bytes.min(total), total);
            Ok(())
        })?;
        progress(total, total);
        Ok(report)
    }

    /// Reads a blob without marking it as used.
    fn is_intact(&self, found: &Located, digest: &Digest, payload: Bytes) -> Result<bool, CasError> {
        if found.entry.key.kind == Kind::Blob {
            let bytes = expand(found.entry.codec, payload, digest.size());
            return Ok(bytes.is_some_and(|bytes| digest.function().digest(&bytes) == *digest));
        }
        let Some(reader) = LargeReader::open(self, digest, found)? else { return Ok(false) };
        let mut hasher = digest.function().hasher();
        for index in 0..reader.count() {
            match reader.block(index) {
                Ok(bytes) => hasher.update(&bytes),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                Err(error) => return Err(CasError::io("read the content of", &self.dir, error)),
            }
        }
        Ok(hasher.finish() == *digest)
    }

    /// Whether the blobs that an action result itself names are there.
    fn names_present(&self, action: &Digest, codec: crate::record::Codec, payload: Bytes) -> Result<bool, CasError> {
        let decoded = expand_within(codec, payload, u64::from(MAX_STORED))
            .and_then(|bytes| reapi::ActionResult::decode(bytes).ok());
        let Some(Ok(references)) = decoded.map(|result| References::of(action, &result)) else { return Ok(false) };
        let view = self.index.view().map_err(|error| self.index_failed(error))?;
        let mut all = references.blobs.iter().chain(&references.trees).chain(&references.directories);
        Ok(all.all(|digest| digest.size() == 0 || view.find(&Key::blob(digest)).is_some()))
    }
}
