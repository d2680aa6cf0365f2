//! Resource names of the ByteStream service (`remote_execution.proto`, service `ContentAddressableStorage`).

use buildnet_digest::{Digest, DigestFunction};
use tonic::Status;

use crate::compress::Compressor;
use crate::digests::{check_size, from_length};
use crate::namespace;

/// Longest resource name in bytes.
const MAX_LENGTH: usize = 1024;

/// A parsed resource name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) instance: String,
    pub(crate) compressor: Compressor,
    pub(crate) digest: Digest,
}

impl Resource {
    /// `[instance/]blobs/[function/]hash/size` or `[instance/]compressed-blobs/compressor/[function/]hash/size`.
    pub(crate) fn read(name: &str) -> Result<Self, Status> {
        let (resource, rest) = Self::parse(name, false)?;
        if rest { Err(refuse(name, "something follows the size")) } else { Ok(resource) }
    }

    /// `[instance/]uploads/uuid/` before what [`read`](Self::read) takes, and any metadata after it.
    pub(crate) fn write(name: &str) -> Result<Self, Status> {
        Ok(Self::parse(name, true)?.0)
    }

    fn parse(name: &str, upload: bool) -> Result<(Self, bool), Status> {
        if name.len() > MAX_LENGTH {
            return Err(Status::invalid_argument("the resource name is longer than 1024 bytes"));
        }
        let segments: Vec<&str> = name.split('/').collect();
        let starts = |segment: &&str| {
            if upload { *segment == "uploads" } else { matches!(*segment, "blobs" | "compressed-blobs") }
        };
        let start = segments.iter().position(starts).ok_or_else(|| refuse(name, "it names no blob"))?;
        let instance = segments[..start].join("/");
        namespace::check(&instance).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut rest = segments[start..].iter().copied();
        if upload {
            rest.next();
            let uuid = rest.next().unwrap_or_default();
            if uuid.is_empty() || uuid.len() > 64 {
                return Err(refuse(name, "the upload has no identifier"));
            }
        }
        let compressor = match rest.next() {
            Some("blobs") => Compressor::Identity,
            Some("compressed-blobs") => rest
                .next()
                .and_then(Compressor::from_name)
                .ok_or_else(|| refuse(name, "its compressor is not supported"))?,
            _ => return Err(refuse(name, "it names no blob")),
        };
        let mut hash = rest.next().unwrap_or_default();
        let function = match DigestFunction::from_name(hash) {
            Some(function) => {
                hash = rest.next().unwrap_or_default();
                function
            }
            None => {
                from_length(hash.len()).ok_or_else(|| refuse(name, "its hash has an unknown function or length"))?
            }
        };
        // `parse` of integers takes a leading `+`, which no client may send.
        let size = rest.next().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let size = size.and_then(|text| text.parse().ok()).ok_or_else(|| refuse(name, "it has no size"))?;
        let digest =
            Digest::from_hex(function, hash, size).map_err(|error| Status::invalid_argument(error.to_string()))?;
        check_size(&digest)?;
        Ok((Self { instance, compressor, digest }, rest.next().is_some()))
    }
}

fn refuse(name: &str, reason: &str) -> Status {
    Status::invalid_argument(format!("resource name `{}`: {reason}", name.escape_debug()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn names_of_real_clients() {
        let read = Resource::read(&format!("blobs/{HASH}/3")).unwrap();
        assert_eq!((read.instance.as_str(), read.compressor), ("", Compressor::Identity));
        assert_eq!(read.digest, DigestFunction::Sha256.digest(b"abc"));
        let write = Resource::write(&format!("pr/1/uploads/u-1/compressed-blobs/zstd/{HASH}/3/some/file.o")).unwrap();
        assert_eq!((write.instance.as_str(), write.compressor), ("pr/1", Compressor::Zstd));
        let blake3 = Resource::read(&format!("a/compressed-blobs/deflate/blake3/{HASH}/3")).unwrap();
        assert_eq!((blake3.digest.function(), blake3.compressor), (DigestFunction::Blake3, Compressor::Deflate));
    }

    #[test]
    fn bad_names_are_refused() {
        for name in [
            String::new(),
            "blobs".to_owned(),
            format!("blobs/{HASH}"),
            format!("blobs/{HASH}/x"),
            format!("blobs/{HASH}/-3"),
            format!("blobs/{HASH}/+3"),
            format!("blobs/{HASH}/3/tail"),
            format!("blobs/{}/3", HASH.to_uppercase()),
            format!("blobs/{}/3", &HASH[1..]),
            format!("../../etc/blobs/{HASH}/3"),
            format!("compressed-blobs/brotli/{HASH}/3"),
            format!("blobs/murmur3/{HASH}/3"),
            format!("blobs/blake3/blake3/{HASH}/3"),
            format!("blobs/{HASH}/99999999999999999999"),
            format!("{}/blobs/{HASH}/3", "x".repeat(2000)),
        ] {
            assert!(Resource::read(&name).is_err(), "{name}");
        }
        assert!(Resource::write(&format!("blobs/{HASH}/3")).is_err());
        assert!(Resource::write(&format!("uploads//blobs/{HASH}/3")).is_err());
        assert!(Resource::write(&format!("uploads/u/{HASH}/3")).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(name in "([a-z./]|blobs/|uploads/|compressed-blobs/|zstd/|[0-9a-f]{64}/){0,12}") {
            let _ = Resource::read(&name);
            let _ = Resource::write(&name);
        }
    }
}
