//! Limits without cgroups: per-process resource limits, and a look at the memory of the whole tree now and then.

use std::fs;
use std::time::Duration;

use libc::c_int;

use crate::linux::cgroup::Group;
use crate::request::Limits;

/// How often the memory of a tree is looked at.
pub(crate) const SAMPLE: Duration = Duration::from_millis(100);

/// The resource limits to set in the command, given what a cgroup holds already.
pub(crate) fn resource_limits(limits: &Limits, group: &Group) -> Vec<(c_int, libc::rlimit)> {
    let both = |value: u64| libc::rlimit { rlim_cur: value, rlim_max: value };
    // Dumps would go to the host's handler, or be written outputs that nobody declared.
    let mut set = vec![(libc::RLIMIT_CORE as c_int, both(0))];
    if let (Some(bytes), false) = (limits.memory, group.limits_memory()) {
        // Not RLIMIT_AS: many runtimes reserve far more addresses than they use.
        set.push((libc::RLIMIT_DATA as c_int, both(bytes)));
    }
    if let (Some(pids), false) = (limits.pids, group.limits_pids()) {
        // Counted per user and user namespace, of which the sandbox has its own. Process 1 is not the command's.
        set.push((libc::RLIMIT_NPROC as c_int, both(u64::from(pids) + 1)));
    }
    for (resource, limit) in &mut set {
        lower_to_hard(*resource, limit);
    }
    set
}

/// What a process may not exceed already cannot be raised.
fn lower_to_hard(resource: c_int, limit: &mut libc::rlimit) {
    let mut current = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `current` is a live `rlimit`.
    if unsafe { libc::getrlimit(resource as _, &raw mut current) } == 0 {
        limit.rlim_cur = limit.rlim_cur.min(current.rlim_max);
        limit.rlim_max = limit.rlim_max.min(current.rlim_max);
    }
}

/// Resident memory, in bytes, of a process and all its descendants; shared pages count in each. What ends meanwhile is left out.
pub(crate) fn tree_memory(pid: u32) -> u64 {
    // In the second field of `statm` are the resident pages, in the third those of them that are shared (proc_pid_statm(5)).
    let own = fs::read_to_string(format!("/proc/{pid}/statm")).ok().and_then(|text| {
        let mut fields = text.split(' ').skip(1).map(str::parse::<u64>);
        let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
        Some(resident.saturating_sub(shared) * rustix::param::page_size() as u64)
    });
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return own.unwrap_or(0);
    };
    let children: u64 = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .map(tree_memory)
        .sum();
    own.unwrap_or(0) + children
}
