//! Blobs that are made, not stored: the same number always gives the same bytes within a run.

use buildnet_digest::{Digest, DigestFunction, Hasher};
use bytes::Bytes;

/// Bytes at the end of a small blob in which it differs from the others.
const TAIL: usize = 16;
/// SHA-256 takes whole blocks of so many bytes.
const BLOCK: usize = 64;

/// The small blobs of a run. They share all but their last bytes, so that making one costs the client a copy and the hash
/// of its end; for a server they are as new and as incompressible as any, since none looks across small blobs.
#[derive(Debug)]
pub(super) struct SmallBlobs {
    base: Vec<u8>,
    /// Has taken so many bytes, the blocks before the tail.
    hasher: Hasher,
    taken: usize,
}

impl SmallBlobs {
    pub(super) fn new(seed: u64, size: usize) -> Self {
        let base = noise(seed, size.max(TAIL));
        let taken = (base.len() - TAIL) / BLOCK * BLOCK;
        let mut hasher = DigestFunction::Sha256.hasher();
        hasher.update(&base[..taken]);
        Self { base, hasher, taken }
    }

    pub(super) fn blob(&self, number: u64) -> (Digest, Bytes) {
        let mut bytes = self.base.clone();
        let at = bytes.len() - TAIL;
        bytes[at..]
            .copy_from_slice(&noise(number ^ u64::from_le_bytes(self.base[..8].try_into().unwrap_or_default()), TAIL));
        let mut hasher = self.hasher.clone();
        hasher.update(&bytes[self.taken..]);
        (hasher.finish(), bytes.into())
    }
}

/// A blob of `size` bytes of which nothing occurs twice.
pub(super) fn large(seed: u64, number: u64, size: usize) -> (Digest, Bytes) {
    let bytes = noise(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15), size);
    (DigestFunction::Sha256.digest(&bytes), bytes.into())
}

/// Bytes that do not compress: xorshift64*, seeded through splitmix64 so that neighbours differ in all bits (Vigna, 2014).
pub(super) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state = (state ^ (state >> 31)) | 1;
    let mut bytes = Vec::with_capacity(size.next_multiple_of(8));
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn blobs_differ_and_repeat() {
        for size in [1, 16, 100, 4096] {
            let blobs = SmallBlobs::new(7, size);
            let digests: HashSet<_> = (0..500).map(|number| blobs.blob(number).0).collect();
            assert_eq!(digests.len(), 500);
            let (digest, bytes) = blobs.blob(3);
            assert_eq!((digest, bytes.len()), (DigestFunction::Sha256.digest(&bytes), size.max(TAIL)));
            assert_eq!(blobs.blob(3), SmallBlobs::new(7, size).blob(3));
            assert_ne!(blobs.blob(3), SmallBlobs::new(8, size).blob(3));
        }
        assert_ne!(large(1, 1, 1000), large(1, 2, 1000));
        let (_, bytes) = large(1, 1, 100_000);
        assert!(zstd::bulk::compress(&bytes, 1).unwrap().len() > 99_000);
    }
}
