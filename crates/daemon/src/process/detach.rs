//! Starting a daemon in the background.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use buildnet_digest::{Diagnostic, ErrorCategory};

use crate::client::Daemon;
use crate::server::routes::status::Health;

/// How long a daemon may take until it answers.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(10);

/// The daemon did not come up.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// It could not be started at all.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its log could not be opened.
    #[error("cannot open the daemon's log {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended at once.
    #[error("the daemon ended with {status}; the end of its log:\n{tail}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said.
        tail: String,
        /// The file with all of it.
        log: PathBuf,
    },
    /// It runs and does not answer.
    #[error("the daemon (process {pid}) does not answer after {} s", PATIENCE.as_secs())]
    Silent {
        /// The process.
        pid: u32,
        /// Its log.
        log: PathBuf,
    },
}

impl Diagnostic for DetachError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::Environment
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Start { .. } => None,
            Self::Log { path, .. } => Some(format!("Check that {} can be written.", path.display())),
            Self::Ended { log, .. } | Self::Silent { log, .. } => Some(format!("Its log is {}.", log.display())),
        }
    }
}

/// Runs `program` with `arguments` in the background, its output in `log`, and waits until the daemon answers.
pub fn detach(program: &Path, arguments: &[OsString], log: &Path, daemon: &Daemon) -> Result<Health, DetachError> {
    let no_log = |source| DetachError::Log { path: log.to_owned(), source };
    if let Some(parent) = log.parent() {
        std::fs::create_dir_all(parent).map_err(no_log)?;
    }
    let output = OpenOptions::new().create(true).append(true).open(log).map_err(no_log)?;
    let start = output.metadata().map_err(no_log)?.len();
    let errors = output.try_clone().map_err(no_log)?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|source| DetachError::Start { program: program.to_owned(), source })?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Another daemon on the same address would answer as well.
        if let Ok(Some(health)) = daemon.get::<Health>("/health")
            && health.pid == child.id()
        {
            return Ok(health);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(DetachError::Ended { status, tail: tail(log, start), log: log.to_owned() });
        }
        if Instant::now() > deadline {
            return Err(DetachError::Silent { pid: child.id(), log: log.to_owned() });
        }
        sleep(PAUSE);
    }
}

/// What was written to the log since `start`, its last 4 KiB.
fn tail(log: &Path, start: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(4096))))?;
        let mut bytes = Vec::new();
        file.take(4096).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    read().unwrap_or_default()
}
