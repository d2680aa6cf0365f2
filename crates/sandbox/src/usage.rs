//! Reading what `wait4` reports.

use crate::exit::{Status, Usage};

/// The end that a wait status stands for.
pub(crate) fn status_of_wait(raw: i32) -> Status {
    if libc::WIFSIGNALED(raw) { Status::Signaled(libc::WTERMSIG(raw)) } else { Status::Exited(libc::WEXITSTATUS(raw)) }
}

/// CPU time and peak memory from a `rusage`; the wall time is not in it.
pub(crate) fn usage_of(usage: &libc::rusage) -> Usage {
    // The unit of `ru_maxrss` is KiB, but bytes on macOS.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Usage {
        wall_us: 0,
        cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
        peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit,
    }
}

fn micros(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds * 1_000_000 + micros
}
