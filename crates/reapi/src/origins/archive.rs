//! Archives that become directories of the store.
//!
//! Nothing is ever written below a path that the archive names: contents go into the store, and the names into `Directory` messages,
//! which cannot say `..`. What an archive may cost is bounded in entries, bytes of contents and bytes of names, before it is paid.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use buildnet_cas::Store;
use buildnet_digest::tree::{Node, TreeBuilder, check_relative};
use buildnet_digest::{Digest, DigestFunction};
use bytes::Bytes;
use tonic::Code;

use super::FetchError;
use super::scratch::Scratch;
use crate::service::CacheService;
use crate::status::code_of;

/// Files up to this size, in bytes, are held in memory; many are stored with one commit.
const SMALL: u64 = 1 << 20;
/// Bytes of small files that are stored with one commit.
const GROUP: usize = 8 << 20;
/// Longest path in bytes.
const MAX_PATH: usize = 4096;
/// Most bytes of all paths together.
const MAX_NAMES: usize = 64 << 20;
/// Largest record of attributes in a tar archive, in bytes.
const MAX_ATTRIBUTES: u64 = 1 << 20;
/// Most bytes that are read for the directory of a zip archive.
const MAX_ZIP_DIRECTORY: u64 = 256 << 20;

/// What a directory may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) entries: usize,
}

/// Collects files of an archive or a repository as a directory of the store.
pub(crate) struct Collector<'a> {
    store: &'a Store,
    function: DigestFunction,
    bounds: Bounds,
    /// Only what lies below this path is taken, without it. With a slash at the end, or empty.
    below: String,
    spool: &'a dyn Fn() -> PathBuf,
    nodes: BTreeMap<String, Node>,
    entries: usize,
    bytes: u64,
    names: usize,
    waiting: Vec<(Digest, Bytes)>,
    waiting_bytes: usize,
}

impl<'a> Collector<'a> {
    /// `directory` is the part that is wanted; empty is the whole. `spool` gives paths for files too large for the memory.
    pub(crate) fn new(
        store: &'a Store,
        function: DigestFunction,
        bounds: Bounds,
        directory: &str,
        spool: &'a dyn Fn() -> PathBuf,
    ) -> Result<Self, FetchError> {
        let below = directory.trim_matches('/');
        if !below.is_empty() {
            check_relative(below).map_err(|error| FetchError::new(Code::InvalidArgument, error.to_string()))?;
        }
        let below = if below.is_empty() { String::new() } else { format!("{below}/") };
        Ok(Self {
            store,
            function,
            bounds,
            below,
            spool,
            nodes: BTreeMap::new(),
            entries: 0,
            bytes: 0,
            names: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    /// Counts an entry before anything of it is read, and gives its path in the directory; `None` when it is not wanted.
    fn admit(&mut self, name: &[u8], size: u64) -> Result<Option<String>, FetchError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.names += name.len();
        if self.entries > self.bounds.entries || self.bytes > self.bounds.bytes || self.names > MAX_NAMES {
            return Err(FetchError::new(Code::ResourceExhausted, "the directory is larger than this server takes"));
        }
        if name.len() > MAX_PATH {
            return Err(bad("a path is longer than 4096 bytes"));
        }
        let Ok(name) = std::str::from_utf8(name) else { return Err(bad("a path is not UTF-8")) };
        let mut plain = String::with_capacity(name.len());
        if name.starts_with('/') {
            return Err(bad(&format!("the path `{}` is absolute", name.escape_debug())));
        }
        for segment in name.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
            if !plain.is_empty() {
                plain.push('/');
            }
            plain.push_str(segment);
        }
        if plain.is_empty() {
            return Ok(None);
        }
        check_relative(&plain).map_err(|error| bad(&error.to_string()))?;
        Ok(plain.strip_prefix(&self.below).filter(|path| !path.is_empty()).map(str::to_owned))
    }

    /// A file of at most `size` bytes.
    pub(crate) fn file(
        &mut self,
        name: &[u8],
        size: u64,
        executable: bool,
        content: &mut dyn Read,
    ) -> Result<(), FetchError> {
        let Some(path) = self.admit(name, size)? else { return Ok(()) };
        let digest = if size <= SMALL {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            content.take(size + 1).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
            exactly(size, bytes.len() as u64)?;
            let digest = self.function.digest(&bytes);
            self.waiting_bytes += bytes.len();
            self.waiting.push((digest, bytes.into()));
            if self.waiting_bytes >= GROUP {
                self.flush()?;
            }
            digest
        } else {
            let scratch = Scratch::new((self.spool)());
            let mut file = File::create_new(scratch.path()).map_err(|error| local(&error))?;
            let copied = io::copy(&mut content.take(size + 1), &mut file).map_err(|error| broken(&error))?;
            exactly(size, copied)?;
            drop(file);
            let stored = self.store.put_file(self.function, scratch.path());
            stored.map_err(|error| FetchError::new(code_of(&error), error.to_string()))?
        };
        self.nodes.insert(path, Node::File { digest, executable });
        Ok(())
    }

    /// A symbolic link. It is data: nothing here follows it, and nothing can lie below it.
    pub(crate) fn symlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), FetchError> {
        let Some(path) = self.admit(name, target.len() as u64)? else { return Ok(()) };
        let Ok(target) = std::str::from_utf8(target) else { return Err(bad("the target of a link is not UTF-8")) };
        if target.is_empty() || target.len() > MAX_PATH || target.contains('\0') {
            return Err(bad("the target of a link is no path"));
        }
        self.nodes.insert(path, Node::Symlink { target: target.to_owned() });
        Ok(())
    }

    /// A directory, which may be empty.
    pub(crate) fn directory(&mut self, name: &[u8]) -> Result<(), FetchError> {
        if let Some(path) = self.admit(name, 0)? {
            self.nodes.entry(path).or_insert(Node::Directory);
        }
        Ok(())
    }

    /// Another name of a file that came before.
    fn hard_link(&mut self, name: &[u8], target: &[u8]) -> Result<(), FetchError> {
        let Some(path) = self.admit(name, 0)? else { return Ok(()) };
        let target = self.admit(target, 0)?;
        let node = target.and_then(|target| self.nodes.get(&target)).filter(|node| matches!(node, Node::File { .. }));
        let node = node.ok_or_else(|| bad(&format!("`{path}` is a link to no file of the archive")))?.clone();
        self.nodes.insert(path, node);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FetchError> {
        self.waiting_bytes = 0;
        store(self.store, &std::mem::take(&mut self.waiting))
    }

    /// Stores the directories, and returns the root.
    pub(crate) fn finish(mut self) -> Result<Digest, FetchError> {
        self.flush()?;
        if self.nodes.is_empty() && !self.below.is_empty() {
            return Err(FetchError::new(Code::NotFound, format!("there is no directory `{}`", self.below)));
        }
        let mut builder = TreeBuilder::new(self.function);
        for (path, node) in self.nodes {
            builder.add(&path, node).map_err(|error| bad(&error.to_string()))?;
        }
        let tree = builder.build();
        let directories: Vec<(Digest, Bytes)> =
            tree.directories.into_iter().map(|(digest, bytes)| (digest, bytes.into())).collect();
        store(self.store, &directories)?;
        Ok(tree.root)
    }
}

/// Makes a directory of the store from what `fill` puts into it.
pub(crate) fn collect(
    service: &CacheService,
    function: DigestFunction,
    directory: &str,
    fill: impl FnOnce(&mut Collector<'_>) -> Result<(), FetchError>,
) -> Result<Digest, FetchError> {
    let origins = &service.fetcher().origins;
    let bounds = Bounds { bytes: origins.max_expanded_bytes, entries: origins.max_entries };
    let spool = || service.spool_path();
    let mut collector = Collector::new(service.store(), function, bounds, directory, &spool)?;
    fill(&mut collector)?;
    collector.finish()
}

fn store(store: &Store, blobs: &[(Digest, Bytes)]) -> Result<(), FetchError> {
    for result in store.put_batch(blobs) {
        result.map_err(|error| FetchError::new(code_of(&error), error.to_string()))?;
    }
    Ok(())
}

fn exactly(size: u64, got: u64) -> Result<(), FetchError> {
    if got == size { Ok(()) } else { Err(bad("a file has not the size that the archive says")) }
}

fn bad(message: &str) -> FetchError {
    FetchError::new(Code::Aborted, message)
}

fn broken(error: &io::Error) -> FetchError {
    bad(&format!("the archive cannot be read: {error}"))
}

fn local(error: &io::Error) -> FetchError {
    FetchError::new(Code::ResourceExhausted, format!("a file cannot be kept: {error}"))
}

/// Reads an archive: tar, as it is or compressed by gzip or zstd, or zip. What it is, its first bytes tell.
pub(crate) fn unpack(path: &Path, into: &mut Collector<'_>) -> Result<(), FetchError> {
    let mut file = File::open(path).map_err(|error| local(&error))?;
    let mut start = Vec::new();
    (&file).take(512).read_to_end(&mut start).map_err(|error| local(&error))?;
    file.rewind().map_err(|error| local(&error))?;
    let buffered = BufReader::new(&file);
    match start.as_slice() {
        [0x1f, 0x8b, ..] => tar(flate2::read::MultiGzDecoder::new(buffered), into),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            // The window of a stream is memory: 128 MiB, zstd's own default for decoders.
            let decoder = zstd::Decoder::with_buffer(buffered).and_then(|mut decoder| {
                decoder.window_log_max(27)?;
                Ok(decoder)
            });
            tar(decoder.map_err(|error| broken(&error))?, into)
        }
        [b'P', b'K', 3 | 5, 4 | 6, ..] => zip(&mut file, into),
        _ if start.get(257..262) == Some(b"ustar") || start.iter().all(|byte| *byte == 0) && !start.is_empty() => {
            tar(buffered, into)
        }
        _ => Err(FetchError::new(
            Code::InvalidArgument,
            "it is no archive that is understood: tar (plain, gzip or zstd) and zip are",
        )),
    }
}

/// The extensions of one entry, which come before it.
#[derive(Default)]
struct Attributes {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

fn tar(reader: impl Read, into: &mut Collector<'_>) -> Result<(), FetchError> {
    // Everything that is expanded counts, also what is skipped.
    let bound = into.bounds.bytes.saturating_add(into.bounds.entries as u64 * 4096);
    let mut archive = tar::Archive::new(reader.take(bound));
    let mut next = Attributes::default();
    // Long names and attributes are read here, since the library would read them into memory without a bound.
    let entries = archive.entries().map_err(|error| broken(&error))?.raw(true);
    let mut seen = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| broken(&error))?;
        seen += 1;
        if seen > into.bounds.entries.saturating_mul(3) {
            return Err(FetchError::new(
                Code::ResourceExhausted,
                "the archive has more entries than this server takes",
            ));
        }
        let size = entry.header().entry_size().map_err(|error| broken(&error))?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() {
            let record = attributes(&mut entry, size)?;
            if kind.is_gnu_longname() {
                next.path = Some(until_zero(&record));
            } else if kind.is_gnu_longlink() {
                next.link = Some(until_zero(&record));
            } else {
                pax(&record, &mut next)?;
            }
            continue;
        }
        let Attributes { path, link } = std::mem::take(&mut next);
        let path = path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let target = || link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
        if kind.is_dir() {
            into.directory(&path)?;
        } else if kind.is_symlink() {
            into.symlink(&path, &target())?;
        } else if kind.is_hard_link() {
            into.hard_link(&path, &target())?;
        } else if kind.is_file() || kind.is_contiguous() {
            let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
            into.file(&path, size, executable, &mut entry)?;
        } else if !kind.is_pax_global_extensions() {
            return Err(bad(&format!(
                "`{}` is no file, directory or link",
                String::from_utf8_lossy(&path).escape_debug()
            )));
        }
    }
    Ok(())
}

fn attributes(entry: &mut impl Read, size: u64) -> Result<Vec<u8>, FetchError> {
    if size > MAX_ATTRIBUTES {
        return Err(bad("the attributes of an entry are larger than 1 MiB"));
    }
    let mut record = Vec::new();
    entry.read_to_end(&mut record).map_err(|error| broken(&error))?;
    Ok(record)
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn pax(record: &[u8], next: &mut Attributes) -> Result<(), FetchError> {
    for attribute in tar::PaxExtensions::new(record) {
        let attribute = attribute.map_err(|error| broken(&error))?;
        match attribute.key_bytes() {
            b"path" => next.path = Some(attribute.value_bytes().to_vec()),
            b"linkpath" => next.link = Some(attribute.value_bytes().to_vec()),
            // The header would say less than there is.
            b"size" => return Err(bad("a file is larger than the 8 GiB that its header can say")),
            key if key.starts_with(b"GNU.sparse") => return Err(bad("sparse files are not understood")),
            _ => {}
        }
    }
    Ok(())
}

fn zip(file: &mut File, into: &mut Collector<'_>) -> Result<(), FetchError> {
    if claimed_entries(file).map_err(|error| local(&error))? > into.bounds.entries as u64 {
        return Err(FetchError::new(Code::ResourceExhausted, "the archive has more entries than this server takes"));
    }
    let left = std::cell::Cell::new(MAX_ZIP_DIRECTORY);
    let damaged = |error: zip::result::ZipError| bad(&format!("the archive cannot be read: {error}"));
    let mut archive = zip::ZipArchive::new(Metered { file: BufReader::new(file), left: &left }).map_err(damaged)?;
    left.set(u64::MAX);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.as_bytes().to_vec();
        let (size, mode) = (entry.size(), entry.unix_mode().unwrap_or(0));
        if entry.is_dir() {
            into.directory(&name)?;
        } else if mode & 0o170_000 == 0o120_000 {
            let mut target = Vec::new();
            (&mut entry).take(MAX_PATH as u64 + 1).read_to_end(&mut target).map_err(|error| broken(&error))?;
            into.symlink(&name, &target)?;
        } else {
            into.file(&name, size, mode & 0o111 != 0, &mut entry)?;
        }
    }
    Ok(())
}

/// The most entries that any end of a directory in the last bytes of a zip file claims; memory is taken by this number.
fn claimed_entries(file: &mut File) -> io::Result<u64> {
    const TAIL: u64 = 128 << 10;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    (&*file).take(TAIL).read_to_end(&mut tail)?;
    file.rewind()?;
    let claims = (0..tail.len()).filter_map(|at| {
        let record = &tail[at..];
        if record.starts_with(b"PK\x05\x06") {
            record.get(10..12).map(|count| u64::from(u16::from_le_bytes([count[0], count[1]])))
        } else if record.starts_with(b"PK\x06\x06") {
            record.get(32..40).and_then(|count| count.try_into().ok()).map(u64::from_le_bytes)
        } else {
            None
        }
    });
    // 65,535 says that the true number is in the other kind of record.
    Ok(claims.filter(|claim| *claim != u64::from(u16::MAX)).max().unwrap_or(0))
}

/// A file of which only so much can be read.
struct Metered<'a> {
    file: BufReader<&'a mut File>,
    left: &'a std::cell::Cell<u64>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its directory is too large"))?);
        Ok(read)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
