//! Programs of the host that tasks declare: where they are, what they are, and what of the host they need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buildnet_digest::stat::{HashFileError, Stamp, hash_file};
use buildnet_digest::{Digest, DigestFunction};
use serde::{Deserialize, Serialize};

use super::error::BuildError;

/// Directories that every command sees anyway.
const STANDARD: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix", "/gnu"];

/// A file of the host whose content is part of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostFile {
    /// Where it is; none if it is nowhere.
    pub(super) path: Option<PathBuf>,
    /// Stat data of it and of what else says what it is; symlinks followed.
    pub(super) watched: Vec<(PathBuf, Option<Stamp>)>,
    /// Digest of its content; none if it is nowhere.
    pub(super) digest: Option<Digest>,
    /// For a program outside the standard places: what a confined command must see of the host to run it.
    pub(super) mounts: Vec<PathBuf>,
    /// For a program: the directory to put on PATH.
    pub(super) directory: Option<PathBuf>,
}

impl HostFile {
    /// Whether nothing that says what it is has changed.
    pub(super) fn is_fresh(&self) -> bool {
        self.watched.iter().all(|(path, stamp)| stamp_of(path) == *stamp)
    }
}

/// Stat data of a host file, symlinks followed.
fn stamp_of(path: &Path) -> Option<Stamp> {
    rustix::fs::stat(path).ok().map(|stat| Stamp::of(&stat))
}

/// A file that stands for something larger, such as a lock file.
pub(super) fn identity(path: PathBuf) -> Result<HostFile, BuildError> {
    let watched = vec![(path.clone(), stamp_of(&path))];
    let digest = match std::fs::canonicalize(&path) {
        Ok(real) => Some(hash(&path, &real)?),
        Err(_) => None,
    };
    Ok(HostFile { path: Some(path), watched, digest, ..HostFile::default() })
}

/// A program, searched in the directories.
pub(super) fn program(
    name: &str,
    directories: &[PathBuf],
    workspace: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<HostFile, BuildError> {
    let Some(found) = find(directories, name) else { return Ok(HostFile::default()) };
    let mut watched = vec![(found.clone(), stamp_of(&found))];
    let mut real = std::fs::canonicalize(&found).unwrap_or_else(|_| found.clone());
    let mut directory = found.parent().map(Path::to_owned);
    if real.file_name().is_some_and(|file| file == "rustup")
        && let Some(chosen) = behind_rustup(&real, name, workspace, environment)
    {
        for file in rustup_settings(workspace, environment) {
            watched.push((file.clone(), stamp_of(&file)));
        }
        watched.push((chosen.clone(), stamp_of(&chosen)));
        directory = chosen.parent().map(Path::to_owned);
        real = chosen;
    }
    let digest = Some(hash(&found, &real)?);
    let home = environment.get("HOME").map(PathBuf::from);
    let mut mounts = needed(&real, workspace, home.as_deref());
    if let Some(directory) = directory.as_ref().filter(|directory| !is_standard(directory))
        && !mounts.iter().any(|mount| directory.starts_with(mount))
    {
        mounts.push(directory.clone());
    }
    Ok(HostFile { path: Some(found), watched, digest, mounts, directory })
}

fn hash(name: &Path, real: &Path) -> Result<Digest, BuildError> {
    match hash_file(real, DigestFunction::Blake3) {
        Ok((digest, _)) => Ok(digest),
        Err(error) => {
            let error = match error {
                HashFileError::Io(error) => error,
                HashFileError::Changing => std::io::Error::other("it kept changing while it was hashed"),
            };
            Err(BuildError::HostFile { path: name.to_owned(), error })
        }
    }
}

/// The first executable file of this name in the directories; a name with `/` is taken as it is.
pub(super) fn find(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        let path = PathBuf::from(name);
        return executable(&path).then_some(path);
    }
    directories.iter().map(|directory| directory.join(name)).find(|path| executable(path))
}

/// The program that rustup's stand-in would start in the workspace.
///
/// The stand-in itself cannot serve: it looks for its settings in the home directory, which commands do not see, and its
/// content says nothing of the compiler behind it.
fn behind_rustup(
    rustup: &Path,
    name: &str,
    workspace: &Path,
    environment: &BTreeMap<String, String>,
) -> Option<PathBuf> {
    let output = Command::new(rustup)
        // The stand-in acts by the name it is called with.
        .args(["which", name])
        .current_dir(workspace)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    (output.status.success() && path.is_absolute()).then_some(path)
}

/// The files by which rustup chooses a toolchain for the workspace.
fn rustup_settings(workspace: &Path, environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let home = environment.get("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(environment.get("HOME")?).join(".rustup")));
    let mut files: Vec<PathBuf> = home.iter().map(|home| home.join("settings.toml")).collect();
    files.extend(["rust-toolchain.toml", "rust-toolchain"].map(|name| workspace.join(name)));
    files
}

/// What of the host a program outside the standard places needs: the prefix it is installed in, or its directory alone where
/// the prefix holds more than programs.
fn needed(real: &Path, workspace: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    if is_standard(real) {
        return Vec::new();
    }
    let Some(directory) = real.parent() else { return Vec::new() };
    let prefix = directory.parent().filter(|prefix| {
        let private = prefix.parent().is_none()
            || workspace.starts_with(prefix)
            || home.is_some_and(|home| home.starts_with(prefix));
        directory.file_name().is_some_and(|name| name == "bin") && !private
    });
    vec![prefix.unwrap_or(directory).to_owned()]
}

fn is_standard(path: &Path) -> bool {
    STANDARD.iter().any(|standard| path.starts_with(standard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_shown_but_never_a_home_or_the_workspace() {
        let home = Some(Path::new("/home/u"));
        let work = Path::new("/home/u/work");
        let needed = |real: &str| needed(Path::new(real), work, home);
        assert_eq!(needed("/usr/bin/cc"), Vec::<PathBuf>::new());
        assert_eq!(needed("/home/u/.nvm/v20/bin/node"), [PathBuf::from("/home/u/.nvm/v20")]);
        assert_eq!(needed("/home/u/bin/tool"), [PathBuf::from("/home/u/bin")]);
        assert_eq!(needed("/srv/tool"), [PathBuf::from("/srv")]);
        assert_eq!(needed("/home/u/work/bin/tool"), [PathBuf::from("/home/u/work/bin")]);
    }

    #[test]
    fn a_program_that_is_replaced_is_another() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        let install = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let look = || program("tool", &[dir.path().to_owned()], Path::new("/nowhere"), &BTreeMap::new()).unwrap();
        assert_eq!(look().path, None);
        install("#!/bin/sh\necho 1\n");
        let one = look();
        assert!(one.is_fresh());
        install("#!/bin/sh\necho 22\n");
        assert!(!one.is_fresh());
        assert_ne!(look().digest, one.digest);
    }
}
