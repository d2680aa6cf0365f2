//! Whether the process that began a build is still there.

use std::fs;

/// Names one process so that a later one with the same number is not mistaken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessMark {
    /// The process's number.
    pub pid: u32,
    /// When the process began and in which boot, as far as the kernel tells; empty where it does not.
    pub born: String,
}

impl ProcessMark {
    /// This process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self { pid, born: born(pid).unwrap_or_default() }
    }

    /// Whether that process still runs on this machine, as seen from here.
    ///
    /// Where the kernel tells nothing about processes, only this very process counts as alive.
    pub fn is_alive(&self) -> bool {
        match born(self.pid) {
            Some(born) => born == self.born,
            None => self.born.is_empty() && self.pid == std::process::id(),
        }
    }
}

/// Boot identifier and start time in clock ticks (`proc_pid_stat(5)`, field 22).
fn born(pid: u32) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name, field 2, is in parentheses and may hold spaces and parentheses itself.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    let ticks = fields.nth(18)?;
    Some(format!("{}/{ticks}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_one_that_ended_is_not() {
        let mut mark = ProcessMark::current();
        assert!(mark.is_alive());
        mark.born.push('x');
        assert!(!mark.is_alive(), "another process with the same number");

        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let mark = ProcessMark { pid, born: born(pid).unwrap_or_default() };
        child.wait().unwrap();
        assert!(!mark.is_alive());
    }
}
