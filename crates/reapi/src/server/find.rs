//! `FindMissingBlobs`, which is asked with thousands of digests at once: they are read where they lie in the request, and
//! those of missing blobs go back as they came.

use std::ops::Range;

use axum::extract::{Request, State};
use axum::response::Response;
use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::{Bytes, BytesMut};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;

use super::call::Call;
use super::plain::{self, Unary};
use crate::access::Role;
use crate::digests::{checked, function_of};
use crate::frame;
use crate::service::CacheService;
use crate::status::from_cache;

/// The field of digests has one number in requests and answers (`remote_execution.proto`).
const DIGESTS: u32 = 2;

/// The method `FindMissingBlobs`.
pub(super) async fn serve(State(service): State<CacheService>, request: Request) -> Response {
    let request = match plain::receive(request, service.limits().max_message_bytes).await {
        Ok(request) => request,
        Err(status) => return status.into_http(),
    };
    let mut call = Call::open(&service, "find_missing_blobs", &request);
    let result = find(&mut call, request.get_ref()).await;
    plain::respond(call.close(result))
}

async fn find(call: &mut Call, request: &Bytes) -> Result<Unary, Status> {
    let question = Question::parse(request)
        .map_err(|error| Status::internal(format!("failed to decode Protobuf message: {error}")))?;
    call.allow(question.instance, Role::Read)?;
    let asked =
        |field: &Field| Asked::parse(&request[field.digest()]).map_err(|error| Status::internal(error.to_string()));
    let first = question.digests.first().map(asked).transpose()?;
    let sample = first.map(|first| reapi::Digest { hash: first.hash.to_owned(), size_bytes: first.size });
    let function = function_of(question.function, sample.as_ref())?;
    let digest = |field: &Field| asked(field)?.digest(function);
    let mut wrong = None;
    let digests = question.digests.iter().map_while(|field| digest(field).map_err(|status| wrong = Some(status)).ok());
    let cached = call.service().store().find_missing_at_cached(digests);
    if let Some(status) = wrong {
        return Err(status);
    }
    let missing = match cached {
        Some(missing) if missing.is_empty() || call.service().backing().is_none() => missing,
        _ => {
            let digests = question.digests.iter().map(digest).collect::<Result<Vec<_>, _>>()?;
            call.service().missing_at(digests).await.map_err(|error| from_cache(&error))?
        }
    };
    let fields = missing.iter().filter_map(|at| question.digests.get(*at)).map(|field| &request[field.whole()]);
    let length = fields.clone().map(<[u8]>::len).sum();
    let mut answer = BytesMut::with_capacity(frame::PREFIX + length);
    frame::put_prefix(&mut answer, length);
    fields.for_each(|field| answer.extend_from_slice(field));
    Ok(Unary::new(answer.freeze()))
}

/// Where a digest lies in a request, whose length is a u32.
struct Field {
    /// Of its key.
    start: u32,
    digest: u32,
    end: u32,
}

impl Field {
    /// With its key and length.
    fn whole(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn digest(&self) -> Range<usize> {
        self.digest as usize..self.end as usize
    }
}

/// A request, its digests not yet looked at.
#[derive(Default)]
struct Question<'a> {
    instance: &'a str,
    function: i32,
    digests: Vec<Field>,
}

impl<'a> Question<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut question = Self::default();
        let mut rest = message;
        while !rest.is_empty() {
            let from = message.len() - rest.len();
            match decode_key(&mut rest)? {
                (1, WireType::LengthDelimited) => question.instance = text(delimited(&mut rest)?)?,
                (DIGESTS, WireType::LengthDelimited) => {
                    let length = delimited(&mut rest)?.len();
                    let end = message.len() - rest.len();
                    let at = |offset| u32::try_from(offset).map_err(|_| short());
                    question.digests.push(Field { start: at(from)?, digest: at(end - length)?, end: at(end)? });
                }
                // As protobuf does: the low half of what was sent.
                #[expect(clippy::cast_possible_truncation, reason = "an int32 on the wire")]
                (3, WireType::Varint) => question.function = decode_varint(&mut rest)? as i32,
                (tag, wire) => skip_field(wire, tag, &mut rest, DecodeContext::default())?,
            }
        }
        Ok(question)
    }
}

/// One digest, as it was sent.
#[derive(Default)]
struct Asked<'a> {
    hash: &'a str,
    size: i64,
}

impl<'a> Asked<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut asked = Self::default();
        let mut rest = message;
        while !rest.is_empty() {
            match decode_key(&mut rest)? {
                (1, WireType::LengthDelimited) => asked.hash = text(delimited(&mut rest)?)?,
                (2, WireType::Varint) => asked.size = decode_varint(&mut rest)?.cast_signed(),
                (tag, wire) => skip_field(wire, tag, &mut rest, DecodeContext::default())?,
            }
        }
        Ok(asked)
    }

    fn digest(&self, function: DigestFunction) -> Result<Digest, Status> {
        let size = u64::try_from(self.size).map_err(|_| Status::invalid_argument(format!("size {}", self.size)))?;
        checked(Digest::from_hex(function, self.hash, size))
    }
}

fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(decode_varint(rest)?).unwrap_or(usize::MAX);
    let (field, after) = rest.split_at_checked(length).ok_or_else(short)?;
    *rest = after;
    Ok(field)
}

fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    // What is no UTF-8 is no field that any message has here.
    std::str::from_utf8(bytes).map_err(|_| short())
}

fn short() -> DecodeError {
    <() as prost::Message>::decode(&[0x0a_u8, 0xff][..]).expect_err("a length without its bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[test]
    fn requests_read_as_prost_reads_them() {
        let digests: Vec<_> =
            (0..5_u8).map(|number| DigestFunction::Sha256.digest(&vec![number; number.into()]).to_reapi()).collect();
        let request = reapi::FindMissingBlobsRequest {
            instance_name: "pr/1".into(),
            blob_digests: digests.clone(),
            digest_function: 1,
        };
        let bytes = request.encode_to_vec();
        let question = Question::parse(&bytes).unwrap();
        assert_eq!((question.instance, question.function), ("pr/1", 1));
        let mut answer = Vec::new();
        for (field, digest) in question.digests.iter().zip(&digests) {
            let asked = Asked::parse(&bytes[field.digest()]).unwrap();
            assert_eq!(asked.digest(DigestFunction::Sha256).unwrap().to_reapi(), *digest);
            answer.extend_from_slice(&bytes[field.whole()]);
        }
        let answer = reapi::FindMissingBlobsResponse::decode(&answer[..]).unwrap();
        assert_eq!(answer.missing_blob_digests, digests);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_as_prost_does(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let known = reapi::FindMissingBlobsRequest::decode(&bytes[..]);
            let read = Question::parse(&bytes).ok().and_then(|question| {
                let asked = question.digests.iter().map(|field| Asked::parse(&bytes[field.digest()]));
                let asked = asked.collect::<Result<Vec<_>, _>>().ok()?;
                Some((question.instance, question.function, asked))
            });
            // Stricter where a known field has another wire type is prost; never the other way round.
            if let Ok(known) = known {
                let (instance, function, asked) = read.expect("prost can read it");
                prop_assert_eq!((instance, function), (known.instance_name.as_str(), known.digest_function));
                let asked: Vec<_> = asked.iter().map(|asked| (asked.hash, asked.size)).collect();
                let known: Vec<_> =
                    known.blob_digests.iter().map(|digest| (digest.hash.as_str(), digest.size_bytes)).collect();
                prop_assert_eq!(asked, known);
            }
        }
    }
}
