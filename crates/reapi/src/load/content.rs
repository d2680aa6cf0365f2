//! Blobs that are made, not stored: the same number always gives the same bytes within a run.

use buildnet_digest::{Digest, DigestFunction};
use bytes::Bytes;

/// A blob of `size` bytes that does not compress.
pub(super) fn blob(seed: u64, number: u64, size: usize) -> (Digest, Bytes) {
    let mut bytes = vec![0; size];
    // xorshift64*, seeded through one step of splitmix64 so that neighbours differ in all bits (Vigna, 2014).
    let mut state = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    (DigestFunction::Sha256.digest(&bytes), bytes.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn blobs_differ_and_repeat() {
        let digests: HashSet<_> = (0..500).map(|number| blob(7, number, 100).0).collect();
        assert_eq!(digests.len(), 500);
        assert_eq!(blob(7, 3, 1000), blob(7, 3, 1000));
        assert_ne!(blob(7, 3, 1000), blob(8, 3, 1000));
        let (_, bytes) = blob(1, 1, 100_000);
        assert!(zstd::bulk::compress(&bytes, 1).unwrap().len() > 99_000);
    }
}
