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

/// Runs the tests of this program again as an ordinary user, all but `test`, which calls this. Where this is an ordinary user
/// already, they run as one anyway.
pub(crate) fn again_as_ordinary_user(test: &str) {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    // SAFETY: takes nothing and cannot fail.
    #[expect(unsafe_code, reason = "the standard library does not tell the user")]
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        return;
    }
    // Where this program lies, others may not be let in.
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("the mode can be set");
    let copy = dir.path().join("again");
    std::fs::copy(std::env::current_exe().expect("this program has a path"), &copy).expect("a program can be copied");
    let mut command = std::process::Command::new(&copy);
    command.args(["--skip", test, "--nocapture"]).current_dir("/").uid(NOBODY).gid(NOBODY);
    let output = loop {
        match command.output() {
            // A child of another test may have inherited the copy while it was being written.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            result => break result.expect("the copy can be run"),
        }
    };
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    for line in printed.lines().filter(|line| line.contains("SKIPPED")) {
        eprintln!("as an ordinary user: {line}");
    }
    assert!(output.status.success(), "as an ordinary user:\n{printed}");
    assert!(printed.contains("test result: ok"), "{printed}");
}
