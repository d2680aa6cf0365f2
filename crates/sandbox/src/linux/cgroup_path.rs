//! Finding one's own control group: `/proc/self/cgroup` joined with `/proc/self/mountinfo` (cgroups(7), proc_pid_mountinfo(5)).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the interface of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::One => "1",
            Version::Two => "2",
        })
    }
}

/// A directory in which groups can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    pub(crate) dir: PathBuf,
}

/// The group of this process for one controller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OwnCgroup {
    pub(crate) version: Version,
    mount_point: PathBuf,
    dir: PathBuf,
}

impl OwnCgroup {
    /// Where to try to make groups: in the own group, and for version 2 beside it.
    pub(crate) fn candidates(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.dir.clone()];
        if self.version == Version::Two && self.dir != self.mount_point {
            dirs.extend(self.dir.parent().map(Path::to_path_buf));
        }
        dirs
    }
}

/// The own group for a controller, or why there is none.
pub(crate) fn own_cgroup(controller: &str) -> Result<OwnCgroup, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let own = find(controller, &read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
        .ok_or_else(|| format!("no mounted cgroup hierarchy has the controller `{controller}`"))?;
    if own.version == Version::Two {
        let file = own.dir.join("cgroup.controllers");
        let controllers = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        if !controllers.split_whitespace().any(|name| name == controller) {
            return Err(format!("{} does not list `{controller}`", file.display()));
        }
    }
    Ok(own)
}

/// Prefers version 1 where the controller is bound there: then it is absent from version 2.
fn find(controller: &str, cgroups: &str, mounts: &str) -> Option<OwnCgroup> {
    let mut version2 = None;
    for line in cgroups.lines() {
        // hierarchy-ID:controller-list:cgroup-path
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.split(',').any(|name| name == controller) {
            return locate(Version::One, Some(controller), path, mounts);
        }
        if controllers.is_empty() {
            version2 = locate(Version::Two, None, path, mounts);
        }
    }
    version2
}

fn locate(version: Version, controller: Option<&str>, path: &str, mounts: &str) -> Option<OwnCgroup> {
    mounts.lines().find_map(|line| {
        // ID parent major:minor root mount-point options [optional...] - type source super-options
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, mount_point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, _, options) = (after.next()?, after.next()?, after.next()?);
        let matches = match version {
            Version::One => kind == "cgroup" && options.split(',').any(|option| Some(option) == controller),
            Version::Two => kind == "cgroup2",
        };
        if !matches {
            return None;
        }
        let inside = Path::new(path).strip_prefix(root).ok()?;
        Some(OwnCgroup { version, mount_point: PathBuf::from(mount_point), dir: Path::new(mount_point).join(inside) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
33 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct
34 30 0:31 /docker/abc /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory
";

    #[test]
    fn a_controller_of_version_1_is_found_in_a_shared_hierarchy_and_below_a_bind_mount() {
        let cgroups = "5:memory:/docker/abc/x\n4:cpu,cpuacct:/a\n0::/b\n";
        let memory = find("memory", cgroups, HYBRID).expect("memory is bound to version 1");
        assert_eq!(memory.version, Version::One);
        assert_eq!(memory.candidates(), [Path::new("/sys/fs/cgroup/memory/x")]);
        let cpu = find("cpu", cgroups, HYBRID).expect("cpu is bound to version 1");
        assert_eq!(cpu.candidates(), [Path::new("/sys/fs/cgroup/cpu,cpuacct/a")]);
    }

    #[test]
    fn in_version_2_groups_are_tried_inside_and_beside_the_own_group() {
        let cgroups = "0::/user.slice/user-1000.slice/session-3.scope\n";
        let mounts = "25 22 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let own = find("pids", cgroups, mounts).expect("version 2 is mounted");
        assert_eq!(own.version, Version::Two);
        assert_eq!(
            own.candidates(),
            [
                Path::new("/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope"),
                Path::new("/sys/fs/cgroup/user.slice/user-1000.slice"),
            ]
        );
        let root = find("pids", "0::/\n", mounts).expect("version 2 is mounted");
        assert_eq!(root.candidates(), [Path::new("/sys/fs/cgroup/")]);
    }

    #[test]
    fn nothing_is_found_where_nothing_is_mounted() {
        assert_eq!(find("memory", "0::/\n", ""), None);
    }
}
