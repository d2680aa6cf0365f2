//! What waits to be written: keys, never contents, which stay in the store.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;

use buildnet_cas::Store;
use buildnet_digest::{Digest, reapi};
use buildnet_reapi::EntryKey;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::tier::Pending;

/// A result to be written.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) store: Store,
    pub(crate) key: EntryKey,
    /// Blobs to be written with it, beside what it names.
    pub(crate) extra: Vec<Digest>,
    /// Bytes that it names itself.
    pub(crate) bytes: u64,
}

impl Item {
    pub(crate) fn new(store: &Store, key: EntryKey, result: &reapi::ActionResult, extra: Vec<Digest>) -> Self {
        let files = result.output_files.iter().filter_map(|file| file.digest.as_ref());
        let named = files.chain(&result.stdout_digest).chain(&result.stderr_digest);
        let bytes = named.map(|digest| u64::try_from(digest.size_bytes).unwrap_or(0)).fold(0, u64::saturating_add);
        Self { store: store.clone(), key, extra, bytes }
    }
}

/// A bounded queue. A result that is put again before it was written waits once.
#[derive(Debug)]
pub(crate) struct Queue {
    entries: usize,
    bytes: u64,
    state: Mutex<State>,
    /// Something came, or the end.
    came: Notify,
    /// Something was finished.
    done: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Item>,
    /// Bytes of those that wait, by key: an item without an entry was forgotten.
    sizes: HashMap<Digest, u64>,
    waiting_bytes: u64,
    /// What is being written.
    active: Vec<Item>,
    full: bool,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(entries: usize, bytes: u64) -> Self {
        Self { entries, bytes, state: Mutex::default(), came: Notify::new(), done: Notify::new() }
    }

    /// Adds an item. When there is no room it is not taken; then tells whether it is the first one since there was room.
    pub(crate) fn push(&self, item: Item) -> Option<bool> {
        let mut state = self.state.lock();
        if state.closed || state.sizes.contains_key(&item.key.key) {
            return None;
        }
        // One that is larger than the bound is taken when nothing else waits.
        let room = state.waiting.is_empty() || state.waiting_bytes.saturating_add(item.bytes) <= self.bytes;
        if state.sizes.len() >= self.entries || !room {
            return Some(!std::mem::replace(&mut state.full, true));
        }
        state.sizes.insert(item.key.key, item.bytes);
        state.waiting_bytes += item.bytes;
        state.waiting.push_back(item);
        drop(state);
        self.came.notify_one();
        None
    }

    /// The next item, when there is one. The caller says when it is done with it.
    pub(crate) async fn next(&self) -> Item {
        loop {
            let came = self.came.notified();
            if let Some(item) = self.take() {
                return item;
            }
            came.await;
        }
    }

    fn take(&self) -> Option<Item> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        loop {
            let item = state.waiting.pop_front()?;
            let Some(bytes) = state.sizes.remove(&item.key.key) else { continue };
            state.waiting_bytes -= bytes;
            state.full = false;
            state.active.push(item.clone());
            if !state.waiting.is_empty() {
                self.came.notify_one();
            }
            return Some(item);
        }
    }

    /// An item is written or given up.
    pub(crate) fn finished(&self, item: &Item) {
        let mut state = self.state.lock();
        if let Some(index) = state.active.iter().position(|active| active.key == item.key) {
            state.active.swap_remove(index);
        }
        drop(state);
        self.done.notify_waiters();
    }

    /// Gives up everything that waits; returns how many there were.
    pub(crate) fn clear(&self) -> u64 {
        let mut state = self.state.lock();
        let count = state.sizes.len() as u64;
        state.waiting.clear();
        state.sizes.clear();
        state.waiting_bytes = 0;
        drop(state);
        self.done.notify_waiters();
        count
    }

    /// Does not write a result that waits.
    pub(crate) fn forget(&self, key: &Digest) {
        let mut state = self.state.lock();
        if let Some(bytes) = state.sizes.remove(key) {
            state.waiting_bytes -= bytes;
        }
    }

    /// Returns when a result is not being written.
    pub(crate) async fn unwritten(&self, key: &Digest) {
        loop {
            let done = self.done.notified();
            if !self.state.lock().active.iter().any(|item| item.key.key == *key) {
                return;
            }
            done.await;
        }
    }

    pub(crate) fn pending(&self) -> Pending {
        let state = self.state.lock();
        let active: u64 = state.active.iter().map(|item| item.bytes).sum();
        Pending { results: (state.sizes.len() + state.active.len()) as u64, bytes: state.waiting_bytes + active }
    }

    pub(crate) async fn idle(&self) {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            // From here on no end is missed.
            done.as_mut().enable();
            if self.pending().results == 0 {
                return;
            }
            done.await;
        }
    }

    /// Takes nothing more, gives nothing out, and returns what is not written yet.
    pub(crate) fn close(&self) -> Vec<Item> {
        let mut state = self.state.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        let mut left: Vec<Item> = waiting.into_iter().filter(|item| state.sizes.contains_key(&item.key.key)).collect();
        left.extend(state.active.iter().cloned());
        state.sizes.clear();
        state.waiting_bytes = 0;
        left
    }
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: Digest,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    action: Option<Digest>,
}

/// Keeps what waits for the next process; nothing waiting leaves no file.
pub(crate) fn write_journal(path: &Path, items: &[Item]) -> io::Result<()> {
    if items.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut text = String::new();
    for item in items {
        let EntryKey { key, instance, action } = item.key.clone();
        text += &serde_json::to_string(&Line { key, instance, action })?;
        text.push('\n');
    }
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(fresh, path)
}

/// What an earlier process kept, as far as the store still has it. The journal is gone afterwards.
pub(crate) fn read_journal(path: &Path, store: &Store) -> Vec<Item> {
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    // A line that is damaged is lost with its result's upload, no more.
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let items = lines.filter_map(|Line { key, instance, action }| {
        let result = store.action_result(&key).ok()??;
        Some(Item::new(store, EntryKey { key, instance, action }, &result, Vec::new()))
    });
    let items = items.collect();
    let _ = std::fs::remove_file(path);
    items
}
