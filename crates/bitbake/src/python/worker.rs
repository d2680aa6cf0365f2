//! One Python process.

use std::ffi::OsString;
use std::io::{BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::marshal;
use super::runtime::Runtime;
use crate::Value;
use crate::error::{Error, Result};

/// Seconds that Python may compute without a word, unless `BUILDNET_PYTHON_SECONDS` in its environment says otherwise.
const SECONDS: u32 = 120;

/// Messages above this size are refused.
const LARGEST: usize = 1 << 30;

/// How to start workers.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The interpreter.
    pub python: PathBuf,
    /// The runtime it imports.
    pub runtime: Arc<Runtime>,
    /// The whole environment of the process.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    buffer: Vec<u8>,
    limit: Duration,
}

impl Worker {
    pub(super) fn start(launch: &Launch) -> Result<Self> {
        let failed = |error: std::io::Error| Error::Worker(format!("{}: {error}", launch.python.display()));
        let mut child = Command::new(&launch.python)
            .arg("-B")
            .arg(launch.runtime.script())
            .args(launch.runtime.search_path())
            .env_clear()
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            // Texts that metadata joins from sets come out the same on every run.
            .env("PYTHONHASHSEED", "4")
            .env("PYTHONUTF8", "1")
            .current_dir(&launch.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Worker("its pipes are missing".into()));
        };
        let limit = launch.environment.iter().find(|(name, _)| name == "BUILDNET_PYTHON_SECONDS");
        let limit = limit.and_then(|(_, seconds)| seconds.to_str()?.parse().ok()).filter(|seconds| *seconds > 0);
        let limit = Duration::from_secs(limit.unwrap_or(SECONDS).into());
        Ok(Self { child, input, output: BufReader::with_capacity(1 << 16, output), buffer: Vec::new(), limit })
    }

    pub(super) fn send(&mut self, message: &Value) -> Result<()> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; 4]);
        marshal::encode(message, &mut self.buffer);
        let size = u32::try_from(self.buffer.len() - 4).ok().filter(|size| *size as usize <= LARGEST);
        let Some(size) = size else { return Err(Error::Worker("a message is too large".into())) };
        self.buffer[..4].copy_from_slice(&size.to_le_bytes());
        self.input.write_all(&self.buffer).and_then(|()| self.input.flush()).map_err(|error| self.died(&error))
    }

    pub(super) fn receive(&mut self) -> Result<Value> {
        self.wait()?;
        let mut head = [0; 4];
        self.output.read_exact(&mut head).map_err(|error| self.died(&error))?;
        let size = u32::from_le_bytes(head) as usize;
        if size > LARGEST {
            return Err(Error::Worker("a message is too large".into()));
        }
        self.buffer.clear();
        self.buffer.resize(size, 0);
        self.output.read_exact(&mut self.buffer).map_err(|error| Error::Worker(error.to_string()))?;
        marshal::decode(&self.buffer).ok_or_else(|| Error::Worker("a message is garbled".into()))
    }

    /// Waits until there is something to read. Code that never ends, ends here: the caller drops the worker.
    fn wait(&mut self) -> Result<()> {
        if !self.output.buffer().is_empty() {
            return Ok(());
        }
        let limit = rustix::time::Timespec::try_from(self.limit).map_err(|error| Error::Worker(error.to_string()))?;
        let mut waiting = [rustix::event::PollFd::new(self.output.get_ref(), rustix::event::PollFlags::IN)];
        loop {
            return match rustix::event::poll(&mut waiting, Some(&limit)) {
                Ok(0) => Err(Error::TimeLimit { what: String::new(), seconds: self.limit.as_secs() }),
                Ok(_) => Ok(()),
                // A signal of the program's own: wait again.
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(Error::Worker(error.to_string())),
            };
        }
    }

    fn died(&mut self, error: &std::io::Error) -> Error {
        match self.child.try_wait() {
            Ok(Some(status)) => Error::Worker(format!("ended: {status}")),
            _ => Error::Worker(error.to_string()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whatever it does, nobody waits for the result. An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
