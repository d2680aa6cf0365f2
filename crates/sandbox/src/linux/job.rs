//! What the child is to do, in plain data that was prepared before the clone.

use std::ffi::{CString, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use libc::{c_char, c_int, sock_filter};

use crate::error::SandboxError;
use crate::linux::mounts::{MountPlan, c_path, c_string};
use crate::linux::stage::Report;
use crate::linux::{landlock, seccomp};
use crate::request::{Mode, Request};

/// User and group of the command inside its user namespace. Not 0: programs that believe to be root (tar) would try to give files
/// to users that do not exist there.
pub(crate) const SANDBOX_ID: u32 = 1000;

/// The child's orders. Owned by the caller, read by the children, which share its memory.
pub(crate) struct Job {
    /// Namespaces to create (`CLONE_NEW*`).
    pub(crate) flags: c_int,
    pub(crate) mounts: MountPlan,
    /// Filled in by the child: one detached mount per capture.
    pub(crate) captured: Vec<c_int>,
    pub(crate) uid_map: Vec<u8>,
    pub(crate) gid_map: Vec<u8>,
    pub(crate) loopback: bool,
    /// `cgroup.procs` files to join, open for writing.
    pub(crate) cgroups: Vec<RawFd>,
    pub(crate) output: RawFd,
    pub(crate) input: RawFd,
    pub(crate) status: RawFd,
    /// Socket to send the seccomp listener to.
    pub(crate) listener: Option<RawFd>,
    pub(crate) limits: Vec<(c_int, libc::rlimit)>,
    pub(crate) filter: &'static [sock_filter],
    pub(crate) landlock: Result<c_int, c_int>,
    /// Whether to go on without seccomp or Landlock where the kernel refuses them.
    pub(crate) tolerant: bool,
    pub(crate) working_dir: CString,
    /// Arguments and environment of process 1: see [`init`](crate::linux::init).
    argv: StringArray,
    envp: StringArray,
    pub(crate) report: Report,
}

/// NUL-terminated strings with the NULL-terminated array of pointers to them that `execve` takes.
pub(crate) struct StringArray {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringArray {
    fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        StringArray { _strings: strings, pointers }
    }

    /// The array, valid while `self` lives.
    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

impl Job {
    /// Prepares everything that needs no descriptor; those are filled in by the caller.
    pub(crate) fn new(request: &Request) -> Result<Self, SandboxError> {
        let mounts = MountPlan::new(request)?;
        let captured = vec![-1; mounts.captures()];
        let mut argv = programs(request)?;
        argv.push(CString::default());
        for argument in &request.argv {
            argv.push(c_string(argument)?);
        }
        let envp = request
            .env
            .iter()
            .map(|(name, value)| {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                c_string(&pair)
            })
            .collect::<Result<_, _>>()?;
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Ok(Job {
            flags: namespaces(request.network),
            captured,
            mounts,
            uid_map: format!("{SANDBOX_ID} {uid} 1").into_bytes(),
            gid_map: format!("{SANDBOX_ID} {gid} 1").into_bytes(),
            loopback: !request.network,
            cgroups: Vec::new(),
            output: -1,
            input: -1,
            status: -1,
            listener: None,
            limits: Vec::new(),
            filter: seccomp::filter(request.trace.is_some()),
            landlock: landlock::version(),
            tolerant: request.mode == Mode::Warn,
            working_dir: c_path(&request.working_dir)?,
            argv: StringArray::new(argv),
            envp: StringArray::new(envp),
            report: Report::default(),
        })
    }

    /// `argv` for `execve`.
    pub(crate) fn argv(&self) -> *const *const c_char {
        self.argv.as_ptr()
    }

    /// `envp` for `execve`.
    pub(crate) fn envp(&self) -> *const *const c_char {
        self.envp.as_ptr()
    }
}

/// Where the program may be: as given if it has a `/`, else in each directory of the `PATH` of the command's environment.
fn programs(request: &Request) -> Result<Vec<CString>, SandboxError> {
    let program = &request.argv[0];
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    let path = request
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"), |(_, value)| value);
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|dir| {
            let mut candidate = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
            candidate.push(b'/');
            candidate.extend_from_slice(program.as_bytes());
            c_string(&std::ffi::OsString::from_vec(candidate))
        })
        .collect()
}

/// The namespaces of a sandbox, as flags of `clone`.
pub(crate) fn namespaces(network: bool) -> c_int {
    let own_network = if network { 0 } else { libc::CLONE_NEWNET };
    libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | own_network
}
