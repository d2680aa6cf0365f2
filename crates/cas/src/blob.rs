//! Reading and writing of one blob in pieces.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use buildnet_digest::{Digest, Hasher};
use bytes::Bytes;

use crate::core::Core;
use crate::disk::Wait;
use crate::error::CasError;
use crate::index::Located;
use crate::large::{BLOCK, LargeReader, LargeWriter};
use crate::options::Durability;
use crate::record::PACK_LIMIT;

/// Reads a blob, from its start or in ranges. What it returns is verified: a packed blob by its digest, a large one by a
/// checksum per block of 256 KiB.
#[derive(Debug)]
pub struct BlobReader {
    content: Content,
    size: u64,
    position: u64,
}

#[derive(Debug)]
enum Content {
    Packed(Bytes),
    Large(Box<Large>),
}

#[derive(Debug)]
struct Large {
    core: Arc<Core>,
    digest: Digest,
    reader: LargeReader,
    found: Located,
    /// The block read last.
    last: Option<(usize, Bytes)>,
}

impl BlobReader {
    pub(crate) fn packed(bytes: Bytes) -> Self {
        Self { size: bytes.len() as u64, content: Content::Packed(bytes), position: 0 }
    }

    pub(crate) fn large(core: Arc<Core>, digest: Digest, reader: LargeReader, found: Located) -> Self {
        let content = Content::Large(Box::new(Large { core, digest, reader, found, last: None }));
        Self { content, size: digest.size(), position: 0 }
    }

    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Some bytes from `offset`, at most `limit`, and fewer where a stored block ends; empty only at or past the blob's
    /// end, or for a limit of zero. Shares memory with what is read next, so that streaming copies nothing.
    pub fn read_range(&mut self, offset: u64, limit: usize) -> io::Result<Bytes> {
        self.read_range_by(offset, limit, Wait::Yes)
    }

    /// As [`Self::read_range`], if the bytes are to be had from memory and are not empty.
    pub fn read_range_cached(&mut self, offset: u64, limit: usize) -> Option<Bytes> {
        self.read_range_by(offset, limit, Wait::No).ok().filter(|bytes| !bytes.is_empty())
    }

    fn read_range_by(&mut self, offset: u64, limit: usize, wait: Wait) -> io::Result<Bytes> {
        if offset >= self.size || limit == 0 {
            return Ok(Bytes::new());
        }
        let (bytes, skip) = match &mut self.content {
            Content::Packed(bytes) => (bytes.clone(), usize::try_from(offset).unwrap_or(usize::MAX)),
            Content::Large(large) => {
                let index = usize::try_from(offset / BLOCK as u64).unwrap_or(usize::MAX);
                let skip = usize::try_from(offset % BLOCK as u64).unwrap_or(usize::MAX);
                let block = large.block(index, wait)?;
                let length = block.len().saturating_sub(skip).min(limit);
                large.core.counters.read.fetch_add(length as u64, Ordering::Relaxed);
                (block, skip)
            }
        };
        let end = bytes.len().min(skip.saturating_add(limit));
        Ok(bytes.slice(skip.min(end)..end))
    }
}

impl Large {
    fn block(&mut self, index: usize, wait: Wait) -> io::Result<Bytes> {
        if let Some((_, block)) = self.last.as_ref().filter(|(at, _)| *at == index) {
            return Ok(block.clone());
        }
        let block = self.reader.block_by(index, wait).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                self.core.condemn(&self.found, &self.digest);
            }
        })?;
        self.last = Some((index, block.clone()));
        Ok(block)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.read_range(self.position, buffer.len())?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// Takes a blob in pieces, in bounded memory. Dropped without [`commit`](Self::commit), it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    core: Arc<Core>,
    durability: Durability,
    expected: Digest,
    hasher: Hasher,
    content: Pending,
}

#[derive(Debug)]
enum Pending {
    Packed(Vec<u8>),
    Large(LargeWriter),
}

impl BlobWriter {
    pub(crate) fn new(core: Arc<Core>, expected: Digest, durability: Durability) -> Result<Self, CasError> {
        let content = if expected.size() <= PACK_LIMIT {
            Pending::Packed(Vec::with_capacity(usize::try_from(expected.size()).unwrap_or(0)))
        } else {
            Pending::Large(LargeWriter::new(&core, durability)?)
        };
        Ok(Self { core, durability, expected, hasher: expected.function().hasher(), content })
    }

    /// Bytes taken so far.
    pub fn written(&self) -> u64 {
        self.hasher.size()
    }

    /// Verifies the digest and makes the blob part of the store; other content than expected is a
    /// [`CasError::Mismatch`].
    pub fn commit(self) -> Result<(), CasError> {
        let Self { core, durability, expected, hasher, content } = self;
        let actual = hasher.finish();
        if actual != expected {
            return Err(CasError::mismatch(expected, actual));
        }
        core.counters.written.fetch_add(expected.size(), Ordering::Relaxed);
        match content {
            Pending::Packed(bytes) => core.put_verified(&[(expected, bytes.into())], durability),
            Pending::Large(writer) => writer.commit(&expected),
        }
    }
}

impl Write for BlobWriter {
    /// Fails with `InvalidInput` when more bytes come than the expected digest has, before it takes any of them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.hasher.size() + bytes.len() as u64 > self.expected.size() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("more content than the {} bytes of {}", self.expected.size(), self.expected),
            ));
        }
        match &mut self.content {
            Pending::Packed(buffer) => buffer.extend_from_slice(bytes),
            Pending::Large(writer) => writer.write(bytes)?,
        }
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
