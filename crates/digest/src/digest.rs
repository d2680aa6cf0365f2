//! The name of a blob.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::function::DigestFunction;
use crate::reapi;

/// Longest hash of any function, in bytes (SHA-512).
const MAX_HASH: usize = 64;

/// Names a blob: digest function, hash and size in bytes.
///
/// Written `function:hash/size`, the hash in lowercase hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    function: DigestFunction,
    size: u64,
    /// The first `function.hash_len()` bytes hold the hash; the rest is zero, so that derived comparison is exact.
    hash: [u8; MAX_HASH],
}

impl Digest {
    /// A digest from its parts.
    ///
    /// # Panics
    /// If `hash` has not the length of the function's hash; callers pass what a hash function returned.
    pub fn new(function: DigestFunction, hash: &[u8], size: u64) -> Self {
        assert_eq!(hash.len(), function.hash_len(), "hash length of {function}");
        let mut padded = [0; MAX_HASH];
        padded[..hash.len()].copy_from_slice(hash);
        Self { function, size, hash: padded }
    }

    /// The digest of the empty blob.
    pub fn empty(function: DigestFunction) -> Self {
        function.digest(&[])
    }

    /// From a hexadecimal hash as REAPI writes it: lowercase, of exactly the function's length.
    pub fn from_hex(function: DigestFunction, hex_hash: &str, size: u64) -> Result<Self, ParseDigestError> {
        let error = || ParseDigestError { text: hex_hash.chars().take(160).collect() };
        if hex_hash.len() != function.hash_len() * 2 {
            return Err(error());
        }
        // Without branches and tables, so that the compiler takes many digits at once.
        let mut values = [0; MAX_HASH * 2];
        let mut wrong = false;
        for (value, digit) in values.iter_mut().zip(hex_hash.as_bytes()) {
            let (number, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
            *value = if number < 10 { number } else { letter.wrapping_add(10) };
            wrong |= number >= 10 && letter >= 6;
        }
        let mut hash = [0; MAX_HASH];
        for (byte, pair) in hash.iter_mut().zip(values[..hex_hash.len()].chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1] & 15;
        }
        if wrong { Err(error()) } else { Ok(Self { function, size, hash }) }
    }

    /// From REAPI's message, whose function is known from elsewhere.
    pub fn from_reapi(function: DigestFunction, digest: &reapi::Digest) -> Result<Self, ParseDigestError> {
        let size = u64::try_from(digest.size_bytes)
            .map_err(|_| ParseDigestError { text: format!("size {}", digest.size_bytes) })?;
        Self::from_hex(function, &digest.hash, size)
    }

    /// As REAPI's message.
    pub fn to_reapi(&self) -> reapi::Digest {
        reapi::Digest {
            hash: self.hex(),
            // No blob reaches 8 EiB; a digest parsed from outside was an i64 before.
            size_bytes: i64::try_from(self.size).unwrap_or(i64::MAX),
        }
    }

    /// The function that computed the hash.
    pub const fn function(&self) -> DigestFunction {
        self.function
    }

    /// The hash's bytes.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.function.hash_len()]
    }

    /// The hash in lowercase hexadecimal.
    pub fn hex(&self) -> String {
        hex::encode(self.hash())
    }

    /// Size of the blob in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.function, self.hex(), self.size)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no digest (expected lowercase hexadecimal of the digest function's length and a size)")]
pub struct ParseDigestError {
    /// The text, cut to 160 characters.
    pub text: String,
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDigestError { text: text.chars().take(160).collect() };
        let (function, rest) = text.split_once(':').ok_or_else(error)?;
        let (hash, size) = rest.split_once('/').ok_or_else(error)?;
        let function = DigestFunction::from_name(function).ok_or_else(error)?;
        Self::from_hex(function, hash, size.parse().map_err(|_| error())?).map_err(|_| error())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.function, self.size, self.hash()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let (function, size, hash) = <(DigestFunction, u64, &[u8])>::deserialize(deserializer)?;
            if hash.len() != function.hash_len() {
                return Err(D::Error::custom("hash length"));
            }
            Ok(Self::new(function, hash, size))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        for function in DigestFunction::ALL {
            let digest = function.digest(b"abc");
            assert_eq!(digest.to_string().parse(), Ok(digest));
            let bytes = postcard::to_stdvec(&digest).unwrap();
            assert_eq!(postcard::from_bytes::<Digest>(&bytes).unwrap(), digest);
            assert_eq!(Digest::from_reapi(function, &digest.to_reapi()), Ok(digest));
        }
    }

    #[test]
    fn known_hashes() {
        let hex = |function: DigestFunction| function.digest(b"abc").hex();
        assert_eq!(hex(DigestFunction::Md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(DigestFunction::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(DigestFunction::Sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hex(DigestFunction::Blake3), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    }

    #[test]
    fn refuses_what_reapi_refuses() {
        let sha256 = DigestFunction::Sha256;
        let good = sha256.digest(b"abc");
        assert!(Digest::from_hex(sha256, &good.hex().to_uppercase(), 3).is_err());
        assert!(Digest::from_hex(sha256, &good.hex()[1..], 3).is_err());
        for position in [0, 1, 63] {
            for byte in 0..128_u8 {
                let mut text = good.hex().into_bytes();
                text[position] = byte;
                let text = String::from_utf8(text).unwrap();
                let expected = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                assert_eq!(Digest::from_hex(sha256, &text, 3).is_ok(), expected, "{text}");
                assert!(!expected || Digest::from_hex(sha256, &text, 3).unwrap().hex() == text);
            }
        }
        assert!(Digest::from_reapi(sha256, &reapi::Digest { hash: good.hex(), size_bytes: -1 }).is_err());
    }
}
