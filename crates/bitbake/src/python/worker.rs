//! One Python process.

use std::ffi::OsString;
use std::io::{BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::marshal;
use super::runtime::Runtime;
use crate::Value;
use crate::error::{Error, Result};

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
    /// How long a single piece of code may run without a word.
    pub limit: Duration,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    buffer: Vec<u8>,
    limit: Duration,
    printed: Arc<Mutex<String>>,
}

/// Workers that were started before anybody needs them: starting takes a Python longer than most of what it is asked.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Vec<Worker>>);

impl Waiting {
    /// Starts so many workers and does not wait for them. One that cannot be started is missed by whoever needs it.
    pub(super) fn start(&self, launch: &Launch, count: usize) {
        self.0.lock().extend((0..count).map_while(|_| Worker::start(launch).ok()));
    }

    pub(super) fn take(&self) -> Option<Worker> {
        self.0.lock().pop()
    }

    /// Ends all that nobody took.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// Of what code prints, so many bytes are kept between two looks.
const PRINTED: usize = 64 << 10;

/// Gathers what code prints, so that it neither reaches the terminal nor blocks.
fn gather(mut pipe: ChildStderr, printed: &Mutex<String>) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut chunk) {
        let text = String::from_utf8_lossy(&chunk[..count]);
        let mut printed = printed.lock();
        if printed.len() < PRINTED {
            printed.push_str(&text);
        }
    }
}

impl Worker {
    pub(super) fn start(launch: &Launch) -> Result<Self> {
        let failed = |error: std::io::Error| Error::Worker(format!("{}: {error}", launch.python.display()));
        let mut child = Command::new(&launch.python)
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
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Worker("its pipes are missing".into()));
        };
        let printed = Arc::new(Mutex::new(String::new()));
        if let Some(pipe) = child.stderr.take() {
            let printed = Arc::clone(&printed);
            // It ends with the process, whose end of the pipe it reads.
            std::thread::spawn(move || gather(pipe, &printed));
        }
        let output = BufReader::with_capacity(1 << 16, output);
        Ok(Self { child, input, output, buffer: Vec::new(), limit: launch.limit, printed })
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

    /// What code printed since the last look.
    pub(super) fn take_printed(&self) -> String {
        std::mem::take(&mut self.printed.lock())
    }

    /// Waits for a message, within the limit.
    fn wait(&mut self) -> Result<()> {
        if !self.output.buffer().is_empty() {
            return Ok(());
        }
        let limit = Timespec {
            tv_sec: i64::try_from(self.limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: self.limit.subsec_nanos().into(),
        };
        let mut ready = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
        match poll(&mut ready, Some(&limit)) {
            Ok(0) => Err(Error::TimeLimit { seconds: self.limit.as_secs(), what: String::new() }),
            // Interrupted or failed: reading says what is there.
            Ok(_) | Err(_) => Ok(()),
        }
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

    fn died(&mut self, error: &std::io::Error) -> Error {
        match self.child.try_wait() {
            Ok(Some(status)) => Error::Worker(format!("ended ({status}): {}", self.take_printed().trim())),
            _ => Error::Worker(format!("{error}: {}", self.take_printed().trim())),
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
