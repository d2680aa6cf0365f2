//! Which files of a directory are shared state.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Endings of archives: of today, and before BitBake 2.0.
const ARCHIVES: [&str; 2] = [".tar.zst", ".tgz"];
/// Endings of what belongs to an archive, after the archive's name.
const COMPANIONS: [&str; 2] = [".siginfo", ".sig"];

/// An archive and what belongs to it; the archive is last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Names below the root with `/`, and the files.
    pub(super) files: Vec<(String, PathBuf)>,
}

/// All objects below a directory, by name. Files that links lead to count, directories do not: BitBake links to what it
/// found on a mirror that is a directory.
pub(super) fn objects(root: &Path) -> Result<Vec<Object>, (PathBuf, io::Error)> {
    let mut found: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    let mut directories = vec![(root.to_owned(), String::new())];
    while let Some((directory, prefix)) = directories.pop() {
        let failed = |error| (directory.clone(), error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            if entry.file_type().map_err(failed)?.is_dir() {
                directories.push((entry.path(), format!("{path}/")));
            } else if let Some(archive) = archive_of(&name)
                && entry.path().is_file()
            {
                found.entry(format!("{prefix}{archive}")).or_default().push((path, entry.path()));
            }
        }
    }
    let objects = found.into_iter().map(|(archive, mut files)| {
        files.sort_by_key(|(name, _)| (*name == archive, name.clone()));
        Object { files }
    });
    Ok(objects.collect())
}

/// The archive that a file is or belongs to. BitBake's files under way have further endings (`mktemp`), and its marks of
/// what is complete are of no use elsewhere (`.done`).
fn archive_of(name: &str) -> Option<&str> {
    let archive = COMPANIONS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let known = archive.starts_with("sstate:") && ARCHIVES.iter().any(|ending| archive.ends_with(ending));
    known.then_some(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_come_after_what_belongs_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let zlib = "sstate:zlib:x:1.3:r0:x:14:ab_package.tar.zst";
        for file in [
            format!("ab/cd/{zlib}"),
            format!("ab/cd/{zlib}.siginfo"),
            format!("ab/cd/{zlib}.sig"),
            format!("ab/cd/{zlib}.done"),
            format!("ab/cd/{zlib}.Xk29aQp1"),
            "ab/notes.txt".into(),
            "sstate:m4:::r0::14:cd_fetch.tar.zst.siginfo".into(),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::create_dir(dir.path().join("links")).unwrap();
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, dir.path().join("links").join(name)).unwrap();
        };
        link(&dir.path().join("ab/cd").join(zlib), "sstate:linked:::r0::14:ef_package.tar.zst");
        link(Path::new("nowhere"), "sstate:dangling:::r0::14:ef_package.tar.zst");
        link(dir.path(), "loop");
        let objects = objects(dir.path()).unwrap();
        let names: Vec<Vec<&str>> =
            objects.iter().map(|object| object.files.iter().map(|(name, _)| name.as_str()).collect()).collect();
        insta::assert_debug_snapshot!(names);
    }
}
