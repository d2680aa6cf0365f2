//! What this system's kernel offers.

use std::fmt;
use std::path::Path;

use crate::error::SandboxError;

/// Something the sandbox uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// User namespace: isolation without being root.
    UserNamespace,
    /// Mount namespace, and the mount system calls of Linux 5.12.
    MountNamespace,
    /// Pid namespace with its own `/proc`.
    PidNamespace,
    /// IPC and UTS namespaces.
    IpcNamespace,
    /// Network namespace with a loopback interface.
    NetworkNamespace,
    /// overlayfs inside a user namespace.
    Overlay,
    /// seccomp filter.
    Seccomp,
    /// seccomp user notification, which tracing of lookups rests on.
    SeccompNotify,
    /// Landlock.
    Landlock,
    /// Limit of memory by cgroup.
    MemoryCgroup,
    /// Limit of processes by cgroup.
    PidsCgroup,
    /// Limit of CPU by cgroup.
    CpuCgroup,
}

impl Feature {
    /// All features, in the order they are probed.
    pub const ALL: [Feature; 12] = [
        Feature::UserNamespace,
        Feature::MountNamespace,
        Feature::PidNamespace,
        Feature::IpcNamespace,
        Feature::NetworkNamespace,
        Feature::Overlay,
        Feature::Seccomp,
        Feature::SeccompNotify,
        Feature::Landlock,
        Feature::MemoryCgroup,
        Feature::PidsCgroup,
        Feature::CpuCgroup,
    ];

    /// Whether [`Mode::Strict`](crate::Mode::Strict) refuses to run without it.
    pub fn required(self) -> bool {
        matches!(
            self,
            Feature::UserNamespace
                | Feature::MountNamespace
                | Feature::PidNamespace
                | Feature::IpcNamespace
                | Feature::NetworkNamespace
                | Feature::Seccomp
                | Feature::Landlock
        )
    }

    /// What to do where it is missing: one sentence.
    pub fn remedy(self) -> &'static str {
        match self {
            Feature::UserNamespace => {
                "Allow user namespaces: `sysctl user.max_user_namespaces=10000`, on Debian also \
                 `kernel.unprivileged_userns_clone=1`, on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0`; in a container, \
                 a seccomp profile that permits `clone` and `unshare`."
            }
            Feature::MountNamespace => {
                "Use Linux 5.12 or newer; in a container, a seccomp profile that permits the mount system calls."
            }
            Feature::PidNamespace => {
                "In a container, start it so that `/proc` has no masked paths (Docker: `--security-opt systempaths=unconfined`)."
            }
            Feature::IpcNamespace | Feature::NetworkNamespace => {
                "Use a kernel built with namespaces, and raise `user.max_ipc_namespaces` and `user.max_net_namespaces`."
            }
            Feature::Overlay => "Use Linux 5.11 or newer; until then execution roots are copied.",
            Feature::Seccomp | Feature::SeccompNotify => "Use Linux 5.5 or newer with CONFIG_SECCOMP_FILTER.",
            Feature::Landlock => "Use Linux 5.13 or newer with `landlock` among the `lsm=` boot parameters.",
            Feature::MemoryCgroup | Feature::PidsCgroup | Feature::CpuCgroup => {
                "Run as root, or in a delegated cgroup (`systemd-run --user --scope -p Delegate=yes`)."
            }
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Feature::UserNamespace => "user namespaces",
            Feature::MountNamespace => "mount namespaces",
            Feature::PidNamespace => "pid namespaces",
            Feature::IpcNamespace => "IPC and UTS namespaces",
            Feature::NetworkNamespace => "network namespaces",
            Feature::Overlay => "overlayfs in a user namespace",
            Feature::Seccomp => "seccomp filters",
            Feature::SeccompNotify => "seccomp user notification",
            Feature::Landlock => "Landlock",
            Feature::MemoryCgroup => "a memory cgroup",
            Feature::PidsCgroup => "a pids cgroup",
            Feature::CpuCgroup => "a CPU cgroup",
        })
    }
}

/// Whether a feature can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It can; with a detail such as a version, or empty.
    Available(String),
    /// It cannot: what the kernel said.
    Refused(String),
}

/// What this system offers, as found by trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Each feature once, in the order of [`Feature::ALL`].
    pub features: Vec<(Feature, Availability)>,
}

impl Capabilities {
    /// Availability of one feature.
    pub fn get(&self, feature: Feature) -> &Availability {
        static UNKNOWN: Availability = Availability::Refused(String::new());
        self.features.iter().find(|(known, _)| *known == feature).map_or(&UNKNOWN, |(_, availability)| availability)
    }

    /// Whether one feature can be used.
    pub fn has(&self, feature: Feature) -> bool {
        matches!(self.get(feature), Availability::Available(_))
    }

    /// Whether [`Mode::Strict`](crate::Mode::Strict) can run here; otherwise the first missing feature it needs.
    pub fn strict_supported(&self) -> Result<(), SandboxError> {
        for (feature, availability) in &self.features {
            if let (true, Availability::Refused(reason)) = (feature.required(), availability) {
                return Err(SandboxError::Unsupported { feature: *feature, reason: reason.clone() });
            }
        }
        Ok(())
    }
}

/// Tries what the sandbox needs. Takes some milliseconds: callers that ask often keep the answer.
pub fn probe() -> Capabilities {
    #[cfg(isolation)]
    return crate::linux::probe::probe();
    #[cfg(not(isolation))]
    Capabilities {
        features: Feature::ALL.iter().map(|feature| (*feature, Availability::Refused(ELSEWHERE.to_owned()))).collect(),
    }
}

/// Whether an overlay can be mounted whose upper directory lies in `scratch`, which must exist and be writable: not every file
/// system can hold one. Where not, an execution root is copied and mounted read-write.
pub fn probe_overlay(scratch: &Path) -> Availability {
    #[cfg(isolation)]
    return crate::linux::probe::overlay_in(scratch);
    #[cfg(not(isolation))]
    Availability::Refused(format!("{}: {ELSEWHERE}", scratch.display()))
}

/// Why nothing is available where there is no implementation.
#[cfg(not(isolation))]
pub(crate) const ELSEWHERE: &str = "not supported on this platform";
