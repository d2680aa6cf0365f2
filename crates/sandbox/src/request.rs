//! What to run, and what it may see.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::error::SandboxError;

/// One command with its surroundings.
#[derive(Clone, Debug)]
pub struct Request {
    /// Program and arguments. A program without `/` is searched in the `PATH` of [`Request::env`], as the command sees it.
    pub argv: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Absolute directory to start in, as the command sees it.
    pub working_dir: PathBuf,
    /// How much is isolated.
    pub mode: Mode,
    /// What the command sees besides `host_dirs`. Later mounts may lie inside earlier ones. Ignored in [`Mode::Off`].
    pub mounts: Vec<Mount>,
    /// Files and directories of the host that the command sees read-only at the same path (toolchains). A symbolic link appears
    /// as the same link; what does not exist is left out. See [`default_host_dirs`]. Ignored in [`Mode::Off`].
    pub host_dirs: Vec<PathBuf>,
    /// Whether the command shares the host's network. Otherwise it has a loopback interface of its own and nothing else.
    pub network: bool,
    /// Bounds on what it may use.
    pub limits: Limits,
    /// Record which paths the command looks for. Costs a context switch per file lookup. Ignored in [`Mode::Off`].
    pub trace: Option<Trace>,
}

/// How much of a command is isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every layer, or an error that names the missing one.
    Strict,
    /// The same namespaces and mounts, but a missing hardening layer (seccomp, Landlock) is tolerated, and a trace also tells what
    /// was opened: for callers that make undeclared files visible and report their use.
    Warn,
    /// A plain child process in a process group of its own, with the limits that can be had.
    Off,
}

/// Something of the host at a place in the command's file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the host. Not used by [`MountKind::Tmpfs`].
    pub source: PathBuf,
    /// Absolute path as the command sees it, without `.` and `..`. Missing parents are created.
    pub target: PathBuf,
    /// How it appears there.
    pub kind: MountKind,
}

/// How a [`Mount`] appears to the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// The source, without permission to change it.
    ReadOnly,
    /// The source itself: changes reach the host.
    ReadWrite,
    /// The source seen through an overlay: changes go to `upper`, the source is never modified.
    Overlay {
        /// Empty directory that receives what the command writes (deletions appear as overlayfs whiteouts).
        upper: PathBuf,
        /// Empty directory on the file system of `upper`, for the kernel's use; empty again afterwards.
        work: PathBuf,
    },
    /// An empty directory in memory that vanishes with the command.
    Tmpfs {
        /// Most bytes it can hold.
        max_bytes: u64,
    },
}

/// Bounds on what a command and its children may use together. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Time from start to end.
    pub wall: Option<Duration>,
    /// Bytes of memory. By cgroup where BuildNet may use one; otherwise watched, and bounded per process by `RLIMIT_DATA`.
    pub memory: Option<u64>,
    /// Processes and threads at a time.
    pub pids: Option<u32>,
    /// CPU time per wall time, in thousandths of one CPU (2000 is two CPUs). Needs a cgroup; otherwise not enforced.
    pub cpu_millis: Option<u32>,
}

/// Which lookups to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Absolute directory, as the command sees it; only paths beneath it are recorded.
    pub under: PathBuf,
}

/// The host paths that hold toolchains on common distributions, for [`Request::host_dirs`].
///
/// Of `/etc` only what programs need to start (linker cache, alternatives, certificates, time zone) and, with `network`, to
/// resolve names. Users and groups are not the host's: the sandbox has its own `/etc/passwd` and `/etc/group`.
pub fn default_host_dirs(network: bool) -> Vec<PathBuf> {
    const ALWAYS: &[&str] = &[
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/opt",
        "/nix",
        "/gnu",
        "/etc/alternatives",
        "/etc/ca-certificates",
        "/etc/ld.so.cache",
        "/etc/ld.so.conf",
        "/etc/ld.so.conf.d",
        "/etc/localtime",
        "/etc/mime.types",
        "/etc/pki",
        "/etc/ssl",
    ];
    const NETWORK: &[&str] = &[
        "/etc/gai.conf",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/protocols",
        "/etc/resolv.conf",
        "/etc/services",
        // What `/etc/resolv.conf` commonly links to.
        "/run/systemd/resolve",
        "/run/resolvconf",
    ];
    let network: &[&str] = if network { NETWORK } else { &[] };
    ALWAYS.iter().chain(network).map(PathBuf::from).collect()
}

impl Request {
    /// Checks what the kernel could not report usefully: emptiness, relative and unnormalised paths.
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        if self.argv.first().is_none_or(|program| program.is_empty()) {
            return Err(invalid("the command is empty".to_owned()));
        }
        check_path("working directory", &self.working_dir)?;
        for mount in &self.mounts {
            check_path("mount target", &mount.target)?;
            if mount.target == Path::new("/") {
                return Err(invalid("a mount target is the root directory".to_owned()));
            }
            match &mount.kind {
                MountKind::ReadOnly | MountKind::ReadWrite => check_path("mount source", &mount.source)?,
                MountKind::Overlay { upper, work } => {
                    check_path("mount source", &mount.source)?;
                    check_path("overlay upper directory", upper)?;
                    check_path("overlay work directory", work)?;
                }
                MountKind::Tmpfs { .. } => {}
            }
        }
        for dir in &self.host_dirs {
            check_path("host path", dir)?;
        }
        if let Some(trace) = &self.trace {
            check_path("traced directory", &trace.under)?;
        }
        Ok(())
    }
}

fn check_path(role: &str, path: &Path) -> Result<(), SandboxError> {
    let normal = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && (normal || cfg!(windows)) {
        Ok(())
    } else {
        Err(invalid(format!("the {role} `{}` is not an absolute path without `..`", path.display())))
    }
}

fn invalid(reason: String) -> SandboxError {
    SandboxError::InvalidRequest { reason }
}
