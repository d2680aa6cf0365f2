//! Signature files beside stamps.

use std::io::{Read as _, Write as _};
use std::path::Path;

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
