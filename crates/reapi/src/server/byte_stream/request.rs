//! `WriteRequest` (`google/bytestream/bytestream.proto`), its content where it was received.

use bytes::Buf as _;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::super::messages::Parts;
use crate::frame::DATA;

#[derive(Debug, Default)]
pub(super) struct WriteRequest {
    pub(super) resource_name: String,
    pub(super) write_offset: i64,
    pub(super) finish_write: bool,
    pub(super) data: Parts,
}

impl WriteRequest {
    pub(super) fn parse(mut message: Parts) -> Result<Self, DecodeError> {
        let mut request = Self::default();
        while message.has_remaining() {
            match decode_key(&mut message)? {
                (1, WireType::LengthDelimited) => {
                    let name = delimited(&mut message)?.into_bytes();
                    request.resource_name = String::from_utf8(name.into()).map_err(|_| malformed())?;
                }
                (2, WireType::Varint) => request.write_offset = decode_varint(&mut message)?.cast_signed(),
                (3, WireType::Varint) => request.finish_write = decode_varint(&mut message)? != 0,
                (DATA, WireType::LengthDelimited) => request.data = delimited(&mut message)?,
                (tag, wire) => skip_field(wire, tag, &mut message, DecodeContext::default())?,
            }
        }
        Ok(request)
    }
}

fn delimited(message: &mut Parts) -> Result<Parts, DecodeError> {
    let length = usize::try_from(decode_varint(message)?).unwrap_or(usize::MAX);
    if length > message.remaining() { Err(malformed()) } else { Ok(message.split_to(length)) }
}

/// prost has no public way to make an error.
fn malformed() -> DecodeError {
    <() as prost::Message>::decode(&[0x0a_u8, 0xff][..]).expect_err("a length without its bytes")
}

#[cfg(test)]
mod tests {
    use bazel_remote_apis::google::bytestream;
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn parts(bytes: &[u8], piece: usize) -> Parts {
        let mut parts = Parts::default();
        bytes.chunks(piece).for_each(|piece| parts.push(Bytes::copy_from_slice(piece)));
        parts
    }

    fn same(read: WriteRequest, known: &bytestream::WriteRequest) -> bool {
        read.resource_name == known.resource_name
            && read.write_offset == known.write_offset
            && read.finish_write == known.finish_write
            && read.data.into_bytes() == known.data
    }

    proptest! {
        #[test]
        fn requests_read_as_prost_reads_them(
            resource_name in ".{0,80}",
            write_offset in any::<i64>(),
            finish_write in any::<bool>(),
            data in prop::collection::vec(any::<u8>(), 0..5000),
            piece in 1_usize..6000,
        ) {
            let request = bytestream::WriteRequest { resource_name, write_offset, finish_write, data };
            let read = WriteRequest::parse(parts(&request.encode_to_vec(), piece)).unwrap();
            prop_assert!(same(read, &request));
        }

        #[test]
        fn any_bytes_are_read_or_refused_as_prost_does(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            // Stricter where a known field has another wire type is prost; never the other way round.
            if let Ok(known) = bytestream::WriteRequest::decode(&bytes[..]) {
                let read = WriteRequest::parse(parts(&bytes, 7)).expect("prost can read it");
                prop_assert!(same(read, &known));
            }
        }
    }
}
