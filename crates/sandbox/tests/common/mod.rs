//! What the tests of the sandbox share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use buildnet_sandbox::{
    Availability, CancelHandle, Capabilities, Exit, Feature, Limits, Mode, Mount, MountKind, Request, SandboxError,
    default_host_dirs, probe, run,
};

/// A request to run a shell script in strict isolation, with `/tmp` as working directory.
pub(crate) fn script(text: &str) -> Request {
    command(["sh", "-c", text])
}

/// A request to run a command in strict isolation, with `/tmp` as working directory.
pub(crate) fn command<const N: usize>(argv: [&str; N]) -> Request {
    Request {
        argv: argv.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into())],
        working_dir: PathBuf::from("/tmp"),
        mode: Mode::Strict,
        mounts: Vec::new(),
        host_dirs: default_host_dirs(false),
        network: false,
        limits: Limits::default(),
        trace: None,
    }
}

/// Runs a request; returns its exit and output.
pub(crate) fn output_of(request: &Request) -> (Exit, String) {
    try_output_of(request).unwrap_or_else(|error| panic!("the sandbox failed: {error}"))
}

/// Runs a request that may be refused.
pub(crate) fn try_output_of(request: &Request) -> Result<(Exit, String), SandboxError> {
    let mut output = Vec::new();
    let exit = run(request, &mut |bytes| output.extend_from_slice(bytes), &CancelHandle::new())?;
    Ok((exit, String::from_utf8_lossy(&output).into_owned()))
}

/// A mount of a host directory.
pub(crate) fn mount(source: impl Into<PathBuf>, target: &str, kind: MountKind) -> Mount {
    Mount { source: source.into(), target: PathBuf::from(target), kind }
}

/// What this system supports.
pub(crate) fn capabilities() -> &'static Capabilities {
    static CAPABILITIES: OnceLock<Capabilities> = OnceLock::new();
    CAPABILITIES.get_or_init(probe)
}

/// Whether strict isolation and these features are there; says loudly which is not.
pub(crate) fn supported(test: &str, features: &[Feature]) -> bool {
    if let Err(error) = capabilities().strict_supported() {
        eprintln!("SKIPPED {test}: {error}");
        return false;
    }
    for feature in features {
        if let Availability::Refused(reason) = capabilities().get(*feature) {
            eprintln!("SKIPPED {test}: needs {feature}: {reason}");
            return false;
        }
    }
    true
}
