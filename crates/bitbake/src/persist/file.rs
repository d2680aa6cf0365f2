//! The file of the cache: `BNrecipe`, the BLAKE3 digest of all that follows, and a `postcard` of [`Stored`].

use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::fact::{Fact, Hash};

const MAGIC: &[u8; 8] = b"BNrecipe";
/// Larger files are not read.
const LARGEST: u64 = 1 << 30;

/// What is in the file: as it is written, of parts that are elsewhere, or as it is read ([`Owned`]).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stored<Program, Facts, Common, Entries> {
    /// The program that wrote it: another one starts afresh.
    pub(crate) program: Program,
    /// The configuration's digest.
    pub(crate) configuration: Hash,
    pub(crate) facts: Facts,
    /// Facts that every recipe depends on, by number.
    pub(crate) common: Common,
    pub(crate) entries: Entries,
}

pub(crate) type Owned = Stored<String, Vec<Fact>, Vec<u32>, Vec<Entry>>;

/// Reads a file. `Ok(None)` where there is none.
///
/// # Errors
///
/// Why the file is of no use, in words.
pub(crate) fn read(path: &Path) -> Result<Option<Owned>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or("it is cut short")?;
    if magic != MAGIC {
        return Err("it is no such file".into());
    }
    let (checksum, body) = rest.split_at_checked(32).ok_or("it is cut short")?;
    if blake3::hash(body).as_bytes() != checksum {
        return Err("its checksum is wrong".into());
    }
    let stored: Owned = postcard::from_bytes(body).map_err(|_| "it has another layout")?;
    let known = |fact: &u32| (*fact as usize) < stored.facts.len();
    if !stored.common.iter().chain(stored.entries.iter().flat_map(|entry| &entry.facts)).all(known) {
        return Err("it names what it does not hold".into());
    }
    Ok(Some(stored))
}

/// Hashes what passes through to a file.
struct Hashing<W>(W, blake3::Hasher);

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Writes a file in one step.
pub(crate) fn write(path: &Path, stored: &Stored<&str, &[Fact], &[u32], Vec<&Entry>>) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    // A link would let others say where we write.
    for part in [Some(directory), directory.parent()].into_iter().flatten() {
        if std::fs::symlink_metadata(part)?.is_symlink() {
            return Err(std::io::Error::other(format!("{} is a link", part.display())));
        }
    }
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(MAGIC)?;
    file.write_all(&[0; 32])?;
    let body = Hashing(BufWriter::with_capacity(1 << 20, &mut file), blake3::Hasher::new());
    let mut body = postcard::to_io(stored, body).map_err(std::io::Error::other)?;
    body.flush()?;
    let checksum = body.1.finalize();
    drop(body);
    file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
    file.write_all(checksum.as_bytes())?;
    file.persist(path)?;
    Ok(())
}
