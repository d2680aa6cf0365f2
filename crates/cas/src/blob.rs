//! Reading and writing of one blob in pieces.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use buildnet_digest::{Digest, Hasher};
use bytes::Bytes;

use crate::error::CasError;
use crate::store::Store;

/// Reads a blob, from its start or in ranges.
#[derive(Debug)]
pub struct BlobReader {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) position: u64,
}

impl BlobReader {
    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Up to `limit` bytes from `offset`; empty at or past the end.
    pub fn read_range(&self, offset: u64, limit: usize) -> io::Result<Bytes> {
        let length = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(limit);
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
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

/// Takes a blob in pieces. Dropped without [`commit`](Self::commit), it leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    pub(crate) store: Store,
    pub(crate) expected: Digest,
    pub(crate) hasher: Hasher,
    pub(crate) buffer: Vec<u8>,
}

impl BlobWriter {
    /// Verifies the digest and makes the blob part of the store.
    pub fn commit(self) -> Result<(), CasError> {
        let actual = self.hasher.finish();
        if actual != self.expected {
            return Err(CasError::Mismatch { expected: self.expected, actual });
        }
        self.store.put_expected(&self.expected, &self.buffer)
    }

    /// Bytes taken so far.
    pub fn written(&self) -> u64 {
        self.hasher.size()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
