//! What is remembered of each task beside the graph: its outputs in the workspace, and why it ran last.

use std::collections::HashMap;
use std::path::Path;

use buildnet_digest::Digest;
use buildnet_event::{InputChange, Reason, TaskName};
use buildnet_executor::Placed;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Most changes that are remembered of a task.
const MAX_CHANGES: usize = 50;

/// What is remembered of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskState {
    /// Its outputs in the workspace.
    pub placed: Option<Placed>,
    /// Digest of the action that made them.
    pub key: Option<Digest>,
    /// How long the command ran when it really ran, in microseconds.
    pub execution_us: u64,
    /// Whether the last run failed.
    pub failed: bool,
    /// Why it was not instant when it last was not.
    #[serde(with = "as_json")]
    pub reason: Option<Reason>,
    /// The outputs that its dependencies showed when it last succeeded.
    pub dependencies: Vec<(TaskName, Digest)>,
    /// Inputs that differ from the last success; at most 50.
    #[serde(with = "as_json")]
    pub pending: Vec<InputChange>,
    /// How many more there are.
    pub more: usize,
}

/// Events' types name their fields when they are written, which the table's compact encoding does not keep: they are embedded as
/// JSON text.
mod as_json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        serde_json::from_str(text).map_err(D::Error::custom)
    }
}

/// What is remembered of all tasks of a workspace.
#[derive(Debug, Default)]
pub(super) struct Table {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: HashMap<TaskName, TaskState>,
    unsaved: bool,
}

/// The table as it lies on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The number that the graph of the same save holds.
    generation: u64,
    tasks: HashMap<TaskName, TaskState>,
}

impl Table {
    /// What is remembered of a task.
    pub(super) fn get(&self, task: &TaskName) -> Option<TaskState> {
        self.inner.lock().tasks.get(task).cloned()
    }

    /// Looks at a task's state.
    pub(super) fn with<T>(&self, task: &TaskName, look: impl FnOnce(Option<&TaskState>) -> T) -> T {
        look(self.inner.lock().tasks.get(task))
    }

    /// Changes a task's state.
    pub(super) fn update(&self, task: &TaskName, change: impl FnOnce(&mut TaskState)) {
        let mut inner = self.inner.lock();
        change(inner.tasks.entry(task.clone()).or_default());
        inner.unsaved = true;
    }

    /// Adds inputs that differ; an input that was noted before keeps what it was at first, and one that is as it was is dropped.
    pub(super) fn note_changes(&self, task: &TaskName, changes: Vec<InputChange>) {
        self.update(task, |state| {
            for change in changes {
                let same = |noted: &InputChange| noted.part == change.part && noted.name == change.name;
                if let Some(index) = state.pending.iter().position(same) {
                    state.pending[index].after = change.after;
                    if state.pending[index].after == state.pending[index].before {
                        state.pending.remove(index);
                    }
                } else if state.pending.len() < MAX_CHANGES {
                    state.pending.push(change);
                } else {
                    state.more += 1;
                }
            }
        });
    }

    /// The tasks that are remembered.
    pub(super) fn names(&self) -> Vec<TaskName> {
        self.inner.lock().tasks.keys().cloned().collect()
    }

    /// Forgets a task.
    pub(super) fn remove(&self, task: &TaskName) -> Option<TaskState> {
        let mut inner = self.inner.lock();
        inner.unsaved = true;
        inner.tasks.remove(task)
    }

    /// Whether anything changed since it was loaded or saved.
    pub(super) fn unsaved(&self) -> bool {
        self.inner.lock().unsaved
    }

    /// The table of the file if it is whole and of the generation that the graph names.
    pub(super) fn load(path: &Path, generation: u64) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let (sum, body) = bytes.split_first_chunk::<32>()?;
        if blake3_of(body) != *sum {
            return None;
        }
        let stored: Stored = postcard::from_bytes(body).ok()?;
        let inner = Inner { tasks: stored.tasks, unsaved: false };
        (stored.generation == generation).then(|| Self { inner: Mutex::new(inner) })
    }

    /// Writes the table, atomically.
    pub(super) fn save(&self, path: &Path, generation: u64) -> std::io::Result<()> {
        let mut inner = self.inner.lock();
        let tasks = std::mem::take(&mut inner.tasks);
        let stored = Stored { generation, tasks };
        let encoded = postcard::to_stdvec(&stored).map_err(std::io::Error::other);
        inner.tasks = stored.tasks;
        let body = encoded?;
        let mut bytes = blake3_of(&body).to_vec();
        bytes.extend(body);
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(&temporary, path)?;
        inner.unsaved = false;
        Ok(())
    }
}

fn blake3_of(bytes: &[u8]) -> [u8; 32] {
    let digest = buildnet_digest::DigestFunction::Blake3.digest(bytes);
    let mut sum = [0; 32];
    sum.copy_from_slice(digest.hash());
    sum
}

#[cfg(test)]
mod tests {
    use buildnet_event::InputPart;

    use super::*;

    fn change(before: &str, after: &str) -> InputChange {
        let (before, after) = (Some(before.to_owned()), Some(after.to_owned()));
        InputChange { part: InputPart::File, name: "a.c".to_owned(), before, after }
    }

    #[test]
    fn changes_add_up_and_cancel_out() {
        let table = Table::default();
        let task = TaskName::new("p", "build");
        table.note_changes(&task, vec![change("1", "2")]);
        table.note_changes(&task, vec![change("2", "3")]);
        assert_eq!(table.get(&task).unwrap().pending, [change("1", "3")]);
        table.note_changes(&task, vec![change("3", "1")]);
        assert!(table.get(&task).unwrap().pending.is_empty());
    }

    #[test]
    fn a_damaged_or_foreign_file_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tasks");
        let table = Table::default();
        table.note_changes(&TaskName::new("p", "build"), vec![change("1", "2")]);
        let task = TaskName::new("p", "build");
        table.update(&task, |state| state.reason = Some(Reason::FirstRun));
        table.save(&path, 7).unwrap();
        assert_eq!(Table::load(&path, 7).unwrap().get(&task), table.get(&task));
        assert!(Table::load(&path, 8).is_none(), "another generation");
        let mut bytes = std::fs::read(&path).unwrap();
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(Table::load(&path, 7).is_none(), "bit flipped at {index}");
            bytes[index] ^= 1;
        }
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Table::load(&path, 7).is_none(), "truncated");
    }
}
