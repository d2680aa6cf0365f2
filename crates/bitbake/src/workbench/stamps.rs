//! Signature files beside stamps.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::Sym;
use crate::config::BuildDir;
use crate::error::{Error, Result};
use crate::graph::HashedTask;
use crate::signature::{RecipeSignatures, SigData};

/// Larger files are refused.
const LARGEST: u64 = 64 << 20;

/// All that went into the hash of a task whose recipe was signed; `None` where the recipe has no such task.
pub fn signature_of(dir: &BuildDir, task: Sym, hashed: &HashedTask, signatures: &RecipeSignatures) -> Option<SigData> {
    let data = SigData::of_task(signatures, task, dir.ignored().iter().copied())?;
    let mut data = data.in_graph(&hashed.depends, &hashed.files, &hashed.taskhash, &hashed.unihash);
    data.taint.clone_from(&hashed.taint);
    Some(data)
}

/// Reads a `sigdata` or `siginfo` file.
pub fn read_signature(path: &Path) -> Result<SigData> {
    let failed = |message: String| Error::Io { path: path.display().to_string(), message };
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    SigData::read(&bytes).map_err(|error| failed(error.to_string()))
}

/// Writes a file that `bitbake-diffsigs` reads; its directory is made.
pub fn write_signature(path: &Path, data: &SigData) -> Result<()> {
    let failed = |error: std::io::Error| Error::Io { path: path.display().to_string(), message: error.to_string() };
    let bytes = data.write().map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory).map_err(failed)?;
    // Nobody may find half a file under its name.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The newest signature data of a task: beside the stamp, or anywhere `below` a directory of stamps. Files with the hash `except` do
/// not count.
pub fn newest_signature(
    directory: &Path,
    stamp: &Path,
    task: &str,
    below: bool,
    except: Option<&str>,
) -> Option<PathBuf> {
    let base = stamp.file_name()?.to_str()?;
    // <stamps>/<architecture>/<name>/<version>: below a directory, the recipe's name must be right, too.
    let name = stamp.parent()?.file_name()?;
    let prefixes = [format!("{base}.{task}.sigdata."), format!("{base}.{task}.siginfo.")];
    let mut waiting = vec![directory.to_owned()];
    let mut best: Option<(std::time::SystemTime, PathBuf)> = None;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).ok()?.flatten() {
            let (path, own) = (entry.path(), entry.file_name());
            let Ok(metadata) = entry.metadata() else { continue };
            let fits = own.to_str().is_some_and(|own| {
                prefixes.iter().any(|prefix| own.starts_with(prefix.as_str()))
                    && except.is_none_or(|hash| !own.ends_with(hash))
            });
            if metadata.is_dir() {
                waiting.extend(below.then_some(path));
            } else if fits && directory.file_name() == Some(name) {
                let time = metadata.modified().unwrap_or(std::time::UNIX_EPOCH);
                if best.as_ref().is_none_or(|(known, _)| time > *known) {
                    best = Some((time, path));
                }
            }
        }
    }
    best.map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_as_they_were_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("stamps/a/1.0.do_x.sigdata.00");
        let data = SigData { task: "do_x".into(), basehash: "11".into(), ..SigData::default() };
        write_signature(&path, &data).expect("the file is written");
        assert_eq!(read_signature(&path).expect("the file is read"), data);
        std::fs::write(&path, "not compressed").expect("the file is written");
        assert!(read_signature(&path).is_err());
    }
}
