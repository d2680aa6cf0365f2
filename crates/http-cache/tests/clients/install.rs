//! Where the real clients come from. Each is installed once, below the target directory; what cannot be is told loudly.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// One installation at a time: tests of one binary run in parallel.
static INSTALLING: Mutex<()> = Mutex::new(());

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name)
}

/// A directory below the target directory, filled by `install` unless it has been before; `None`, loudly, when that
/// fails.
fn installed(name: &str, install: impl FnOnce(&Path) -> Result<(), String>) -> Option<PathBuf> {
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let dir = directory(name);
    if dir.join(".complete").exists() {
        return Some(dir);
    }
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    match install(&dir).and_then(|()| fs::write(dir.join(".complete"), "").map_err(|error| error.to_string())) {
        Ok(()) => Some(dir),
        Err(error) => {
            // A second run tries again.
            let _ = fs::remove_dir_all(&dir);
            eprintln!("SKIPPED: {name} cannot be installed: {}", error.trim().lines().last().unwrap_or_default());
            None
        }
    }
}

fn succeed(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(output) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Packages from npm; the `node_modules` directory.
pub(crate) fn npm(package: &str, version: &str) -> Option<PathBuf> {
    let name = format!("npm-{}-{version}", package.replace('/', "-"));
    let dir = installed(&name, |dir| {
        let what = format!("{package}@{version}");
        succeed(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(dir).arg(what))
            .map(drop)
    })?;
    Some(dir.join("node_modules"))
}

/// A package from PyPI in a virtual environment of this machine's Python; its `bin` directory.
pub(crate) fn pypi(package: &str) -> Option<PathBuf> {
    pypi_with(package, || Ok("python3".into()))
}

/// The same with another Python, which is looked for when it is needed.
pub(crate) fn pypi_with(package: &str, python: impl FnOnce() -> Result<PathBuf, String>) -> Option<PathBuf> {
    let dir = installed(&format!("pypi-{}", package.replace("==", "-")), |dir| {
        succeed(Command::new(python()?).args(["-m", "venv"]).arg(dir))?;
        succeed(Command::new(dir.join("bin/pip")).args(["install", "--quiet", package])).map(drop)
    })?;
    Some(dir.join("bin"))
}

/// A Python 3.9: of the machine, of pyenv, or from python-build-standalone (by uv, which is on PyPI).
pub(crate) fn python_3_9() -> Result<PathBuf, String> {
    let works = |python: &Path| {
        succeed(Command::new(python).args(["-c", "import sys; sys.version_info[:2] == (3, 9) or exit(1)"]))
    };
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = pyenv.and_then(|root| fs::read_dir(root.join("versions")).ok()).into_iter().flatten().flatten();
    let candidates =
        ["python3.9".into()].into_iter().chain(versions.map(|version| version.path().join("bin/python3.9")));
    if let Some(python) = candidates.into_iter().find(|python| works(python).is_ok()) {
        return Ok(python);
    }
    let dir = directory("python-3.9");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    succeed(Command::new(dir.join("bin/pip")).args(["install", "--quiet", "uv"]))?;
    let home = dir.join("versions");
    let install =
        succeed(Command::new(dir.join("bin/uv")).args(["python", "install", "3.9", "--install-dir"]).arg(&home));
    install.map_err(|error| format!("there is no Python 3.9 here, and uv gets none: {}", error.trim()))?;
    let found = fs::read_dir(&home).into_iter().flatten().flatten().map(|entry| entry.path().join("bin/python3.9"));
    found.into_iter().find(|python| works(python).is_ok()).ok_or_else(|| "uv installed no Python 3.9".into())
}

/// A package of Debian.
pub(crate) enum Debian {
    /// It is part of this machine.
    System,
    /// It lies unpacked in this directory.
    Unpacked(PathBuf),
}

impl Debian {
    /// The root below which the package's files are.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::System => Path::new("/"),
            Self::Unpacked(root) => root,
        }
    }

    /// A command that sees the files where they would be if they were installed: in a mount namespace of its own that
    /// has the unpacked `/usr` over the machine's. `None`, loudly, where this is not allowed.
    pub(crate) fn command(&self, program: &str) -> Option<Command> {
        let root = match self {
            Self::System => return Some(Command::new(program)),
            Self::Unpacked(root) => root,
        };
        let mount = format!("mount -t overlay overlay -o lowerdir={}/usr:/usr /usr", root.display());
        // An ordinary user may do so as the root of a user namespace.
        for namespaces in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
            if succeed(Command::new("unshare").args(namespaces).args(["sh", "-c", &mount])).is_ok() {
                let mut command = Command::new("unshare");
                command.args(namespaces).args(["sh", "-c", &format!("{mount} && exec \"$0\" \"$@\""), program]);
                return Some(command);
            }
        }
        eprintln!("SKIPPED: {program} needs an overlay over /usr, which is not allowed here");
        None
    }
}

/// Packages from Debian as they are, without what they depend on.
pub(crate) fn debian(name: &str, packages: &[&str]) -> Option<Debian> {
    installed(&format!("debian-{name}"), |dir| unpack(dir, packages)).map(Debian::Unpacked)
}

/// A package from Debian with all that it depends on and that is not on this machine.
pub(crate) fn debian_with_dependencies(package: &str) -> Option<Debian> {
    let status = succeed(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]));
    if status.is_ok_and(|output| output.stdout == b"installed") {
        return Some(Debian::System);
    }
    let dir = installed(&format!("debian-{package}"), |dir| {
        let arguments = ["install", "--simulate", "--no-install-recommends", package];
        let plan = succeed(Command::new("apt-get").args(arguments))?;
        let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
        let packages: Vec<&str> =
            plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next()).collect();
        unpack(dir, &packages)
    });
    dir.map(Debian::Unpacked)
}

fn unpack(dir: &Path, packages: &[&str]) -> Result<(), String> {
    succeed(Command::new("apt-get").arg("download").args(packages).current_dir(dir))?;
    for entry in fs::read_dir(dir).map_err(|error| error.to_string())?.flatten() {
        if entry.path().extension() == Some(OsStr::new("deb")) {
            succeed(Command::new("dpkg").arg("--extract").arg(entry.path()).arg(dir))?;
            fs::remove_file(entry.path()).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
