//! SHA256TREE: SHA-256 over a binary tree of 1 KiB leaves (`remote_execution.proto`, `DigestFunction.Value.SHA256TREE`).
//!
//! A blob of more than 1024 bytes is cut after the largest power of two that leaves something to its right; both sides are hashed
//! by the same rule, and one call of SHA-256's block function joins their hashes. So a leaf is 1024 bytes (the last one fewer), and
//! the tree over the leaves is the one that a binary counter builds while bytes arrive: memory grows with its height alone.

use sha2::Digest as _;

/// Bytes of a leaf, which is hashed by plain SHA-256.
const LEAF: usize = 1024;

/// State of the block function when two hashes are joined: the leading fractional bits of the square roots of the 9th to the
/// 16th prime. (SHA-256 starts with those of the first eight, so a joint is no leaf's hash.)
const JOINT: [u32; 8] =
    [0xcbbb_9d5d, 0x629a_292a, 0x9159_015a, 0x152f_ecd8, 0x6733_2667, 0x8eb4_4a87, 0xdb0c_2e0d, 0x47b5_481d];

type Hash = [u8; 32];

/// Hashes bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sha256Tree {
    /// The leaf that is being filled. A full one stays here until more comes, since the last leaf is joined otherwise.
    leaf: sha2::Sha256,
    filled: usize,
    /// Number of leaves below `stack`.
    leaves: u64,
    /// Hashes of the complete subtrees to the left, the widest first: one for each bit of `leaves`.
    stack: Vec<Hash>,
}

impl Sha256Tree {
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == LEAF {
                self.close_leaf();
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(LEAF - self.filled));
            self.leaf.update(piece);
            self.filled += piece.len();
            bytes = rest;
        }
    }

    /// Moves a full leaf, to whose right there is more, into the tree.
    fn close_leaf(&mut self) {
        let mut hash: Hash = self.leaf.finalize_reset().into();
        self.filled = 0;
        self.leaves += 1;
        // Each carry of the counter completes a subtree.
        for _ in 0..self.leaves.trailing_zeros() {
            if let Some(left) = self.stack.pop() {
                hash = join(&left, &hash);
            }
        }
        self.stack.push(hash);
    }

    pub(crate) fn finalize(self) -> Hash {
        let last = self.leaf.finalize().into();
        self.stack.iter().rev().fold(last, |right, left| join(left, &right))
    }
}

/// The hash of what two hashes stand for.
fn join(left: &Hash, right: &Hash) -> Hash {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    let mut state = JOINT;
    sha2::compress256(&mut state, &[block.into()]);
    let mut hash = [0; 32];
    for ((out, word), start) in hash.chunks_exact_mut(4).zip(state).zip(JOINT) {
        // The library adds the state before to the state after, as SHA-256 does between blocks; here it is not added.
        out.copy_from_slice(&word.wrapping_sub(start).to_be_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use crate::DigestFunction;

    /// The sequence of the specification's vectors: 0 to 250, again and again.
    fn sequence(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    /// Values of the specification's `sha256tree_test_vectors.txt`, around where the tree changes its shape.
    const VECTORS: [(usize, &str); 10] = [
        (1025, "36c0998b21839ef74300b9de47d96d1f62323dc81f2b4231e98ce70cd6ffe750"),
        (2048, "b584996386f01793751c5cf0c39561f51b7e9924b818943b3cb2f6928cea0fa9"),
        (2049, "7318d2029b0392edf4cf109edb5a086b4bdadbb7950f710a1483eb881d9e5d44"),
        (3072, "dfc61c0a041f79d55d53bfe31c6cda7df77fdc8e6fbac1143d70b7144fdf6937"),
        (4097, "c3ec942c1b8f4580320d3a06bcf4f8fe1f5db2be797ab67061ea4c2a95f208f2"),
        (7169, "ad729297ab36cd099665b27c4247474a5518e4cd0be443f5f31d95edda08429b"),
        (8192, "fcfdde6fe59178e17708c5ba647919c3b141a44c9d1970782e597e1465266932"),
        (8193, "113c6e3a2452f388b6fad13dfab66ee0bff597a0a9a517ad8d0165f7190b603e"),
        (31744, "2cdf7662636c173d4b236f6ea03bf84c65e7f6487b53b2a61c420e26cf8a98c7"),
        (102_400, "0668d69e5331840d2f1823d717b7b3f5d1fdc8a09504cddb692b87ff83d50e5f"),
    ];

    #[test]
    fn vectors_of_the_specification() {
        for (length, hash) in VECTORS {
            assert_eq!(DigestFunction::Sha256Tree.digest(&sequence(length)).hex(), hash, "{length} bytes");
        }
    }

    #[test]
    fn a_leaf_alone_is_plain_sha256() {
        for length in [0, 1, 63, 1023, 1024] {
            let bytes = sequence(length);
            let (tree, plain) = (DigestFunction::Sha256Tree.digest(&bytes), DigestFunction::Sha256.digest(&bytes));
            assert_eq!(tree.hash(), plain.hash(), "{length} bytes");
            assert_ne!(tree, plain);
        }
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes = sequence(31_744);
        for size in [1, 7, 1023, 1024, 1025, 4096, 30_000] {
            let mut hasher = DigestFunction::Sha256Tree.hasher();
            bytes.chunks(size).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish(), DigestFunction::Sha256Tree.digest(&bytes), "pieces of {size}");
        }
    }
}
