//! Storing without a waiting thread per caller: records are queued, and one thread commits whatever has come together.

use std::sync::{Arc, Weak};

use buildnet_digest::Digest;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::core::Core;
use crate::error::CasError;
use crate::options::Durability;
use crate::put::Stored;
use crate::record::Record;

/// Called with the outcome, in the thread that commits.
type Done = Box<dyn FnOnce(Result<(), CasError>) + Send>;

struct Job {
    records: Vec<Record>,
    durability: Durability,
    done: Done,
}

/// What waits to be committed. Outlives the store, so that its thread need not keep the store open.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    started: bool,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.state.lock().jobs.len()).finish_non_exhaustive()
    }
}

impl Queue {
    /// Ends the thread once everything that waits was committed or given up.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// Waits for jobs; none means that the store is gone.
    fn take(&self) -> Vec<Job> {
        let mut state = self.state.lock();
        while state.jobs.is_empty() && !state.closed {
            self.filled.wait(&mut state);
        }
        std::mem::take(&mut state.jobs)
    }
}

impl Core {
    /// The records to append for verified blobs; `None` when storing them takes more than that.
    pub(crate) fn records_of(&self, items: &[(Digest, Bytes)], durability: Durability) -> Option<Vec<Record>> {
        self.writable().ok()?;
        let used = self.now();
        let mut records = Vec::with_capacity(items.len());
        for (digest, bytes) in items.iter().filter(|(digest, _)| digest.size() > 0) {
            match self.stored_cached(digest, durability) {
                Stored::Already => {}
                Stored::Not => records.push(Record::of_blob(*digest, bytes.clone(), used)),
                Stored::Unclear => return None,
            }
        }
        Some(records)
    }

    /// Commits the records in the background, with others.
    pub(crate) fn submit(&self, records: Vec<Record>, durability: Durability, done: Done) {
        let job = Job { records, durability, done };
        if job.records.is_empty() || !self.threads {
            return self.commit_jobs(vec![job]);
        }
        let mut state = self.queue.state.lock();
        state.jobs.push(job);
        if state.started {
            self.queue.filled.notify_one();
            return;
        }
        let (queue, core) = (Arc::clone(&self.queue), Weak::clone(&self.this));
        let spawned = std::thread::Builder::new().name("cas-commit".into()).spawn(move || {
            loop {
                let jobs = queue.take();
                // What is still asked for after the store was dropped is dropped, too: nobody was told that it is stored.
                let Some(core) = core.upgrade().filter(|_| !jobs.is_empty()) else { return };
                core.commit_jobs(jobs);
            }
        });
        state.started = spawned.is_ok();
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot start the thread that commits; committing in place");
            let jobs = std::mem::take(&mut state.jobs);
            drop(state);
            self.commit_jobs(jobs);
        }
    }

    fn commit_jobs(&self, jobs: Vec<Job>) {
        let (mut records, mut waiting) = (Vec::new(), Vec::with_capacity(jobs.len()));
        // One sync is for all: who did not ask for it waits no longer than who did.
        let synced = jobs.iter().any(|job| job.durability == Durability::Synced);
        let durability = if synced { Durability::Synced } else { Durability::Relaxed };
        for mut job in jobs {
            let start = records.len();
            records.append(&mut job.records);
            waiting.push((start..records.len(), job.done));
        }
        let outcome = self.commit(&records, durability);
        match outcome {
            Ok(()) => {
                self.wrote(records.iter().map(Record::length).sum());
                for (_, done) in waiting {
                    done(Ok(()));
                }
            }
            // What does not fit together may fit one by one.
            Err(CasError::DiskFull { .. }) if waiting.len() > 1 => {
                for (range, done) in waiting {
                    done(self.commit(&records[range], durability));
                }
            }
            Err(error) => {
                for (_, done) in waiting {
                    done(Err(error.duplicate()));
                }
            }
        }
    }
}
