//! FindMissingBlobs requests, written by hand: a thousand digests each, every other of a blob that nobody stored.

use std::collections::HashSet;

use buildnet_digest::{Digest, reapi};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::content::noise;
use crate::frame;

/// The field of digests, in requests and answers alike (`remote_execution.proto`).
const DIGESTS: u8 = 2 << 3 | 2;
/// Each byte in hexadecimal.
const HEX: [[u8; 2]; 256] = {
    let (digits, mut pairs, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};
/// Length of a SHA-256 hash in hexadecimal.
const HASH: u8 = 64;

pub(super) struct Finder {
    seed: u64,
    /// The other fields of a request.
    rest: Vec<u8>,
    /// Encoded digests of blobs that are there, one after another.
    present: Vec<u8>,
    /// What follows the hash in a digest: its size.
    size: Vec<u8>,
    /// Length of each encoded digest. All blobs are of one size, so that all digests are.
    each: usize,
}

impl Finder {
    /// `blobs` are not none.
    pub(super) fn new(seed: u64, instance: &str, blobs: &[(Digest, Bytes)]) -> Self {
        let rest = reapi::FindMissingBlobsRequest {
            instance_name: instance.to_owned(),
            blob_digests: Vec::new(),
            digest_function: reapi::digest_function::Value::Sha256 as i32,
        };
        let size = blobs.first().map_or(1, |(digest, _)| digest.to_reapi().size_bytes);
        let digests = blobs.iter().map(|(digest, _)| digest.to_reapi()).collect();
        let present = reapi::FindMissingBlobsResponse { missing_blob_digests: digests }.encode_to_vec();
        Self {
            seed,
            rest: rest.encode_to_vec(),
            each: present.len() / blobs.len().max(1),
            present,
            size: reapi::Digest { hash: String::new(), size_bytes: size }.encode_to_vec(),
        }
    }

    /// A request, framed. Every other digest in it is of a blob that is not there.
    pub(super) fn request(&self, number: u64, digests: usize) -> Bytes {
        let length = digests * self.each + self.rest.len();
        let mut message = BytesMut::with_capacity(frame::PREFIX + length);
        frame::put_prefix(&mut message, length);
        // Digests of nothing need no content: random hashes will do.
        let noise = noise(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15), digests / 2 * 32);
        let mut hashes = noise.chunks_exact(32);
        let present = self.present.len() / self.each;
        let start = usize::try_from(number % present as u64).unwrap_or(0);
        for index in 0..digests {
            match (index % 2 == 1).then(|| hashes.next()).flatten() {
                Some(hash) => self.encode(hash, &mut message),
                None => message.put_slice(&self.present[(start + index) % present * self.each..][..self.each]),
            }
        }
        message.put_slice(&self.rest);
        message.freeze()
    }

    fn encode(&self, hash: &[u8], message: &mut BytesMut) {
        // Far below 128, so that a length is one byte.
        let length = HASH + 2 + u8::try_from(self.size.len()).unwrap_or(0);
        let mut digest = [0; 4 + 2 * 32];
        digest[..4].copy_from_slice(&[DIGESTS, length, 1 << 3 | 2, HASH]);
        for (digits, byte) in digest[4..].chunks_exact_mut(2).zip(hash) {
            digits.copy_from_slice(&HEX[usize::from(*byte)]);
        }
        message.put_slice(&digest);
        message.put_slice(&self.size);
    }

    /// Whether an answer names the absent digests of a request and no others, in whatever order.
    pub(super) fn is_right(&self, answer: &[u8], request: &[u8], digests: usize) -> bool {
        let absent = || request[frame::PREFIX..][..digests * self.each].chunks_exact(self.each).skip(1).step_by(2);
        if answer.chunks(self.each).eq(absent()) {
            return true;
        }
        let set = |bytes: &[u8]| {
            let decoded = reapi::FindMissingBlobsResponse::decode(bytes).ok()?;
            let count = decoded.missing_blob_digests.len();
            let set: HashSet<_> =
                decoded.missing_blob_digests.into_iter().map(|digest| (digest.hash, digest.size_bytes)).collect();
            Some((count, set))
        };
        set(answer).is_some_and(|answer| Some(answer) == set(&absent().collect::<Vec<_>>().concat()))
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
        let framed = finder.request(5, 8);
        let request = reapi::FindMissingBlobsRequest::decode(&framed[frame::PREFIX..]).unwrap();
        assert_eq!((request.instance_name.as_str(), request.blob_digests.len()), ("main", 8));
        assert_eq!(frame::whole(&request).len(), framed.len());
        let mut missing = request.blob_digests;
        missing.retain(|digest| blobs.iter().all(|(known, _)| known.hex() != digest.hash));
        assert_eq!(missing.len(), 4);
        let right = |missing: &[reapi::Digest]| {
            let answer = reapi::FindMissingBlobsResponse { missing_blob_digests: missing.to_vec() }.encode_to_vec();
            finder.is_right(&answer, &framed, 8)
        };
        assert!(right(&missing));
        missing.reverse();
        assert!(right(&missing));
        assert!(!right(&missing[1..]) && !right(&[]));
        missing[0] = missing[1].clone();
        assert!(!right(&missing));
    }
}
