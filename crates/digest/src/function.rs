//! Digest functions of the Remote Execution API.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::digest::Digest;
use crate::reapi;
use crate::sha256tree::Sha256Tree;

/// A digest function of REAPI's `DigestFunction.Value`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum DigestFunction {
    /// SHA-256, the default of REAPI clients.
    #[default]
    Sha256 = 1,
    /// SHA-1.
    Sha1 = 2,
    /// MD5.
    Md5 = 3,
    /// SHA-384.
    Sha384 = 5,
    /// SHA-512.
    Sha512 = 6,
    /// SHA-256 over a tree of 1 KiB leaves. Its hashes are as long as SHA-256's.
    Sha256Tree = 8,
    /// BLAKE3, used between BuildNet's own frontends and stores.
    Blake3 = 9,
}

impl DigestFunction {
    /// All functions that BuildNet computes.
    pub const ALL: [Self; 7] =
        [Self::Sha256, Self::Sha1, Self::Md5, Self::Sha384, Self::Sha512, Self::Sha256Tree, Self::Blake3];

    /// Length of the hash in bytes.
    pub const fn hash_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha256Tree | Self::Blake3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The lowercase name that REAPI resource names use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Md5 => "md5",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha256Tree => "sha256tree",
            Self::Blake3 => "blake3",
        }
    }

    /// The function with this name in resource names.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }

    /// The REAPI enum value.
    pub const fn to_reapi(self) -> reapi::digest_function::Value {
        use reapi::digest_function::Value;
        match self {
            Self::Sha256 => Value::Sha256,
            Self::Sha1 => Value::Sha1,
            Self::Md5 => Value::Md5,
            Self::Sha384 => Value::Sha384,
            Self::Sha512 => Value::Sha512,
            Self::Sha256Tree => Value::Sha256tree,
            Self::Blake3 => Value::Blake3,
        }
    }

    /// Starts hashing.
    pub fn hasher(self) -> Hasher {
        Hasher {
            state: match self {
                Self::Sha256 => State::Sha256(sha2::Sha256::new()),
                Self::Sha1 => State::Sha1(sha1::Sha1::new()),
                Self::Md5 => State::Md5(md5::Md5::new()),
                Self::Sha384 => State::Sha384(sha2::Sha384::new()),
                Self::Sha512 => State::Sha512(sha2::Sha512::new()),
                Self::Sha256Tree => State::Sha256Tree(Sha256Tree::default()),
                Self::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
            },
            function: self,
            size: 0,
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for DigestFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Computes a [`Digest`] over bytes that arrive in pieces.
#[derive(Clone, Debug)]
pub struct Hasher {
    state: State,
    function: DigestFunction,
    size: u64,
}

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha1(sha1::Sha1),
    Md5(md5::Md5),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Sha256Tree(Sha256Tree),
    // Boxed: BLAKE3's state is 1.9 KiB, the others' at most 0.2 KiB.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha1(state) => state.update(bytes),
            State::Md5(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
            State::Sha256Tree(state) => state.update(bytes),
            State::Blake3(state) => {
                state.update(bytes);
            }
        }
    }

    /// Number of bytes added so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        let Self { state, function, size } = self;
        match state {
            State::Sha256(state) => Digest::new(function, &state.finalize(), size),
            State::Sha1(state) => Digest::new(function, &state.finalize(), size),
            State::Md5(state) => Digest::new(function, &state.finalize(), size),
            State::Sha384(state) => Digest::new(function, &state.finalize(), size),
            State::Sha512(state) => Digest::new(function, &state.finalize(), size),
            State::Sha256Tree(state) => Digest::new(function, &state.finalize(), size),
            State::Blake3(state) => Digest::new(function, state.finalize().as_bytes(), size),
        }
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
