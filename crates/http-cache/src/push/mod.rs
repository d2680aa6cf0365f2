//! Uploads a directory of BitBake's shared state to a cache, since BitBake itself only ever downloads.
//!
//! An archive is what BitBake looks for, so its description and signature (`.siginfo`, `.sig`) go before it: whoever finds an
//! archive finds all that belongs to it.

mod connection;
mod find;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_digest::{Diagnostic, ErrorCategory};
use parking_lot::Mutex;

use self::connection::Connection;
pub use self::connection::{Address, AddressError};
use self::find::Object;

/// Uploads at once.
const CONNECTIONS: usize = 4;
/// Failures before the rest is given up.
const MAX_FAILED: usize = 20;

/// What an upload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Files that were sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the cache had already.
    pub present: u64,
    /// Files that could not be sent, with why.
    pub failed: Vec<(PathBuf, String)>,
}

/// Why nothing could be uploaded.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// There is nothing to upload.
    #[error("there is no shared state in {}", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// The cache does not answer.
    #[error("cannot reach {address}: {message}")]
    Connect {
        /// The cache.
        address: String,
        /// Why.
        message: String,
    },
    /// The cache takes nothing from this client.
    #[error("{address} refuses: {message}")]
    Refused {
        /// The cache.
        address: String,
        /// What it says.
        message: String,
    },
}

impl Diagnostic for PushError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Empty { .. } | Self::Refused { .. } => ErrorCategory::User,
            Self::Read { .. } | Self::Connect { .. } => ErrorCategory::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => return None,
            Self::Empty { .. } => "name the directory that SSTATE_DIR stands for (`bitbake-getvar SSTATE_DIR`)".into(),
            Self::Connect { .. } => "start it with `buildnet start`, or name another with --to".into(),
            Self::Refused { .. } => "show a token that may write, with --token or BUILDNET_TOKEN".into(),
        })
    }
}

/// Uploads every object of shared state below `dir` that the cache does not have. `token` is shown as a bearer token.
pub async fn push(dir: &Path, address: &Address, token: Option<&str>) -> Result<Pushed, PushError> {
    let root = dir.to_owned();
    let found = tokio::task::spawn_blocking(move || find::objects(&root)).await;
    let objects =
        found.map_err(|error| PushError::Read { path: dir.to_owned(), source: std::io::Error::other(error) })?;
    let objects = objects.map_err(|(path, source)| PushError::Read { path, source })?;
    if objects.is_empty() {
        return Err(PushError::Empty { path: dir.to_owned() });
    }
    let work = Arc::new(Work {
        address: address.clone(),
        token: token.map(str::to_owned),
        waiting: Mutex::new(objects.into()),
        pushed: Mutex::default(),
    });
    // The first connection tells whether there is a cache that takes uploads; the others would say the same.
    let first = work.connect().await?;
    let mut workers = tokio::task::JoinSet::new();
    workers.spawn(Arc::clone(&work).serve(Some(first)));
    for _ in 1..CONNECTIONS {
        workers.spawn(Arc::clone(&work).serve(None));
    }
    let mut outcome = Ok(());
    while let Some(ended) = workers.join_next().await {
        // A worker that panicked has left its objects unsent, which `failed` does not tell.
        let ended = ended.unwrap_or_else(|error| {
            Err(PushError::Connect { address: address.to_string(), message: error.to_string() })
        });
        outcome = outcome.and(ended);
    }
    outcome?;
    let mut pushed = std::mem::take(&mut *work.pushed.lock());
    pushed.failed.sort();
    Ok(pushed)
}

struct Work {
    address: Address,
    token: Option<String>,
    waiting: Mutex<VecDeque<Object>>,
    pushed: Mutex<Pushed>,
}

impl Work {
    async fn connect(&self) -> Result<Connection, PushError> {
        Connection::open(&self.address, self.token.as_deref()).await
    }

    /// Sends object after object.
    async fn serve(self: Arc<Self>, mut connection: Option<Connection>) -> Result<(), PushError> {
        loop {
            let next = self.waiting.lock().pop_front();
            let Some(object) = next else { return Ok(()) };
            for (name, file) in &object.files {
                let mut open = match connection.take() {
                    Some(open) if open.is_ready() => open,
                    _ => self.connect().await?,
                };
                let sent = send(&mut open, name, file).await;
                let failed = sent.is_err();
                self.note(file, sent)?;
                if failed {
                    // What belongs to the archive is missing, so the archive stays away, too; the connection is spent.
                    break;
                }
                connection = Some(open);
            }
        }
    }

    fn note(&self, file: &Path, sent: Result<Option<u64>, Failure>) -> Result<(), PushError> {
        let mut pushed = self.pushed.lock();
        match sent {
            Ok(None) => pushed.present += 1,
            Ok(Some(length)) => {
                pushed.sent += 1;
                pushed.bytes += length;
            }
            Err(Failure::Refused(message)) => {
                self.waiting.lock().clear();
                return Err(PushError::Refused { address: self.address.to_string(), message });
            }
            Err(Failure::Other(message)) => {
                pushed.failed.push((file.to_owned(), message));
                if pushed.failed.len() >= MAX_FAILED {
                    self.waiting.lock().clear();
                }
            }
        }
        Ok(())
    }
}

/// Why one file was not sent.
enum Failure {
    /// The cache takes nothing from this client.
    Refused(String),
    Other(String),
}

/// Sends one file, unless it is there. Returns its length when it was sent.
async fn send(connection: &mut Connection, name: &str, file: &Path) -> Result<Option<u64>, Failure> {
    let length = tokio::fs::metadata(file).await.map_err(|error| Failure::Other(error.to_string()))?.len();
    if length == 0 {
        return Err(Failure::Other("it is empty, which BitBake takes for an error".into()));
    }
    let there = connection.look(name).await?;
    // Archives of one name may differ in length: what was written first stays, as BitBake's own mirrors keep it.
    if there {
        return Ok(None);
    }
    connection.upload(name, file, length).await?;
    Ok(Some(length))
}
