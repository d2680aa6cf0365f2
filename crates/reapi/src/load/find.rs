//! FindMissingBlobs requests, written by hand: a thousand digests each, every other of a blob that nobody stored.

use std::collections::HashSet;

use buildnet_digest::{Digest, reapi};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::content::noise;
use crate::frame;

/// The field of digests, in requests and answers alike (`remote_execution.proto`).
const DIGESTS: u8 = 2 << 3 | 2;
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Length of a SHA-256 hash in hexadecimal.
const HASH: u8 = 64;

pub(super) struct Finder {
    seed: u64,
    /// The other fields of a request.
    rest: Vec<u8>,
    /// Encoded digests of blobs that are there.
    present: Vec<Vec<u8>>,
    /// What follows the hash in a digest: its size.
    size: Vec<u8>,
}

impl Finder {
    pub(super) fn new(seed: u64, instance: &str, blobs: &[(Digest, Bytes)]) -> Self {
        let rest = reapi::FindMissingBlobsRequest {
            instance_name: instance.to_owned(),
            blob_digests: Vec::new(),
            digest_function: reapi::digest_function::Value::Sha256 as i32,
        };
        let size = blobs.first().map_or(1, |(digest, _)| digest.to_reapi().size_bytes);
        let encode = |digest: reapi::Digest| reapi::FindMissingBlobsResponse { missing_blob_digests: vec![digest] };
        Self {
            seed,
            rest: rest.encode_to_vec(),
            present: blobs.iter().map(|(digest, _)| encode(digest.to_reapi()).encode_to_vec()).collect(),
            size: reapi::Digest { hash: String::new(), size_bytes: size }.encode_to_vec(),
        }
    }

    /// A request, framed, and the digests in it that are missing as an answer lists them.
    pub(super) fn request(&self, number: u64, digests: usize) -> (Bytes, Vec<u8>) {
        let each = usize::from(HASH) + self.size.len() + 4;
        let mut message = Vec::with_capacity(digests * each + self.rest.len());
        let mut absent = Vec::with_capacity(digests * each / 2);
        // Digests of nothing need no content: random hashes will do.
        let noise = noise(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15), digests / 2 * 32);
        let mut hashes = noise.chunks_exact(32);
        let start = usize::try_from(number % self.present.len() as u64).unwrap_or(0);
        for index in 0..digests {
            match (index % 2 == 1).then(|| hashes.next()).flatten() {
                Some(hash) => {
                    let from = message.len();
                    self.encode(hash, &mut message);
                    absent.extend_from_slice(&message[from..]);
                }
                None => message.extend_from_slice(&self.present[(start + index) % self.present.len()]),
            }
        }
        message.extend_from_slice(&self.rest);
        let mut framed = BytesMut::with_capacity(message.len() + frame::PREFIX);
        frame::put_prefix(&mut framed, message.len());
        framed.put_slice(&message);
        (framed.freeze(), absent)
    }

    fn encode(&self, hash: &[u8], message: &mut Vec<u8>) {
        // Far below 128, so that a length is one byte.
        let length = HASH + 2 + u8::try_from(self.size.len()).unwrap_or(0);
        message.extend_from_slice(&[DIGESTS, length, 1 << 3 | 2, HASH]);
        for byte in hash {
            message.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        message.extend_from_slice(&self.size);
    }

    /// Whether an answer names the absent digests and no others, in whatever order.
    pub(super) fn is_right(answer: &[u8], absent: &[u8]) -> bool {
        if answer == absent {
            return true;
        }
        let set = |bytes: &[u8]| {
            let decoded = reapi::FindMissingBlobsResponse::decode(bytes).ok()?;
            let count = decoded.missing_blob_digests.len();
            let set: HashSet<_> =
                decoded.missing_blob_digests.into_iter().map(|digest| (digest.hash, digest.size_bytes)).collect();
            Some((count, set))
        };
        set(answer).is_some_and(|answer| Some(answer) == set(absent))
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::SmallBlobs;
    use super::*;

    #[test]
    fn every_other_digest_is_absent() {
        let blobs = SmallBlobs::new(1, 200);
        let blobs: Vec<_> = (0..3).map(|number| blobs.blob(number)).collect();
        let finder = Finder::new(1, "main", &blobs);
        let (framed, absent) = finder.request(5, 8);
        let request = reapi::FindMissingBlobsRequest::decode(&framed[frame::PREFIX..]).unwrap();
        assert_eq!((request.instance_name.as_str(), request.blob_digests.len()), ("main", 8));
        assert_eq!(frame::whole(&request).len(), framed.len());
        let mut missing = request.blob_digests;
        missing.retain(|digest| blobs.iter().all(|(known, _)| known.hex() != digest.hash));
        assert_eq!(missing.len(), 4);
        let answer = |missing: &[reapi::Digest]| {
            reapi::FindMissingBlobsResponse { missing_blob_digests: missing.to_vec() }.encode_to_vec()
        };
        assert_eq!(answer(&missing), absent);
        missing.reverse();
        assert!(Finder::is_right(&answer(&missing), &absent));
        assert!(!Finder::is_right(&answer(&missing[1..]), &absent));
        missing[0] = missing[1].clone();
        assert!(!Finder::is_right(&answer(&missing), &absent));
    }
}
