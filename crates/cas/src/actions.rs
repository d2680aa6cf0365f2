//! The action cache.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use buildnet_digest::{Digest, reapi};
use bytes::Bytes;
use prost::Message;

use crate::core::Core;
use crate::error::CasError;
use crate::index::Located;
use crate::lookup::expand_within;
use crate::record::{Header, Key, MAX_STORED, REMOVED};
use crate::references::{References, files_of_tree};

/// Most digests that the cache of trees holds: 80 bytes each.
const CACHED_FILES: usize = 100_000;
/// Deepest directory that is followed.
const MAX_DEPTH: usize = 10_000;

/// The files that trees name, so that a `Tree` is not decoded for every hit.
#[derive(Debug, Default)]
pub(crate) struct TreeCache {
    trees: HashMap<Digest, Arc<[Digest]>>,
    files: usize,
}

impl TreeCache {
    fn insert(&mut self, tree: Digest, files: &Arc<[Digest]>) {
        if self.files + files.len() > CACHED_FILES {
            *self = Self::default();
        }
        if files.len() <= CACHED_FILES && self.trees.insert(tree, Arc::clone(files)).is_none() {
            self.files += files.len() + 1;
        }
    }
}

/// Of several results of one action the latest.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// Its time, whether it says that the result was removed, and its content.
    latest: Option<(u64, bool, Bytes)>,
}

impl Newest {
    /// Takes one more record.
    pub(crate) fn take(&mut self, (header, payload): (Header, Bytes)) {
        if self.latest.as_ref().is_some_and(|(time, _, _)| header.time <= *time) {
            return;
        }
        let removed = header.entry.flags & REMOVED != 0;
        let bytes =
            if removed { Some(payload) } else { expand_within(header.entry.codec, payload, u64::from(MAX_STORED)) };
        if let Some(bytes) = bytes {
            self.latest = Some((header.time, removed, bytes));
        }
    }

    /// The result, unless there is none or it was removed.
    pub(crate) fn result(self) -> Option<reapi::ActionResult> {
        reapi::ActionResult::decode(self.stored()?).ok()
    }

    /// The result with its note, as it was stored.
    pub(crate) fn stored(self) -> Option<Bytes> {
        let (_, _, bytes) = self.latest.filter(|(_, removed, _)| !removed)?;
        Some(bytes)
    }
}

impl Core {
    /// The newest result of an action, if it is complete.
    pub(crate) fn action_result(&self, action: &Digest) -> Result<Option<reapi::ActionResult>, CasError> {
        let Some(result) = self.newest_result(action)? else { return Ok(None) };
        let Ok(references) = References::of(action, &result) else { return Ok(None) };
        Ok(self.is_complete(references)?.then_some(result))
    }

    /// The newest record of an action's result, without what it refers to.
    pub(crate) fn newest_result(&self, action: &Digest) -> Result<Option<reapi::ActionResult>, CasError> {
        let key = Key::action(action);
        // Another process may have put a newer one, or removed it.
        self.index.refresh().map_err(|error| self.index_failed(error))?;
        if self.locate(&[key])?[0].is_none() {
            return Ok(None);
        }
        Ok(self.newest(action)?.result())
    }

    /// The newest of the records of an action that this process knows, without marking it as used.
    pub(crate) fn newest(&self, action: &Digest) -> Result<Newest, CasError> {
        let key = Key::action(action);
        let view = self.index.view().map_err(|error| self.index_failed(error))?;
        let candidates: Vec<Located> =
            view.find_all(&key).map(|(segment, entry)| Located { segment: segment.clone(), entry }).collect();
        drop(view);
        let mut newest = Newest::default();
        for found in candidates {
            match self.record(&found) {
                Ok(Some(record)) if record.0.digest == *action => newest.take(record),
                // One whose hash begins in the same way.
                Ok(Some(_)) => {}
                Ok(None) => self.condemn(&found, action),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.index.forget_segment(found.segment.salt),
                Err(error) => return Err(CasError::io("read", found.segment.path(), error)),
            }
        }
        Ok(newest)
    }

    /// Whether every blob is there; those that are count as used now.
    fn is_complete(&self, references: References) -> Result<bool, CasError> {
        let References { mut blobs, trees, directories } = references;
        for tree in &trees {
            let Some(files) = self.files_of(tree)? else { return Ok(false) };
            blobs.extend_from_slice(&files);
        }
        blobs.extend_from_slice(&trees);
        for root in &directories {
            if !self.directory_files(root, &mut blobs)? {
                return Ok(false);
            }
        }
        Ok(self.missing(blobs.iter().map(Key::blob))?.is_empty())
    }

    /// The files of a `Tree`; `None` when it is not there or is no tree.
    fn files_of(&self, tree: &Digest) -> Result<Option<Arc<[Digest]>>, CasError> {
        let cached = self.trees.lock().trees.get(tree).map(Arc::clone);
        if cached.is_some() {
            return Ok(cached);
        }
        let Some(bytes) = self.read(tree)? else { return Ok(None) };
        let files = reapi::Tree::decode(bytes).ok().and_then(|message| files_of_tree(tree, &message).ok());
        let files: Option<Arc<[Digest]>> = files.map(Into::into);
        if let Some(files) = &files {
            self.trees.lock().insert(*tree, files);
        }
        Ok(files)
    }

    /// Collects a directory, its subdirectories and their files; false when a directory is not there.
    fn directory_files(&self, root: &Digest, blobs: &mut Vec<Digest>) -> Result<bool, CasError> {
        let mut seen = std::collections::HashSet::from([*root]);
        let mut level = vec![*root];
        for _ in 0..MAX_DEPTH {
            let mut deeper = Vec::new();
            for digest in level {
                let Some(bytes) = self.read(&digest)? else { return Ok(false) };
                let Ok(directory) = reapi::Directory::decode(bytes) else { return Ok(false) };
                for file in directory.files.iter().filter_map(|file| file.digest.as_ref()) {
                    let Ok(file) = Digest::from_reapi(root.function(), file) else { return Ok(false) };
                    blobs.push(file);
                }
                for child in directory.directories.iter().filter_map(|child| child.digest.as_ref()) {
                    let Ok(child) = Digest::from_reapi(root.function(), child) else { return Ok(false) };
                    if seen.insert(child) {
                        deeper.push(child);
                    }
                }
            }
            if deeper.is_empty() {
                return Ok(true);
            }
            level = deeper;
        }
        Ok(false)
    }
}
