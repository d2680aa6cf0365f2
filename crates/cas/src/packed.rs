//! What an index keeps of a record: 32 bytes. Layout: `docs/design/cas.md`.

use crate::large::{BLOCK, PER_BLOCK};
use crate::record::{Entry, HASH, Key, Kind, codec, function, kind, u64_at};

/// Size of a packed entry in bytes.
pub(crate) const PACKED: usize = 32;
/// Bytes of a hash that tell one key from another here. To make two blobs that agree in them takes 2^64 hashes, and gains that
/// one of the two is not found; to make one that agrees with somebody else's takes 2^128.
const START: usize = 16;

/// A field of some bits in a word.
#[derive(Clone, Copy)]
struct Field {
    at: u32,
    bits: u32,
}

impl Field {
    const fn mask(self) -> u64 {
        ((1 << self.bits) - 1) << self.at
    }

    fn put(self, value: u32) -> u64 {
        debug_assert!(u64::from(value) < 1 << self.bits, "{value} does not fit into {} bits", self.bits);
        (u64::from(value) << self.at) & self.mask()
    }

    fn get(self, word: u64) -> u32 {
        u32::try_from((word & self.mask()) >> self.at).expect("fields have less than 32 bits")
    }
}

// The first word after the hash: where the record lies, and what it is.
const OFFSET: Field = Field { at: 0, bits: 29 };
const ORDINAL: Field = Field { at: 29, bits: 18 };
const KIND: Field = Field { at: 47, bits: 2 };
const CODEC: Field = Field { at: 49, bits: 2 };
const FUNCTION: Field = Field { at: 51, bits: 4 };
const FLAGS: Field = Field { at: 55, bits: 8 };
// The second.
const STORED: Field = Field { at: 0, bits: 27 };
const SIZE: Field = Field { at: 27, bits: 21 };
const SEGMENT: Field = Field { at: 48, bits: 16 };

/// An entry without the end of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed([u8; PACKED]);

impl Packed {
    pub(crate) fn new(entry: &Entry) -> Self {
        let place = OFFSET.put(entry.offset / 8)
            | ORDINAL.put(entry.ordinal)
            | CODEC.put(entry.codec as u32)
            | FLAGS.put(entry.flags.into())
            | kind_bits(&entry.key);
        let extent = STORED.put(entry.stored) | SEGMENT.put(entry.segment.into()) | SIZE.put(size_bits(&entry.key));
        let mut bytes = [0; PACKED];
        bytes[..START].copy_from_slice(&entry.key.hash[..START]);
        bytes[START..24].copy_from_slice(&place.to_le_bytes());
        bytes[24..].copy_from_slice(&extent.to_le_bytes());
        Self(bytes)
    }

    /// From bytes that a checksum has covered.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8; PACKED] {
        &self.0
    }

    /// The entry, if it is one of this key.
    pub(crate) fn entry_of(&self, key: &Key) -> Option<Entry> {
        if self.start() != start(&key.hash) || (self.place() ^ kind_bits(key)) & (KIND.mask() | FUNCTION.mask()) != 0 {
            return None;
        }
        let extent = self.extent();
        let whole = key.kind != Kind::Large || u64::from(STORED.get(extent)) == payload_of_large(key.size);
        (SIZE.get(extent) == size_bits(key) && whole).then_some(())?;
        self.unpack(*key)
    }

    /// The entry, if it is that of a blob, small or large, with this hash.
    pub(crate) fn blob_of(&self, function: u8, hash: &[u8; HASH]) -> Option<Entry> {
        if self.start() != start(hash) {
            return None;
        }
        let kind = kind(u8::try_from(KIND.get(self.place())).ok()?)?;
        let (rest, stored) = (u64::from(SIZE.get(self.extent())), u64::from(STORED.get(self.extent())));
        let size = match kind {
            Kind::Blob => rest,
            // Of a large blob it is what its last block has, zero for a whole one.
            Kind::Large => {
                let full = (stored / PER_BLOCK as u64).checked_sub(u64::from(rest > 0))?;
                full * BLOCK as u64 + rest
            }
            Kind::Action => return None,
        };
        self.entry_of(&Key { hash: *hash, size, function, kind })
    }

    /// The entry of an action's record, with as much of its key as is kept: where to find the digest.
    pub(crate) fn action(&self) -> Option<Entry> {
        let function = u8::try_from(FUNCTION.get(self.place())).ok()?;
        let mut hash = [0; HASH];
        hash[..START].copy_from_slice(self.start());
        self.is_action().then_some(())?;
        self.unpack(Key { hash, size: 0, function, kind: Kind::Action })
    }

    /// Whether both are of one key.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        let large = KIND.get(self.place()) == Kind::Large as u32;
        let extent = SIZE.mask() | if large { STORED.mask() } else { 0 };
        self.start() == other.start()
            && (self.place() ^ other.place()) & (KIND.mask() | FUNCTION.mask()) == 0
            && (self.extent() ^ other.extent()) & extent == 0
    }

    pub(crate) fn is_action(&self) -> bool {
        KIND.get(self.place()) == Kind::Action as u32
    }

    /// Position of the segment in a list.
    pub(crate) fn segment(&self) -> u16 {
        u16::from_le_bytes([self.0[30], self.0[31]])
    }

    /// The same with its segment in another list.
    pub(crate) fn with_segment(mut self, segment: u16) -> Self {
        self.0[30..].copy_from_slice(&segment.to_le_bytes());
        self
    }

    /// Number of the record in its segment.
    pub(crate) fn ordinal(&self) -> u32 {
        ORDINAL.get(self.place())
    }

    /// The start of the hash: entries in its order are in order of hash.
    pub(crate) fn start(&self) -> &[u8; START] {
        self.0.first_chunk().expect("longer than the start of a hash")
    }

    /// A number that is spread evenly, as hashes are.
    pub(crate) fn spread(&self) -> u64 {
        spread(self.start())
    }

    fn unpack(&self, key: Key) -> Option<Entry> {
        let place = self.place();
        function(key.function)?;
        Some(Entry {
            key,
            offset: OFFSET.get(place) * 8,
            stored: STORED.get(self.extent()),
            ordinal: ORDINAL.get(place),
            segment: self.segment(),
            codec: codec(u8::try_from(CODEC.get(place)).ok()?)?,
            flags: u8::try_from(FLAGS.get(place)).ok()?,
        })
    }

    fn place(&self) -> u64 {
        u64_at(&self.0, START)
    }

    fn extent(&self) -> u64 {
        u64_at(&self.0, START + 8)
    }
}

/// The start of a hash as entries keep it.
pub(crate) fn start(hash: &[u8; HASH]) -> &[u8; START] {
    hash.first_chunk().expect("hashes are longer")
}

/// A number that is spread evenly, as hashes are.
pub(crate) fn spread(start: &[u8; START]) -> u64 {
    u64::from_ne_bytes(*start.last_chunk().expect("longer than eight bytes"))
}

fn kind_bits(key: &Key) -> u64 {
    KIND.put(key.kind as u32) | FUNCTION.put(key.function.into())
}

/// What is kept of a size: of a small blob's all, of a large one's what the length of its payload does not tell. Of an action's a
/// few bits; whether a record is the one that was asked for is seen when it is read.
fn size_bits(key: &Key) -> u32 {
    let bits = match key.kind {
        Kind::Blob => key.size,
        Kind::Large => key.size % BLOCK as u64,
        Kind::Action => key.size.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SIZE.bits),
    };
    // Small blobs have at most 64 KiB.
    u32::try_from(bits & (SIZE.mask() >> SIZE.at)).expect("a few bits")
}

/// Length of the payload of a large blob's record in bytes.
fn payload_of_large(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(PER_BLOCK as u64)
}

#[cfg(test)]
mod tests {
    use buildnet_digest::{Digest, DigestFunction};
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Codec, MAX_STORED};
    use crate::segment::MAX_RECORDS;

    fn entry(function: usize, size: u64, action: bool, numbers: [u32; 4]) -> Entry {
        let function = DigestFunction::ALL[function];
        let hash = function.digest(&numbers[0].to_le_bytes());
        let digest = Digest::new(function, hash.hash(), size);
        let key = if action { Key::action(&digest) } else { Key::blob(&digest) };
        let stored = if key.kind == Kind::Large { u32::try_from(payload_of_large(size)).unwrap() } else { numbers[1] };
        let (codec, flags) = (Codec::Lz4, u8::try_from(numbers[3] % 4).unwrap());
        let segment = u16::try_from(numbers[2] >> 16).unwrap();
        Entry { key, offset: numbers[2] / 8 * 8, stored, ordinal: numbers[3], segment, codec, flags }
    }

    proptest! {
        #[test]
        fn an_entry_comes_back_and_no_other_key_takes_it(
            function in 0..DigestFunction::ALL.len(),
            size in prop_oneof![1..=65_536_u64, 65_537..1_u64 << 40, (1..4_000_000_u64).prop_map(|blocks| blocks << 18)],
            action: bool,
            numbers in (any::<u32>(), 0..=MAX_STORED, any::<u32>(), 0..MAX_RECORDS),
            other in 1..1_u64 << 40,
        ) {
            let entry = entry(function, size, action, numbers.into());
            let packed = Packed::new(&entry);
            prop_assert_eq!(packed.entry_of(&entry.key), Some(entry));
            prop_assert_eq!(Packed::of(packed.bytes()).unwrap().with_segment(7).segment(), 7);
            let found = packed.blob_of(entry.key.function, &entry.key.hash);
            prop_assert_eq!(found, (entry.key.kind != Kind::Action).then_some(entry));
            let place = |entry: Entry| (entry.payload(), entry.stored, entry.ordinal, entry.segment);
            let of_action = packed.action().map(place);
            prop_assert_eq!(of_action, (entry.key.kind == Kind::Action).then_some(place(entry)));
            let elsewhere = Packed::new(&Entry { offset: 8, ordinal: 9, ..entry });
            prop_assert!(packed.is_same_key(&elsewhere));

            let mut hash = entry.key.hash;
            hash[15] ^= 1;
            let mut keys = vec![
                Key { hash, ..entry.key },
                Key { function: entry.key.function ^ 1, ..entry.key },
                Key { kind: if entry.key.kind == Kind::Blob { Kind::Action } else { Kind::Blob }, ..entry.key },
            ];
            let resized = Key { size: other, ..entry.key };
            if other != size && entry.key.kind != Kind::Action {
                // As a digest of another size would be looked for.
                keys.push(Key { kind: if other <= 65_536 { Kind::Blob } else { Kind::Large }, ..resized });
            }
            for key in keys {
                prop_assert_eq!(packed.entry_of(&key), None, "{:?}", key);
            }
        }
    }
}
