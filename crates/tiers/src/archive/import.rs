//! From files into the cache.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use buildnet_cas::CasError;
use buildnet_digest::{Digest, reapi};
use buildnet_reapi::{CacheService, EntryKey, Identity};
use prost::Message;

use super::name::Item;
use super::{ArchiveError, ArchiveReport, Progress, bazel_remote};

/// Largest result in bytes.
pub(super) const MAX_RESULT: u64 = 16 << 20;
/// Bytes copied at once.
const PIECE: usize = 256 << 10;

/// What to import, and as whom.
#[derive(Clone, Debug)]
pub struct Importing<'i> {
    /// An archive, or the directory of a bazel-remote cache.
    pub source: &'i Path,
    /// Instances that get the results of a cache that knows none.
    pub instances: &'i [String],
    /// Recorded as the writer of every result.
    pub writer: Identity,
    /// Read and check, and store nothing.
    pub dry_run: bool,
}

/// Imports what is not there yet. Every blob is verified; results are stored after the blobs, when everything that they name is there.
/// An import that broke off can be repeated: what came already is not copied again.
pub fn import(
    service: &CacheService,
    importing: &Importing<'_>,
    progress: Progress<'_>,
) -> Result<ArchiveReport, ArchiveError> {
    let source = importing.source;
    let metadata = fs::metadata(source).map_err(ArchiveError::io("read", source))?;
    let mut intake = Intake { service, importing, report: ArchiveReport::default(), progress, checked: 0 };
    if metadata.is_dir() {
        let has = |name: &str| source.join(name).is_dir();
        if has("cas.v2") || has("ac.v2") {
            bazel_remote::read(&mut intake)?;
        } else if has("blobs") || has("results") {
            read_directory(&mut intake)?;
        } else {
            return Err(ArchiveError::Unknown { path: source.to_owned() });
        }
    } else {
        read_tar(&mut intake)?;
    }
    Ok(intake.report)
}

/// Takes blobs and results into the cache.
pub(super) struct Intake<'i> {
    service: &'i CacheService,
    pub(super) importing: &'i Importing<'i>,
    pub(super) report: ArchiveReport,
    progress: Progress<'i>,
    checked: u64,
}

impl Intake<'_> {
    /// Takes a blob. What is not as promised is a problem of the archive, what cannot be stored an error.
    pub(super) fn blob(&mut self, name: &str, digest: &Digest, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let store = self.service.store();
        if digest.size() == 0 || store.contains(digest)? {
            self.report.present += 1;
            return Ok(());
        }
        let outcome = if self.importing.dry_run { check(digest, content) } else { self.store_blob(digest, content)? };
        match outcome {
            Ok(()) => {
                self.report.blobs += 1;
                self.report.bytes += digest.size();
            }
            Err(reason) => self.report.problem(name, reason),
        }
        self.tick();
        Ok(())
    }

    /// The inner error is the content's.
    fn store_blob(&self, digest: &Digest, content: &mut dyn Read) -> Result<Result<(), String>, ArchiveError> {
        let mut writer = self.service.store().writer(*digest)?;
        let mut buffer = vec![0; PIECE];
        loop {
            let length = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(format!("cannot be read: {error}"))),
            };
            match io::Write::write_all(&mut writer, &buffer[..length]) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(Err(error.to_string())),
                written => written.map_err(ArchiveError::io("store a blob in", self.service.store().dir()))?,
            }
        }
        match writer.commit() {
            Err(error @ CasError::Mismatch { .. }) => Ok(Err(error.to_string())),
            committed => Ok(Ok(committed?)),
        }
    }

    /// Takes a result, unless there is one or it is not complete.
    pub(super) fn result(&mut self, name: &str, entry: EntryKey, content: &[u8]) -> Result<(), ArchiveError> {
        let Ok(result) = reapi::ActionResult::decode(content) else {
            self.report.problem(name, "is no ActionResult");
            return Ok(());
        };
        let store = self.service.store();
        if store.action_result(&entry.key)?.is_some() {
            self.report.present += 1;
            return Ok(());
        }
        if self.importing.dry_run {
            // Whether it is complete shows when its blobs are here.
            self.report.results += 1;
            return Ok(());
        }
        let key = entry.key;
        self.service.import(&self.importing.writer, entry, &result)?;
        // The store's own check follows trees to their files.
        if store.action_result(&key)?.is_some() {
            self.report.results += 1;
        } else {
            store.remove_action_result(&key)?;
            self.report.incomplete += 1;
        }
        self.tick();
        Ok(())
    }

    fn tick(&mut self) {
        self.checked += 1;
        (self.progress)(&self.report);
    }

    fn item(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<(), ArchiveError> {
        match Item::parse(name) {
            None => self.report.problem(name, "is no name of this kind of archive"),
            Some(Item::Blob(digest)) if digest.size() != size => {
                self.report.problem(name, format!("has {size} bytes"));
            }
            Some(Item::Blob(digest)) => return self.blob(name, &digest, content),
            Some(Item::Result(_)) if size > MAX_RESULT => self.report.problem(name, "is too large for a result"),
            Some(Item::Result(key)) => {
                let mut bytes = Vec::new();
                if let Err(error) = content.take(MAX_RESULT).read_to_end(&mut bytes) {
                    self.report.problem(name, format!("cannot be read: {error}"));
                } else if bytes.len() as u64 == size {
                    return self.result(name, EntryKey::derived(key), &bytes);
                } else {
                    self.report.problem(name, "is truncated");
                }
            }
        }
        Ok(())
    }
}

/// Reads content and compares it with its digest.
fn check(digest: &Digest, content: &mut dyn Read) -> Result<(), String> {
    let mut hasher = digest.function().hasher();
    let mut buffer = vec![0; PIECE];
    let mut content = content.take(digest.size().saturating_add(1));
    loop {
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot be read: {error}")),
        }
    }
    let actual = hasher.finish();
    if actual == *digest { Ok(()) } else { Err(format!("the content is {actual}")) }
}

/// Files below a directory, sorted, with what keeps others from being looked at. Symlinks are not followed.
pub(super) fn walk(
    root: &Path,
    below: &str,
    report: &mut ArchiveReport,
) -> Result<Vec<(String, PathBuf)>, ArchiveError> {
    let (mut files, mut pending) = (Vec::new(), vec![below.to_owned()]);
    while let Some(directory) = pending.pop() {
        let path = root.join(&directory);
        let listing = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listing => listing.map_err(ArchiveError::io("list", &path))?,
        };
        for entry in listing {
            let entry = entry.map_err(ArchiveError::io("list", &path))?;
            let name = format!("{directory}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().map_err(ArchiveError::io("look at", &path))?;
            match () {
                () if kind.is_symlink() => report.problem(name, "is a symlink, which is not followed"),
                () if kind.is_dir() => pending.push(name),
                () if kind.is_file() => files.push((name, entry.path())),
                () => report.problem(name, "is no file"),
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read_directory(intake: &mut Intake<'_>) -> Result<(), ArchiveError> {
    for part in ["blobs", "results"] {
        for (name, path) in walk(intake.importing.source, part, &mut intake.report)? {
            match open(&path) {
                Ok((mut file, size)) => intake.item(&name, size, &mut file)?,
                Err(error) => intake.report.problem(name, format!("cannot be read: {error}")),
            }
        }
    }
    Ok(())
}

/// A regular file that was not swapped for a symlink meanwhile, with its size.
pub(super) fn open(path: &Path) -> io::Result<(BufReader<File>, u64)> {
    use std::os::unix::fs::OpenOptionsExt;
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(no_follow).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no regular file"));
    }
    Ok((BufReader::with_capacity(PIECE, file), metadata.len()))
}

/// Reads a tar file, compressed or not, in one pass. One that ends early gives what came before.
fn read_tar(intake: &mut Intake<'_>) -> Result<(), ArchiveError> {
    let source = intake.importing.source;
    let mut file = BufReader::with_capacity(PIECE, File::open(source).map_err(ArchiveError::io("open", source))?);
    let start = io::BufRead::fill_buf(&mut file).map_err(ArchiveError::io("read", source))?;
    // zstd's magic number (RFC 8878, section 3.1.1).
    let compressed = start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let input: Box<dyn Read> = if compressed {
        Box::new(zstd::Decoder::with_buffer(file).map_err(ArchiveError::io("read", source))?)
    } else {
        Box::new(file)
    };
    let mut archive = tar::Archive::new(input);
    let mut some = false;
    for entry in archive.entries().map_err(ArchiveError::io("read", source))? {
        let mut entry = match entry {
            Ok(entry) => entry,
            // The first bytes are no tar at all.
            Err(_) if !some => return Err(ArchiveError::Unknown { path: source.to_owned() }),
            Err(error) => {
                intake.report.problem(source.display().to_string(), format!("ends early or is damaged: {error}"));
                return Ok(());
            }
        };
        some = true;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let shown: String = name.chars().take(300).collect();
        match entry.header().entry_type() {
            tar::EntryType::Regular => {
                let size = entry.size();
                intake.item(&shown, size, &mut entry)?;
            }
            tar::EntryType::Directory => {}
            _ => intake.report.problem(shown, "is neither a file nor a directory"),
        }
    }
    if some { Ok(()) } else { Err(ArchiveError::Unknown { path: source.to_owned() }) }
}
