//! Finding out, by trying, what this kernel permits.

use std::ffi::c_void;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libc::c_int;

use crate::cancel::CancelHandle;
use crate::error::SandboxError;
use crate::linux::cgroup::Controller;
use crate::linux::{landlock, notify, spawn};
use crate::probe::{Availability, Capabilities, Feature};
use crate::request::{Limits, Mode, Mount, MountKind, Request};

/// Tries everything.
pub(crate) fn probe() -> Capabilities {
    let trial = try_sandbox(Vec::new());
    let features = Feature::ALL.iter().map(|feature| (*feature, probe_feature(*feature, &trial))).collect();
    Capabilities { features }
}

fn probe_feature(feature: Feature, trial: &Result<(), SandboxError>) -> Availability {
    let namespaces = |flags| match (spawn::try_clone(flags), trial) {
        (Err(error), _) => Availability::Refused(error.to_string()),
        // It can be created, but not be used as needed.
        (Ok(()), Err(SandboxError::Unsupported { feature: failed, reason })) if *failed == feature => {
            Availability::Refused(reason.clone())
        }
        (Ok(()), _) => Availability::Available(String::new()),
    };
    match feature {
        Feature::UserNamespace => namespaces(libc::CLONE_NEWUSER),
        Feature::MountNamespace => namespaces(libc::CLONE_NEWUSER | libc::CLONE_NEWNS),
        Feature::PidNamespace => namespaces(libc::CLONE_NEWUSER | libc::CLONE_NEWPID),
        Feature::IpcNamespace => namespaces(libc::CLONE_NEWUSER | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS),
        Feature::NetworkNamespace => namespaces(libc::CLONE_NEWUSER | libc::CLONE_NEWNET),
        Feature::Overlay => ["/tmp", "/var/tmp", "/dev/shm"]
            .iter()
            .map(|dir| overlay_in(Path::new(dir)))
            .reduce(|found, next| if matches!(found, Availability::Available(_)) { found } else { next })
            .unwrap_or_else(|| Availability::Refused(String::new())),
        Feature::Seccomp => match trial {
            Err(SandboxError::Unsupported { feature: Feature::Seccomp, reason }) => {
                Availability::Refused(reason.clone())
            }
            _ => from_result(seccomp_filter().map(|()| String::new())),
        },
        Feature::SeccompNotify => from_result(notify::available().map(|()| String::new())),
        Feature::Landlock => from_result(
            landlock::version().map(|version| format!("ABI {version}")).map_err(io::Error::from_raw_os_error),
        ),
        Feature::MemoryCgroup => cgroup(Controller::Memory),
        Feature::PidsCgroup => cgroup(Controller::Pids),
        Feature::CpuCgroup => cgroup(Controller::Cpu),
    }
}

/// Whether an overlay whose upper directory lies in `scratch` can be mounted in a sandbox.
pub(crate) fn overlay_in(scratch: &Path) -> Availability {
    let base = scratch.join(format!(".buildnet-probe-{}-{:?}", std::process::id(), std::thread::current().id()));
    let tried = (|| {
        let dirs = ["lower", "upper", "work"].map(|name| base.join(name));
        for dir in &dirs {
            fs::create_dir_all(dir).map_err(|cause| SandboxError::setup("make a directory", cause))?;
        }
        let [lower, upper, work] = dirs;
        try_sandbox(vec![Mount {
            source: lower,
            target: PathBuf::from("/overlay"),
            kind: MountKind::Overlay { upper, work },
        }])
    })();
    // What cannot be removed does no harm.
    let _ = fs::remove_dir_all(&base);
    match tried {
        Ok(()) => Availability::Available(format!("on {}", scratch.display())),
        Err(error) => Availability::Refused(format!("{}: {error}", scratch.display())),
    }
}

/// Goes all the way to the execution of a program that is not there.
fn try_sandbox(mounts: Vec<Mount>) -> Result<(), SandboxError> {
    let request = Request {
        argv: vec!["/nonexistent".into()],
        env: Vec::new(),
        working_dir: PathBuf::from("/"),
        mode: Mode::Strict,
        mounts,
        host_dirs: Vec::new(),
        network: false,
        limits: Limits::default(),
        trace: None,
    };
    match super::run(&request, &mut |_| {}, &CancelHandle::new()) {
        Err(SandboxError::ProgramNotFound { .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(exit) => {
            Err(SandboxError::InvalidRequest { reason: format!("an empty sandbox had a program: {:?}", exit.status) })
        }
    }
}

fn seccomp_filter() -> io::Result<()> {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    let action: u32 = 0x0005_0000; // SECCOMP_RET_ERRNO
    // SAFETY: the kernel reads one 32-bit number.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn cgroup(controller: Controller) -> Availability {
    match controller.available() {
        Ok(hierarchy) => Availability::Available(format!("version {}, {}", hierarchy.version, hierarchy.dir.display())),
        Err(reason) => Availability::Refused(reason.to_owned()),
    }
}

fn from_result(result: io::Result<String>) -> Availability {
    match result {
        Ok(detail) => Availability::Available(detail),
        Err(error) => Availability::Refused(error.to_string()),
    }
}

/// Entry of a child that only shows that it could be created.
pub(crate) extern "C" fn end_at_once(_: *mut c_void) -> c_int {
    0
}
