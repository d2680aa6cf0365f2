//! One daemon per address.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use buildnet_digest::{Diagnostic, ErrorCategory};
use serde::{Deserialize, Serialize};

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// The program's version.
    pub version: String,
}

/// Held by a daemon as long as it runs. The kernel releases it however the process ends; what the file says is for people.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// The lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("a daemon already serves {address}{}", .owner.as_ref().map(|owner| format!(" (process {})", owner.pid)).unwrap_or_default())]
    Taken {
        /// The address.
        address: SocketAddr,
        /// Who, if the file says so.
        owner: Option<Owner>,
    },
    /// The file system refused.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Diagnostic for LockError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Taken { .. } => ErrorCategory::User,
            Self::Io { .. } => ErrorCategory::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } => Some("`buildnet stop` ends it; --listen chooses another address.".to_owned()),
            Self::Io { path, .. } => Some(format!("Check that {} can be written.", path.display())),
        }
    }
}

impl Lock {
    /// The lock file of an address in the daemon's directory.
    pub fn path(directory: &Path, address: SocketAddr) -> PathBuf {
        directory.join(format!("{}.lock", address.to_string().replace([':', '[', ']'], "-")))
    }

    /// Takes the lock of an address, without waiting.
    pub fn take(directory: &Path, address: SocketAddr) -> Result<Self, LockError> {
        let path = Self::path(directory, address);
        let failed = |source| LockError::Io { path: path.clone(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Taken { address, owner: read_owner(&mut file) }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let owner = Owner { pid: std::process::id(), address, version: crate::VERSION.to_owned() };
        let text = serde_json::to_vec(&owner).unwrap_or_default();
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&text)).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes lock two files of one name. Unlocked here and not by closing, since a
        // child that is just being started may hold a copy of the descriptor.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn read_owner(file: &mut File) -> Option<Owner> {
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_daemons_do_not_share_an_address() {
        let directory = tempfile::tempdir().unwrap();
        let address = "127.0.0.1:9876".parse().unwrap();
        let first = Lock::take(directory.path(), address).unwrap();
        let Err(LockError::Taken { owner: Some(owner), .. }) = Lock::take(directory.path(), address) else {
            panic!("a second lock was given");
        };
        assert_eq!(owner.pid, std::process::id());
        Lock::take(directory.path(), "127.0.0.1:9877".parse().unwrap()).unwrap();
        drop(first);
        Lock::take(directory.path(), address).unwrap();
    }
}
