//! Blobs in files of their own. Their records in the segments hold checksums of each block, so that ranges are verified
//! without reading the whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_digest::Digest;
use bytes::Bytes;

use crate::buffers::Buffers;
use crate::core::Core;
use crate::disk::{DiskFile, Open, Wait};
use crate::error::CasError;
use crate::index::Located;
use crate::options::Durability;
use crate::record::{Codec, Key, Kind, Record, SYNCED, u32_at, u64_at};

/// Bytes of a blob per checksum, and per compressed frame.
pub(crate) const BLOCK: usize = 256 << 10;
/// Bytes of a record's payload per block: end in the file, checksum of the stored bytes.
pub(crate) const PER_BLOCK: usize = 12;
const LEVEL: i32 = 1;
/// The disk begins to write what came after so many bytes. It has then little left to do when the blob is synced, and is not
/// idle while uploads are received.
const AHEAD: u64 = 8 << 20;

/// Where the file of a large blob lies.
pub(crate) fn path(core: &Core, function: &str, hash: &str, size: u64, codec: Codec) -> PathBuf {
    let suffix = if codec == Codec::ZstdBlocks { ".zst" } else { "" };
    core.dir.join("large").join(&hash[..2]).join(format!("{function}-{hash}-{size}{suffix}"))
}

pub(crate) fn path_of_digest(core: &Core, digest: &Digest, codec: Codec) -> PathBuf {
    path(core, digest.function().name(), &digest.hex(), digest.size(), codec)
}

/// Where the file of a found record lies. The index keeps only 32 bytes of the hash; for longer ones the record is read.
pub(crate) fn path_of(core: &Core, found: &Located) -> PathBuf {
    let key = &found.entry.key;
    let function = buildnet_digest::DigestFunction::ALL.into_iter().find(|function| *function as u8 == key.function);
    match function {
        Some(function) if function.hash_len() <= 32 => {
            let hash =
                key.hash[..function.hash_len()].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            path(core, function.name(), &hash, key.size, found.entry.codec)
        }
        _ => match core.record(found) {
            Ok(Some((header, _))) => path_of_digest(core, &header.digest, found.entry.codec),
            _ => core.dir.join("large/unknown"),
        },
    }
}

/// Writes a large blob into a temporary file.
#[derive(Debug)]
pub(crate) struct LargeWriter {
    core: Arc<Core>,
    durability: Durability,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    block: Vec<u8>,
    /// Decided by the first block.
    codec: Option<Codec>,
    end: u64,
    /// How far the disk was told to begin.
    begun: u64,
    payload: Vec<u8>,
    kept: bool,
}

impl LargeWriter {
    pub(crate) fn new(core: &Arc<Core>, durability: Durability) -> Result<Self, CasError> {
        let path = core.temporary();
        let file =
            core.disk.open(&path, Open::CreateProtected).map_err(|error| CasError::io("create", &path, error))?;
        Ok(Self {
            core: Arc::clone(core),
            durability,
            path,
            file,
            block: Vec::with_capacity(BLOCK),
            codec: None,
            end: 0,
            begun: 0,
            payload: Vec::new(),
            kept: false,
        })
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= BLOCK {
                let (block, rest) = bytes.split_at(BLOCK);
                self.store(block)?;
                bytes = rest;
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(part);
            bytes = rest;
            if self.block.len() == BLOCK {
                self.store_rest()?;
            }
        }
        Ok(())
    }

    fn store_rest(&mut self) -> io::Result<()> {
        let mut block = std::mem::take(&mut self.block);
        self.store(&block)?;
        block.clear();
        self.block = block;
        Ok(())
    }

    fn store(&mut self, block: &[u8]) -> io::Result<()> {
        let mut compressed = Vec::new();
        if self.codec != Some(Codec::Raw) && self.core.options.compress_large {
            compressed = zstd::bulk::compress(block, LEVEL)?;
        }
        let codec = *self.codec.get_or_insert_with(|| {
            let pays = !compressed.is_empty() && compressed.len() <= block.len() - block.len() / 4;
            if pays { Codec::ZstdBlocks } else { Codec::Raw }
        });
        let stored = if codec == Codec::Raw { block } else { &compressed };
        self.file.write_at(stored, self.end)?;
        self.end += stored.len() as u64;
        if self.end - self.begun >= AHEAD && self.durability == Durability::Synced {
            self.file.start_writing(self.begun, self.end - self.begun);
            self.begun = self.end;
        }
        self.payload.extend_from_slice(&self.end.to_le_bytes());
        self.payload.extend_from_slice(&crc32fast::hash(stored).to_le_bytes());
        Ok(())
    }

    /// Makes what was written the content of `digest`, which the caller has computed from the same bytes.
    pub(crate) fn commit(mut self, digest: &Digest) -> Result<(), CasError> {
        let core = Arc::clone(&self.core);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| CasError::io("write", &path, error)
        };
        if !self.block.is_empty() {
            self.store_rest().map_err(failed(&self.path))?;
        }
        let codec = self.codec.unwrap_or(Codec::Raw);
        let to = path_of_digest(&core, digest, codec);
        let synced = self.durability == Durability::Synced;
        if synced {
            self.file.sync().map_err(|error| lost(&core, &self.path, error))?;
        }
        let dir = to.parent().expect("in a directory of large blobs");
        // Between the file's new name and its record it must not look like one that nobody knows.
        let guard = core.eviction.shared().map_err(failed(&to))?;
        let rename = || core.disk.rename(&self.path, &to);
        match rename() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                core.disk.create_dir_all(dir).and_then(|()| rename()).map_err(failed(&to))?;
                if synced {
                    core.disk.sync_dir(&core.dir.join("large")).map_err(|error| lost(&core, dir, error))?;
                }
            }
            other => other.map_err(failed(&to))?,
        }
        self.kept = true;
        if synced {
            core.disk.sync_dir(dir).map_err(|error| lost(&core, dir, error))?;
        }
        let payload = Bytes::from(std::mem::take(&mut self.payload));
        let record = Record {
            digest: *digest,
            kind: Kind::Large,
            codec,
            flags: if synced { SYNCED } else { 0 },
            check: crc32fast::hash(&payload),
            payload,
            used: core.now(),
            time: 0,
        };
        core.commit(&[record], self.durability)?;
        drop(guard);
        let end = self.end;
        core.large_usage(|bytes| bytes.saturating_add(end)).map_err(failed(&to))?;
        core.wrote(end);
        Ok(())
    }
}

fn lost(core: &Core, path: &Path, error: io::Error) -> CasError {
    core.latch.close(&format!("{} could not be synced: {error}", path.display()));
    CasError::io("sync", path, error)
}

impl Drop for LargeWriter {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.core.disk.remove(&self.path);
        }
    }
}

/// An opened large blob.
#[derive(Debug)]
pub(crate) struct LargeReader {
    pub(crate) file: Arc<dyn DiskFile>,
    blocks: Bytes,
    codec: Codec,
    size: u64,
    buffers: Arc<Buffers>,
}

impl LargeReader {
    /// `None` when the file is gone or its record is damaged.
    pub(crate) fn open(core: &Core, digest: &Digest, found: &Located) -> Result<Option<Self>, CasError> {
        let record = match core.record(found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // One whose hash begins in the same way.
            Ok(Some((header, _))) if header.digest != *digest => return Ok(None),
            other => other.map_err(|error| CasError::io("read", found.segment.path(), error))?,
        };
        let blocks = usize::try_from(digest.size().div_ceil(BLOCK as u64)).unwrap_or(usize::MAX);
        let Some((_, payload)) = record.filter(|(_, payload)| blocks.checked_mul(PER_BLOCK) == Some(payload.len()))
        else {
            core.condemn(found, digest);
            return Ok(None);
        };
        let path = path_of_digest(core, digest, found.entry.codec);
        match core.disk.open(&path, Open::Read) {
            Ok(file) => Ok(Some(Self {
                file,
                blocks: payload,
                codec: found.entry.codec,
                size: digest.size(),
                buffers: Arc::clone(&core.buffers),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.segment.remember_used(found.entry.ordinal, crate::segment::DEAD);
                Ok(None)
            }
            Err(error) => Err(CasError::io("open", &path, error)),
        }
    }

    /// Number of blocks.
    pub(crate) fn count(&self) -> usize {
        self.blocks.len() / PER_BLOCK
    }

    /// The content of a block, verified against its checksum.
    pub(crate) fn block(&self, index: usize) -> io::Result<Bytes> {
        self.block_by(index, Wait::Yes)
    }

    /// As [`Self::block`], without waiting for the disk if so wished.
    pub(crate) fn block_by(&self, index: usize, wait: Wait) -> io::Result<Bytes> {
        let end = |index: usize| u64_at(&self.blocks, index * PER_BLOCK);
        let start = if index == 0 { 0 } else { end(index - 1) };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a stored block is corrupted");
        let length = end(index).checked_sub(start).filter(|length| *length <= 2 * BLOCK as u64).ok_or_else(damaged)?;
        let mut bytes = self.buffers.take(usize::try_from(length).unwrap_or(0));
        let read = self.file.read_by(bytes.as_mut(), start, wait)?;
        if read != bytes.as_ref().len()
            || crc32fast::hash(bytes.as_ref()) != u32_at(&self.blocks, index * PER_BLOCK + 8)
        {
            return Err(damaged());
        }
        let size = usize::try_from(self.size - index as u64 * BLOCK as u64).unwrap_or(usize::MAX).min(BLOCK);
        let block = match self.codec {
            Codec::ZstdBlocks => zstd::bulk::decompress(bytes.as_ref(), size).map_err(|_| damaged())?.into(),
            _ => Bytes::from_owner(bytes),
        };
        if block.len() != size {
            return Err(damaged());
        }
        Ok(block)
    }
}

impl Core {
    /// A reader of a large blob; `None` when it is not there.
    pub(crate) fn open_large(&self, digest: &Digest) -> Result<Option<(LargeReader, Located)>, CasError> {
        let Some(found) = self.locate(&[Key::blob(digest)])?.pop().flatten() else { return Ok(None) };
        Ok(LargeReader::open(self, digest, &found)?.map(|reader| (reader, found)))
    }
}
