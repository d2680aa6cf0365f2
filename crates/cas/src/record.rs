//! Records, the units of a segment, and entries, their short form in sidecars and tables. Layouts: `docs/design/cas.md`.

use buildnet_digest::{Digest, DigestFunction};

/// Blobs up to this size are packed into segments; larger ones are files. In bytes.
pub(crate) const PACK_LIMIT: u64 = 64 << 10;
/// Size of an encoded entry in bytes.
pub(crate) const ENTRY: usize = 64;
/// Size of a record's header before its hash, in bytes.
const HEADER: usize = 48;
/// Longest payload that a record can have, in bytes: an action result, or the checksums of a 4 TiB blob.
pub(crate) const MAX_STORED: u32 = 64 << 20;
/// Offset, in an encoded entry, of the ordinal (in tables) or the time of last use (in sidecars), which no checksum covers.
pub(crate) const SLOT: usize = 48;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A blob of at most [`PACK_LIMIT`] bytes.
    Blob = 1,
    /// An action result, under its action's digest.
    Action = 2,
    /// The block checksums of a blob in a file of its own.
    Large = 3,
}

/// How stored bytes became the blob's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    Raw = 0,
    Lz4 = 1,
    /// Independent zstd frames per block, with their ends in the record (large blobs only).
    ZstdBlocks = 2,
}

/// An action result's record that says: removed.
pub(crate) const REMOVED: u8 = 1;
/// A large blob whose file was durable before its record was written.
pub(crate) const SYNCED: u8 = 2;

/// Bytes of a hash that the index keeps. 32 bytes of SHA-384 and SHA-512 are as collision-free as SHA-256.
pub(crate) const HASH: usize = 32;

/// What the index finds records by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The start of the hash, zero-padded.
    pub(crate) hash: [u8; HASH],
    pub(crate) size: u64,
    pub(crate) function: u8,
    pub(crate) kind: Kind,
}

impl Key {
    pub(crate) fn blob(digest: &Digest) -> Self {
        Self::new(digest, if digest.size() <= PACK_LIMIT { Kind::Blob } else { Kind::Large })
    }

    pub(crate) fn action(digest: &Digest) -> Self {
        Self::new(digest, Kind::Action)
    }

    pub(crate) fn new(digest: &Digest, kind: Kind) -> Self {
        Self { hash: start_of(digest.hash()), size: digest.size(), function: digest.function() as u8, kind }
    }
}

/// What the index keeps of a hash.
pub(crate) fn start_of(hash: &[u8]) -> [u8; HASH] {
    let mut start = [0; HASH];
    let length = hash.len().min(HASH);
    start[..length].copy_from_slice(&hash[..length]);
    start
}

/// Where a record lies in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    /// Offset of the record in bytes.
    pub(crate) offset: u32,
    /// Length of the payload in bytes.
    pub(crate) stored: u32,
    /// Number of the record in its segment.
    pub(crate) ordinal: u32,
    /// Position of the segment in a table's list; zero elsewhere.
    pub(crate) segment: u16,
    pub(crate) codec: Codec,
    pub(crate) flags: u8,
}

impl Entry {
    /// Encodes with `slot` where the ordinal or the time of last use stands.
    pub(crate) fn encode(&self, slot: u32) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..32].copy_from_slice(&self.key.hash);
        bytes[32..40].copy_from_slice(&self.key.size.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.offset.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.stored.to_le_bytes());
        bytes[SLOT..52].copy_from_slice(&slot.to_le_bytes());
        bytes[52] = self.key.function;
        bytes[53] = self.key.kind as u8;
        bytes[54] = self.codec as u8;
        bytes[55] = self.flags;
        bytes[56..58].copy_from_slice(&self.segment.to_le_bytes());
        let check = check(&bytes);
        bytes[60..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Decodes, with the slot's value; `None` when the checksum or a field is wrong. The ordinal is left zero.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes: &[u8; ENTRY] = bytes.try_into().ok()?;
        if check(bytes) != u32_at(bytes, 60) {
            return None;
        }
        Self::decode_checked(bytes)
    }

    /// Decodes what a checksum over more has covered.
    pub(crate) fn decode_checked(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes: &[u8; ENTRY] = bytes.try_into().ok()?;
        let entry = Self {
            key: Key {
                hash: bytes[..32].try_into().ok()?,
                size: u64_at(bytes, 32),
                function: bytes[52],
                kind: kind(bytes[53])?,
            },
            offset: u32_at(bytes, 40),
            stored: u32_at(bytes, 44),
            ordinal: 0,
            segment: u16::from_le_bytes([bytes[56], bytes[57]]),
            codec: codec(bytes[54])?,
            flags: bytes[55],
        };
        function(entry.key.function)?;
        Some((entry, u32_at(bytes, SLOT)))
    }

    /// Length of the whole record in bytes.
    pub(crate) fn length(&self) -> u64 {
        let hash = function(self.key.function).map_or(32, DigestFunction::hash_len);
        record_length(hash, self.stored)
    }

    /// Offset of the record's payload.
    pub(crate) fn payload(&self) -> u64 {
        let hash = function(self.key.function).map_or(32, DigestFunction::hash_len);
        u64::from(self.offset) + (HEADER + hash.next_multiple_of(8)) as u64
    }

    /// Offset just after the record.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + self.length()
    }
}

fn check(bytes: &[u8; ENTRY]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..SLOT]);
    hasher.update(&bytes[52..60]);
    // An entry of zeros, as a hole in a file reads, must not check.
    hasher.update(b"entry");
    hasher.finalize()
}

fn record_length(hash: usize, stored: u32) -> u64 {
    (HEADER + hash.next_multiple_of(8) + (stored as usize).next_multiple_of(8)) as u64
}

/// A record that is to be appended.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    pub(crate) flags: u8,
    pub(crate) payload: bytes::Bytes,
    /// Checksum of the payload.
    pub(crate) check: u32,
    /// Seconds since 1970 of the last use.
    pub(crate) used: u32,
    /// Microseconds since 1970, zero for now. Among results of one action the latest counts.
    pub(crate) time: u64,
}

impl Record {
    /// Length in the segment in bytes.
    pub(crate) fn length(&self) -> u64 {
        record_length(self.digest.hash().len(), stored(&self.payload))
    }

    /// Appends the record to `buffer`, whose start lies at `base` in the segment.
    pub(crate) fn encode(&self, salt: u64, base: u64, ordinal: u32, time: u64, buffer: &mut Vec<u8>) -> Entry {
        let start = buffer.len();
        let length = stored(&self.payload);
        buffer.extend_from_slice(&salt.to_le_bytes());
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(&ordinal.to_le_bytes());
        buffer.extend_from_slice(&self.digest.size().to_le_bytes());
        buffer.extend_from_slice(&time.to_le_bytes());
        buffer.extend_from_slice(&[self.digest.function() as u8, self.kind as u8, self.codec as u8, self.flags]);
        buffer.extend_from_slice(&self.check.to_le_bytes());
        let check = header_check(&buffer[start..start + 40], self.digest.hash());
        buffer.extend_from_slice(&check.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(self.digest.hash());
        buffer.resize(start + HEADER + self.digest.hash().len().next_multiple_of(8), 0);
        buffer.extend_from_slice(&self.payload);
        buffer.resize(buffer.len().next_multiple_of(8), 0);
        Entry {
            key: Key::new(&self.digest, self.kind),
            offset: u32::try_from(base + start as u64).expect("segments end before 4 GiB"),
            stored: length,
            ordinal,
            segment: 0,
            codec: self.codec,
            flags: self.flags,
        }
    }
}

fn stored(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).expect("payloads are bounded by MAX_STORED")
}

fn header_check(header: &[u8], hash: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(hash);
    hasher.finalize()
}

/// A record's header as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) digest: Digest,
    pub(crate) entry: Entry,
    /// Microseconds since 1970.
    pub(crate) time: u64,
    /// Checksum of the payload.
    pub(crate) check: u32,
}

/// Most bytes that [`Header::decode`] looks at.
pub(crate) const HEADER_MAX: usize = HEADER + 64;

impl Header {
    /// Decodes the header at the start of `bytes`, which lies at `offset` of the segment with this salt.
    pub(crate) fn decode(bytes: &[u8], salt: u64, offset: u64) -> Option<Self> {
        if bytes.len() < HEADER || u64_at(bytes, 0) != salt {
            return None;
        }
        let function = function(bytes[32])?;
        let hash = bytes.get(HEADER..HEADER + function.hash_len())?;
        if header_check(&bytes[..40], hash) != u32_at(bytes, 40) || u32_at(bytes, 8) > MAX_STORED {
            return None;
        }
        let digest = Digest::new(function, hash, u64_at(bytes, 16));
        let entry = Entry {
            key: Key::new(&digest, kind(bytes[33])?),
            offset: u32::try_from(offset).ok()?,
            stored: u32_at(bytes, 8),
            ordinal: u32_at(bytes, 12),
            segment: 0,
            codec: codec(bytes[34])?,
            flags: bytes[35],
        };
        Some(Self { digest, entry, time: u64_at(bytes, 24), check: u32_at(bytes, 36) })
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn kind(byte: u8) -> Option<Kind> {
    [Kind::Blob, Kind::Action, Kind::Large].into_iter().find(|kind| *kind as u8 == byte)
}

pub(crate) fn codec(byte: u8) -> Option<Codec> {
    [Codec::Raw, Codec::Lz4, Codec::ZstdBlocks].into_iter().find(|codec| *codec as u8 == byte)
}

pub(crate) fn function(byte: u8) -> Option<DigestFunction> {
    DigestFunction::ALL.into_iter().find(|function| *function as u8 == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_seen() {
        let digest = DigestFunction::Sha512.digest(b"abc");
        let record = Record {
            digest,
            kind: Kind::Blob,
            codec: Codec::Raw,
            flags: 0,
            payload: bytes::Bytes::from_static(b"abc"),
            check: crc32fast::hash(b"abc"),
            used: 7,
            time: 0,
        };
        let mut buffer = Vec::new();
        let entry = record.encode(99, 160, 3, 12, &mut buffer);
        assert_eq!(buffer.len() as u64, record.length());
        let header = Header::decode(&buffer, 99, 160).unwrap();
        assert_eq!((header.digest, header.entry, header.time), (digest, entry, 12));
        assert_eq!(&buffer[usize::try_from(entry.payload()).unwrap() - 160..][..3], b"abc");
        for bit in 0..(HEADER + 64) * 8 {
            let mut flipped = buffer.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let padding = (44..48).contains(&(bit / 8));
            assert_eq!(Header::decode(&flipped, 99, 160).is_some(), padding, "bit {bit}");
        }

        let encoded = entry.encode(5);
        assert_eq!(Entry::decode(&encoded), Some((Entry { ordinal: 0, ..entry }, 5)));
        for bit in 0..ENTRY * 8 {
            let mut flipped = encoded;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&flipped).is_some(), (SLOT..52).contains(&(bit / 8)), "bit {bit}");
        }
        assert!(Entry::decode(&[0; ENTRY]).is_none());
    }
}
