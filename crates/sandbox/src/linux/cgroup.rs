//! Limits by control groups, version 2 or 1, in a group of its own per command.
//!
//! The group is made beneath the caller's own group, or beside it: in version 2 a group that has processes cannot hand controllers
//! to groups beneath it. Groups are named `buildnet-PID-N` after the caller; what a caller that was killed left behind is
//! removed by the next one.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::exit::{Status, Usage};
use crate::linux::cgroup_path::{Hierarchy, Version, own_cgroup};
use crate::request::Limits;

/// A resource that a cgroup controller limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
        }
    }

    /// The file that holds its limit.
    fn file(self, version: Version) -> &'static str {
        match (self, version) {
            (Controller::Memory, Version::One) => "memory.limit_in_bytes",
            (Controller::Memory, Version::Two) => "memory.max",
            (Controller::Pids, _) => "pids.max",
            (Controller::Cpu, Version::One) => "cpu.cfs_quota_us",
            (Controller::Cpu, Version::Two) => "cpu.max",
        }
    }

    /// Where groups with this controller can be made, or why not. Found out once per process.
    pub(crate) fn available(self) -> Result<&'static Hierarchy, &'static str> {
        static FOUND: [OnceLock<Result<Hierarchy, String>>; 3] = [const { OnceLock::new() }; 3];
        FOUND[self as usize].get_or_init(|| self.find()).as_ref().map_err(String::as_str)
    }

    fn find(self) -> Result<Hierarchy, String> {
        let own = own_cgroup(self.name())?;
        let mut reason = String::new();
        for dir in own.candidates() {
            remove_stale(&dir);
            match self.try_in(&dir, own.version) {
                Ok(()) => {
                    return Ok(Hierarchy { version: own.version, dir });
                }
                Err(error) => reason = format!("{}: {error}", dir.display()),
            }
        }
        Err(reason)
    }

    /// Makes a group in `dir` to see whether it has the controller.
    fn try_in(self, dir: &Path, version: Version) -> io::Result<()> {
        if version == Version::Two {
            let control = dir.join("cgroup.subtree_control");
            let enabled = fs::read_to_string(&control)?;
            if !enabled.split_whitespace().any(|name| name == self.name()) {
                fs::write(&control, format!("+{}", self.name()))?;
            }
        }
        let trial = dir.join(unique_name());
        fs::create_dir(&trial)?;
        let found = fs::metadata(trial.join(self.file(version))).map(drop);
        fs::remove_dir(&trial)?;
        found
    }
}

/// The groups of one command; removed when dropped, by when their processes must be gone.
#[derive(Default)]
pub(crate) struct Group {
    dirs: Vec<PathBuf>,
    procs: Vec<OwnedFd>,
    memory: Option<(PathBuf, Version)>,
    pids: bool,
}

impl Group {
    /// Makes groups for the limits that are set and that a group can hold.
    pub(crate) fn new(limits: &Limits) -> io::Result<Self> {
        let mut group = Group::default();
        let name = unique_name();
        if let (Some(bytes), Ok(hierarchy)) = (limits.memory, Controller::Memory.available()) {
            let dir = group.make(hierarchy, &name)?;
            match hierarchy.version {
                Version::One => {
                    fs::write(dir.join("memory.limit_in_bytes"), bytes.to_string())?;
                    // Not there where the kernel does not account swap; then there is none to bound, or no way to.
                    let _ = fs::write(dir.join("memory.memsw.limit_in_bytes"), bytes.to_string());
                }
                Version::Two => {
                    fs::write(dir.join("memory.max"), bytes.to_string())?;
                    fs::write(dir.join("memory.oom.group"), "1")?;
                    // As above.
                    let _ = fs::write(dir.join("memory.swap.max"), "0");
                }
            }
            group.memory = Some((dir, hierarchy.version));
        }
        if let (Some(pids), Ok(hierarchy)) = (limits.pids, Controller::Pids.available()) {
            let dir = group.make(hierarchy, &name)?;
            // Process 1 is not the command's.
            fs::write(dir.join("pids.max"), (u64::from(pids) + 1).to_string())?;
            group.pids = true;
        }
        if let (Some(millis), Ok(hierarchy)) = (limits.cpu_millis, Controller::Cpu.available()) {
            const PERIOD_US: u64 = 100_000;
            let dir = group.make(hierarchy, &name)?;
            // The kernel's least quota is one millisecond.
            let quota = (u64::from(millis) * (PERIOD_US / 1000)).max(1000);
            match hierarchy.version {
                Version::One => {
                    fs::write(dir.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                    fs::write(dir.join("cpu.cfs_quota_us"), quota.to_string())?;
                }
                Version::Two => fs::write(dir.join("cpu.max"), format!("{quota} {PERIOD_US}"))?,
            }
        }
        Ok(group)
    }

    /// Makes the group in a hierarchy, unless it was made for another controller in the same one.
    fn make(&mut self, hierarchy: &Hierarchy, name: &str) -> io::Result<PathBuf> {
        let dir = hierarchy.dir.join(name);
        if !self.dirs.contains(&dir) {
            fs::create_dir(&dir)?;
            self.dirs.push(dir.clone());
            let procs = fs::OpenOptions::new().write(true).open(dir.join("cgroup.procs"))?;
            self.procs.push(procs.into());
        }
        Ok(dir)
    }

    /// The `cgroup.procs` files to join by, open for writing.
    pub(crate) fn procs(&self) -> Vec<RawFd> {
        self.procs.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Whether the memory limit is held by a group.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether the limit of processes is held by a group.
    pub(crate) fn limits_pids(&self) -> bool {
        self.pids
    }

    /// Adds what the group knows to how a command ended: whether memory was the reason, and the peak of all its processes.
    pub(crate) fn finish(&self, status: Status, usage: &mut Usage) -> Status {
        if let Some(peak) = self.peak_memory() {
            usage.peak_memory = peak;
        }
        match status {
            Status::Signaled(_) | Status::Exited(1..) if self.out_of_memory() => Status::OutOfMemory,
            status => status,
        }
    }

    /// Whether the kernel has killed a process of the group for want of memory.
    fn out_of_memory(&self) -> bool {
        let Some((dir, version)) = &self.memory else {
            return false;
        };
        let file = match version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let Ok(text) = fs::read_to_string(dir.join(file)) else {
            return false;
        };
        text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
    }

    /// Most memory the group used, in bytes, where the kernel tells (version 2: since Linux 5.19).
    fn peak_memory(&self) -> Option<u64> {
        let (dir, version) = self.memory.as_ref()?;
        let file = match version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // A group that cannot be removed now is removed by a later process: see `remove_stale`.
            let _ = fs::remove_dir(dir);
        }
    }
}

const PREFIX: &str = "buildnet-";

fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// Removes groups whose makers are gone. Groups with processes cannot be removed, so that a wrong guess does no harm.
fn remove_stale(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if let Some(pid) = maker
            && !Path::new("/proc").join(pid.to_string()).exists()
        {
            // Another process may have been faster.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
