//! The sandbox on Linux. `docs/design/sandbox.md` tells the whole story.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "constants and small numbers cross the kernel's interfaces, which disagree with `libc` about their types"
)]

mod cgroup;
mod cgroup_path;
mod init;
mod job;
mod landlock;
mod limits;
mod mounts;
mod notify;
pub(crate) mod plain_limits;
pub(crate) mod probe;
mod seccomp;
mod spawn;
mod stage;
mod sys;
mod trace;
mod watch;

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::cancel::CancelHandle;
use crate::error::SandboxError;
use crate::exit::Exit;
use crate::linux::cgroup::Group;
use crate::linux::job::Job;
use crate::linux::limits::resource_limits;
use crate::linux::notify::Tracer;
use crate::linux::spawn::spawn;
use crate::linux::watch::{End, Watch};
use crate::request::{MountKind, Request};

/// Runs the command in namespaces of its own.
pub(crate) fn run(
    request: &Request,
    output: &mut (dyn FnMut(&[u8]) + Send),
    cancel: &CancelHandle,
) -> Result<Exit, SandboxError> {
    let start = Instant::now();
    let mut job = Job::new(request)?;
    let group = Group::new(&request.limits).map_err(|cause| SandboxError::setup("make a cgroup", cause))?;
    let mut tracer = Tracer::start(request)?;
    let (output_read, output_write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|cause| SandboxError::setup("create a pipe", cause))?;
    let (status_read, status_write) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|cause| SandboxError::setup("create a pipe", cause))?;
    let input = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|cause| SandboxError::setup("open /dev/null", cause))?;
    job.output = output_write.as_raw_fd();
    job.status = status_write.as_raw_fd();
    job.input = input.as_raw_fd();
    job.cgroups = group.procs();
    job.limits = resource_limits(&request.limits, &group);
    job.listener = tracer.as_ref().and_then(Tracer::socket);

    let sandbox = spawn(request, &mut job)?;
    drop((output_write, status_write, input, job));
    if let Some(tracer) = &mut tracer {
        tracer.started();
    }
    let watch = Watch {
        start,
        deadline: request.limits.wall.and_then(|wall| start.checked_add(wall)),
        memory: request.limits.memory.filter(|_| !group.limits_memory()),
        output: output_read,
        status: status_read,
        cancel,
    };
    let end = watch.until_end(sandbox, output)?;
    let lookups = tracer.map(Tracer::finish).unwrap_or_default();
    clear_overlay_work(request);
    let (status, mut usage) = match end {
        End::Ended(status, usage) => (status, usage),
        End::NotExecuted(errno) => return Err(not_executed(request, errno)),
    };
    let status = group.finish(status, &mut usage);
    Ok(Exit {
        status,
        usage,
        sought: lookups.sought.into_iter().collect(),
        opened: lookups.opened.into_iter().collect(),
    })
}

/// Removes what overlayfs leaves in its work directories: directories without permissions, which an ordinary user could not remove
/// as usual, with a mark against mounting again what was mounted as `volatile`.
fn clear_overlay_work(request: &Request) {
    /// The kernel's own directories are not deeper: `work/incompat/volatile`.
    const MAX_DEPTH: u32 = 8;
    for mount in &request.mounts {
        if let MountKind::Overlay { work, .. } = &mount.kind {
            // What cannot be removed is left to whoever made the directory.
            let _ = clear_dir(work, MAX_DEPTH);
        }
    }
}

/// Empties a directory, giving itself the permission to.
fn clear_dir(dir: &Path, depth: u32) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && depth > 0 {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
            clear_dir(&path, depth - 1)?;
            std::fs::remove_dir(&path)?;
        } else {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn not_executed(request: &Request, errno: i32) -> SandboxError {
    let program = request.argv[0].clone();
    let cause = std::io::Error::from_raw_os_error(errno);
    match errno {
        libc::ENOENT => SandboxError::ProgramNotFound { program },
        libc::EAGAIN | libc::ENOMEM => SandboxError::setup("create the process", cause),
        _ => SandboxError::ProgramNotExecutable { program, cause },
    }
}
