//! The daemon under measurement, as a process that can be killed.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::unistd::{SysconfVar, sysconf};

/// Where the daemon keeps everything, and how it is started.
pub(super) struct Home {
    pub(super) program: PathBuf,
    pub(super) dir: PathBuf,
}

/// A running daemon. Killed when dropped.
pub(super) struct Server {
    child: Child,
    /// `host:port`.
    pub(super) address: String,
    pub(super) started: Instant,
}

/// What a process has used.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    /// Resident, in bytes: all of it, what is anonymous, and the most it ever was.
    pub(super) resident: u64,
    pub(super) anonymous: u64,
    pub(super) peak: u64,
}

impl Home {
    /// An empty home.
    pub(super) fn create(program: &Path, dir: &Path) -> Result<Self, String> {
        if dir.exists() {
            std::fs::remove_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        std::fs::create_dir_all(dir.join("work")).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { program: program.to_owned(), dir: dir.to_owned() })
    }

    pub(super) fn start(&self) -> Result<Server, String> {
        let io = |error: std::io::Error| format!("{}: {error}", self.program.display());
        // Nobody else takes a port within a moment that the kernel has just given out.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| error.to_string())?.to_string();
        let log = File::options().create(true).append(true).open(self.dir.join("log")).map_err(io)?;
        let started = Instant::now();
        let child = Command::new(&self.program)
            .arg("--cache-dir")
            .arg(self.dir.join("cache"))
            .args(["start", "--listen", &address])
            .current_dir(self.dir.join("work"))
            .env("HOME", &self.dir)
            .env_remove("BUILDNET_TOKEN")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io)?)
            .stderr(log)
            .spawn()
            .map_err(io)?;
        Ok(Server { child, address, started })
    }

    /// Takes the files of the cache out of the page cache, as if nobody had read them for long. Returns how many bytes they have.
    pub(super) fn forget_pages(&self) -> Result<u64, String> {
        let mut bytes = 0;
        let mut left = vec![self.dir.join("cache")];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    left.push(entry.path());
                } else if let Ok(file) = File::open(entry.path()) {
                    // Only clean pages can be given up.
                    let _ = file.sync_all();
                    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
                    bytes += file.metadata().map_or(0, |metadata| metadata.len());
                }
            }
        }
        Ok(bytes)
    }
}

impl Server {
    pub(super) fn memory(&self) -> Result<Memory, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            kibibytes.map(|kibibytes| kibibytes << 10).ok_or_else(|| format!("{path} has no {name}"))
        };
        Ok(Memory { resident: field("VmRSS:")?, anonymous: field("RssAnon:")?, peak: field("VmHWM:")? })
    }

    /// Processor time that it has used: neither what others do nor waiting for the disk counts.
    pub(super) fn processor(&self) -> Result<Duration, String> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        // The name, in parentheses, may have spaces; user and system time are the 14th and 15th field.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        let tick = |at: usize| fields.as_ref()?.get(at)?.parse::<u64>().ok();
        let ticks = tick(11).zip(tick(12)).map(|(user, system)| user + system);
        let rate = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|rate| u64::try_from(rate).ok());
        let (ticks, rate) = ticks.zip(rate).ok_or_else(|| format!("{path} cannot be read"))?;
        Ok(Duration::from_micros(ticks * 1_000_000 / rate.max(1)))
    }

    /// Ends it as the machine would: without a word (`SIGKILL`).
    pub(super) fn kill(mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
