//! From the cache into an archive.

use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use buildnet_cas::Store;
use prost::Message;

use super::name::Item;
use super::{ArchiveError, ArchiveReport, Progress};

/// zstd's level of archives.
const LEVEL: i32 = 3;

/// Writes the whole cache to `target`: a tar file if its name ends with `.tar` or `.tar.zst`, else a directory.
///
/// A directory that an interrupted export left is continued. A file appears when it is complete, and never replaces another.
pub fn export(
    store: &Store,
    target: &Path,
    dry_run: bool,
    progress: Progress<'_>,
) -> Result<ArchiveReport, ArchiveError> {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (blobs, actions) = store.digests()?;
    let items = blobs.into_iter().map(Item::Blob).chain(actions.into_iter().map(Item::Result));
    let mut report = ArchiveReport::default();
    if dry_run {
        for item in items {
            match item {
                Item::Blob(digest) => {
                    report.blobs += 1;
                    report.bytes += digest.size();
                }
                Item::Result(_) => report.results += 1,
            }
        }
        return Ok(report);
    }
    let compressed = name.strip_suffix(".tar.zst").is_some();
    let mut sink: Box<dyn Sink> = if compressed || name.strip_suffix(".tar").is_some() {
        Box::new(TarSink::create(target, compressed)?)
    } else {
        Box::new(Directory::open(target)?)
    };
    for item in items {
        copy(store, item, &mut *sink, &mut report)?;
        progress(&report);
    }
    sink.finish()?;
    Ok(report)
}

fn copy(store: &Store, item: Item, sink: &mut dyn Sink, report: &mut ArchiveReport) -> Result<(), ArchiveError> {
    if sink.has(&item) {
        report.present += 1;
        return Ok(());
    }
    match item {
        Item::Blob(digest) => {
            // What was evicted meanwhile, or is found damaged, is left out: `None`, or an error in mid-read.
            let Some(mut reader) = store.open_blob(&digest)? else { return Ok(()) };
            if let Err(error) = reader.read_range(0, 1) {
                report.problem(item.name(), error.to_string());
                return Ok(());
            }
            sink.put(&item, digest.size(), &mut reader)?;
            report.blobs += 1;
            report.bytes += digest.size();
        }
        Item::Result(key) => {
            let Some(result) = store.action_result(&key)? else {
                report.incomplete += 1;
                return Ok(());
            };
            let bytes = result.encode_to_vec();
            sink.put(&item, bytes.len() as u64, &mut Cursor::new(bytes))?;
            report.results += 1;
        }
    }
    Ok(())
}

/// Where an archive is written.
trait Sink {
    fn has(&self, item: &Item) -> bool;
    fn put(&mut self, item: &Item, size: u64, content: &mut dyn Read) -> Result<(), ArchiveError>;
    fn finish(self: Box<Self>) -> Result<(), ArchiveError>;
}

struct Directory {
    root: PathBuf,
}

impl Directory {
    fn open(root: &Path) -> Result<Self, ArchiveError> {
        fs::create_dir_all(root).map_err(ArchiveError::io("create", root))?;
        Ok(Self { root: root.to_owned() })
    }
}

impl Sink for Directory {
    /// A blob is there under its name only when it is whole; a result may be a newer one.
    fn has(&self, item: &Item) -> bool {
        let Item::Blob(digest) = item else { return false };
        fs::symlink_metadata(self.root.join(item.name()))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == digest.size())
    }

    fn put(&mut self, item: &Item, _size: u64, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let path = self.root.join(item.name());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(ArchiveError::io("create", parent))?;
        }
        let partial = self.root.join(format!(".partial-{}", std::process::id()));
        let mut write = || {
            let mut file = File::create(&partial)?;
            io::copy(content, &mut file)?;
            fs::rename(&partial, &path)
        };
        write().map_err(ArchiveError::io("write", &path))
    }

    fn finish(self: Box<Self>) -> Result<(), ArchiveError> {
        Ok(())
    }
}

struct TarSink {
    builder: tar::Builder<Output>,
    partial: PathBuf,
    target: PathBuf,
}

enum Output {
    Plain(BufWriter<File>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Zstd(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Zstd(output) => output.flush(),
        }
    }
}

impl TarSink {
    fn create(target: &Path, compress: bool) -> Result<Self, ArchiveError> {
        if target.exists() {
            return Err(ArchiveError::Exists { path: target.to_owned() });
        }
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let create = || {
            let file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
            Ok(if compress { Output::Zstd(zstd::Encoder::new(file, LEVEL)?) } else { Output::Plain(file) })
        };
        let output = create().map_err(ArchiveError::io("write", &partial))?;
        Ok(Self { builder: tar::Builder::new(output), partial, target: target.to_owned() })
    }
}

impl Sink for TarSink {
    fn has(&self, _item: &Item) -> bool {
        false
    }

    fn put(&mut self, item: &Item, size: u64, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        let appended = self.builder.append_data(&mut header, item.name(), content);
        appended.map_err(ArchiveError::io("write", &self.partial))
    }

    fn finish(self: Box<Self>) -> Result<(), ArchiveError> {
        let Self { builder, partial, target } = *self;
        let finish = || {
            let output = match builder.into_inner()? {
                Output::Plain(output) => output,
                Output::Zstd(output) => output.finish()?,
            };
            output.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&partial, &target)
        };
        finish().map_err(ArchiveError::io("write", &target))
    }
}
