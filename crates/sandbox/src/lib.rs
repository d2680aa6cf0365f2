//! One process, hermetically: namespaces, seccomp, Landlock, cgroups.
//!
//! [`run`] starts one command so that it sees only what its [`Request`] names, hands out what it writes as it writes it, and
//! returns how it ended ([`Exit`]) when neither it nor anything it started is alive any more. [`probe()`] says which of the
//! kernel's features this needs are there. `docs/design/sandbox.md` describes how it is done and what it rests on.
//!
//! All platform code of BuildNet lives here. Where the kernel is not Linux, only [`Mode::Off`] is supported.

#![allow(unsafe_code, reason = "namespaces, seccomp and the time between clone and exec have no safe interface")]

pub mod cancel;
pub mod error;
pub mod exit;
#[cfg(isolation)]
mod linux;
mod plain;
pub mod probe;
pub mod request;
#[cfg(not(isolation))]
mod unlimited;
#[cfg(unix)]
mod usage;

pub use crate::cancel::CancelHandle;
pub use crate::error::SandboxError;
pub use crate::exit::{Exit, Status, Usage};
pub use crate::probe::{Availability, Capabilities, Feature, probe, probe_overlay};
pub use crate::request::{Limits, Mode, Mount, MountKind, Request, Trace, default_host_dirs};

/// Runs one command and waits for its end.
///
/// `output` gets what the command and its children write to standard output and standard error, as one stream in the order
/// written; it is called on the calling thread. Standard input is empty. Blocks until the command and everything it started
/// are gone: call it from a thread that may block, and let that thread live until it returns.
pub fn run(
    request: &Request,
    output: &mut (dyn FnMut(&[u8]) + Send),
    cancel: &CancelHandle,
) -> Result<Exit, SandboxError> {
    request.check()?;
    match request.mode {
        Mode::Off => plain::run(request, output, cancel),
        #[cfg(isolation)]
        Mode::Strict | Mode::Warn => linux::run(request, output, cancel),
        #[cfg(not(isolation))]
        Mode::Strict | Mode::Warn => {
            Err(SandboxError::Unsupported { feature: Feature::UserNamespace, reason: probe::ELSEWHERE.to_owned() })
        }
    }
}
