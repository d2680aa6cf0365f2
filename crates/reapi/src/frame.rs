//! gRPC's framing, for the calls that move so much content that copying it would show: a message goes as a short head and
//! the content itself, which stays where it is.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a byte that is zero for uncompressed messages, the
//! message's length as a big-endian u32, the message.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Bytes before each message.
pub(crate) const PREFIX: usize = 5;
/// The field of `WriteRequest` and `ReadResponse` with the content.
pub(crate) const DATA: u32 = 10;

/// A whole message with its prefix.
pub(crate) fn whole(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    put_prefix(&mut bytes, length);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// All of a message before its content of `length` bytes, which comes last, in field [`DATA`].
pub(crate) fn head(message: &impl Message, length: usize) -> Bytes {
    let rest = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(rest + PREFIX + 16);
    if length == 0 {
        put_prefix(&mut bytes, rest);
        message.encode_raw(&mut bytes);
        return bytes.freeze();
    }
    put_prefix(&mut bytes, rest + key_len(DATA) + encoded_len_varint(length as u64) + length);
    message.encode_raw(&mut bytes);
    encode_key(DATA, WireType::LengthDelimited, &mut bytes);
    encode_varint(length as u64, &mut bytes);
    bytes.freeze()
}

pub(crate) fn put_prefix(bytes: &mut BytesMut, length: usize) {
    bytes.put_u8(0);
    // Messages are bounded far below 4 GiB where they are made.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Takes the bytes of an answer apart that consists of messages with nothing but content: `ReadResponse`.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// What came of a prefix and head.
    head: Vec<u8>,
    /// Bytes of content that are still to come in this message.
    left: usize,
}

impl Contents {
    /// Passes on the content in `bytes`. False when this is no such message, or `take` refuses.
    pub(crate) fn push(&mut self, mut bytes: Bytes, mut take: impl FnMut(Bytes) -> bool) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = bytes.split_to(self.left.min(bytes.len()));
                self.left -= part.len();
                if !take(part) {
                    return false;
                }
                continue;
            }
            self.head.push(bytes.split_to(1)[0]);
            match content_length(&self.head) {
                Some(Ok(length)) => {
                    self.left = length;
                    self.head.clear();
                }
                Some(Err(())) => return false,
                None => {}
            }
        }
        true
    }

    /// Whether all messages were whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }
}

/// The length of the content after a head; `None` when the head goes on.
fn content_length(head: &[u8]) -> Option<Result<usize, ()>> {
    let length = u32::from_be_bytes(head.get(1..PREFIX)?.try_into().ok()?) as usize;
    if length == 0 {
        return Some(Ok(0));
    }
    let rest = &head[PREFIX..];
    // Field 10, length-delimited.
    let key = *rest.first()?;
    let varint = &rest[1..];
    if head[0] != 0 || key != 10 << 3 | 2 || varint.len() > 5 {
        return Some(Err(()));
    }
    varint.last().filter(|byte| **byte < 0x80)?;
    let content = varint.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    Some(if content + rest.len() == length { Ok(content) } else { Err(()) })
}

#[cfg(test)]
mod tests {
    use bazel_remote_apis::google::bytestream::ReadResponse;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_and_its_content_are_a_message() {
        for length in [0, 1, 127, 128, 70_000] {
            let content = vec![7; length];
            let mut framed = head(&ReadResponse::default(), length).to_vec();
            framed.extend_from_slice(&content);
            assert_eq!(framed, whole(&ReadResponse { data: content }));
        }
    }

    #[test]
    fn other_messages_are_refused() {
        for bad in [&[1, 0, 0, 0, 2, 0x52, 0][..], &[0, 0, 0, 0, 2, 0x0a, 0], &[0, 0, 0, 0, 9, 0x52, 2, 1, 1]] {
            assert!(!Contents::default().push(Bytes::copy_from_slice(bad), |_| true), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn contents_come_back_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..6),
            cut in 1_usize..300,
        ) {
            let framed: Vec<u8> =
                messages.iter().flat_map(|data| whole(&ReadResponse { data: data.clone() })).collect();
            let (mut contents, mut received) = (Contents::default(), Vec::new());
            for part in framed.chunks(cut) {
                let taken = contents.push(Bytes::copy_from_slice(part), |bytes| {
                    received.extend_from_slice(&bytes);
                    true
                });
                prop_assert!(taken);
            }
            prop_assert!(contents.is_whole());
            prop_assert_eq!(received, messages.concat());
        }
    }
}
