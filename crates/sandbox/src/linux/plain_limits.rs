//! What limits can do for a command that is not isolated.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::SandboxError;
use crate::exit::{Status, Usage};
use crate::linux::cgroup::Group;
use crate::linux::limits::{resource_limits, tree_memory};
use crate::linux::sys;
use crate::request::Limits;

/// The limits of one command.
pub(crate) struct PlainLimits {
    group: Group,
    limits: Limits,
}

impl PlainLimits {
    /// Makes the cgroups.
    pub(crate) fn new(limits: &Limits) -> Result<Self, SandboxError> {
        let group = Group::new(limits).map_err(|cause| SandboxError::setup("make a cgroup", cause))?;
        Ok(PlainLimits { group, limits: *limits })
    }

    /// Has the command enter them.
    pub(crate) fn apply(&self, command: &mut Command) {
        let procs = self.group.procs();
        // Without a user namespace RLIMIT_NPROC would count all of the user's processes.
        let limits = Limits { pids: None, ..self.limits };
        let set = resource_limits(&limits, &self.group);
        if procs.is_empty() && limits.memory.is_none() {
            // Anything to be done in the child costs a fork in place of a vfork.
            return;
        }
        let enter = move || {
            for file in &procs {
                sys::write_all(*file, b"0").map_err(io::Error::from_raw_os_error)?;
            }
            for (resource, limit) in &set {
                // SAFETY: `limit` is a live `rlimit`.
                if unsafe { libc::setrlimit(*resource as _, limit) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: the closure only makes system calls, on descriptors that `self.group` keeps open until the command has been
        // spawned.
        unsafe { command.pre_exec(enter) };
    }

    /// Whether the processes use more memory than they may, where no cgroup sees to it.
    pub(crate) fn exceeded(&self, pid: u32) -> bool {
        match self.limits.memory {
            Some(most) if !self.group.limits_memory() => tree_memory(pid) > most,
            _ => false,
        }
    }

    /// Adds what the cgroup knows of the end.
    pub(crate) fn finish(&self, status: Status, usage: &mut Usage) -> Status {
        self.group.finish(status, usage)
    }
}
