//! Notes of action results: what who stored one wants to be kept with it, in the same record.
//!
//! A note is a field of the stored message that no `ActionResult` has, so that whoever decodes the result passes over it. What
//! clients send is decoded before it is stored, so that none can pass a field of theirs off as a note.

use std::io;
use std::sync::Arc;

use buildnet_digest::{Digest, reapi};
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};

use crate::core::Core;
use crate::error::CasError;
use crate::index::Located;

/// Number of the field: far from those of `ActionResult`, which end at 12.
const NOTE: u32 = 20_001;

/// The result with its note, as it is stored. An empty note takes no space.
pub(crate) fn encode(result: &reapi::ActionResult, note: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(result.encoded_len() + note.len() + 16);
    // A vector grows as need be.
    let _ = result.encode(&mut bytes);
    if !note.is_empty() {
        encode_key(NOTE, WireType::LengthDelimited, &mut bytes);
        encode_varint(note.len() as u64, &mut bytes);
        bytes.extend_from_slice(note);
    }
    bytes
}

/// The note of a stored result; empty when it has none.
pub(crate) fn decode(mut stored: Bytes) -> Bytes {
    let mut note = Bytes::new();
    while stored.has_remaining() {
        let Ok((tag, wire)) = decode_key(&mut stored) else { break };
        if (tag, wire) == (NOTE, WireType::LengthDelimited) {
            let length = decode_varint(&mut stored).ok().and_then(|length| usize::try_from(length).ok());
            let Some(length) = length.filter(|length| *length <= stored.len()) else { break };
            note = stored.split_to(length);
        } else if skip_field(wire, tag, &mut stored, DecodeContext::default()).is_err() {
            break;
        }
    }
    note
}

impl Core {
    /// Calls `act` with the digest and the note of every action that has a result with a note.
    pub(crate) fn notes(&self, act: &mut dyn FnMut(&Digest, Bytes)) -> Result<(), CasError> {
        // Until the end no record moves from one segment to another, and none is passed over for that.
        let _guard = self.eviction.shared().map_err(|error| self.index_failed(error))?;
        self.index.refresh().map_err(|error| self.index_failed(error))?;
        // What lookups go by, so that no result is found whose note is not.
        let actions = self.index.view().map_err(|error| self.index_failed(error))?.actions();
        for same in actions.chunk_by(|(_, one), (_, other)| one.is_same_key(other)) {
            let mut told = Vec::new();
            for (segment, packed) in same {
                let Some(entry) = packed.action() else { continue };
                let found = Located { segment: Arc::clone(segment), entry };
                let digest = match self.record(&found) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(CasError::io("read", found.segment.path(), error)),
                    // What is damaged is for `verify` to tell.
                    Ok(None) => continue,
                    Ok(Some((header, _))) => header.digest,
                };
                if told.contains(&digest) {
                    continue;
                }
                told.push(digest);
                let note = self.newest(&digest)?.stored().map(decode).filter(|note| !note.is_empty());
                if let Some(note) = note {
                    act(&digest, note);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_goes_with_its_result() {
        let result = reapi::ActionResult { exit_code: 3, stdout_raw: vec![7; 300], ..Default::default() };
        for note in [&b""[..], b"who", &vec![0xff; 70_000][..]] {
            let stored = Bytes::from(encode(&result, note));
            assert_eq!(reapi::ActionResult::decode(stored.clone()).unwrap(), result);
            assert_eq!(decode(stored.clone()), note);
            // What is cut off anywhere has no note, or none that panics.
            for end in (0..stored.len()).step_by(41) {
                assert!(decode(stored.slice(..end)).is_empty());
            }
        }
        assert_eq!(encode(&result, b""), result.encode_to_vec());
    }
}
