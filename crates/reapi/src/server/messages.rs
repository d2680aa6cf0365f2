//! gRPC messages as they are received, for methods that go around tonic: it copies each message twice, here contents stay
//! where they were received.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody as _};
use bytes::{Buf, Bytes, BytesMut};
use tonic::Status;

use crate::frame::PREFIX;

/// A part below this size is copied to the one before it, so that parts cost little more than their bytes, however small
/// they came. In bytes.
const SMALL: usize = 512;
/// Parts that such a part is copied to are at most this long.
const GATHERED: usize = 4 << 10;

/// Bytes that lie in several places.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: VecDeque<Bytes>,
    length: usize,
}

impl Parts {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.length += bytes.len();
        match self.parts.back_mut() {
            Some(last) if bytes.len() < SMALL && last.len() + bytes.len() <= GATHERED => {
                let mut gathered = BytesMut::with_capacity(last.len() + bytes.len());
                gathered.extend_from_slice(last);
                gathered.extend_from_slice(&bytes);
                *last = gathered.freeze();
            }
            _ => self.parts.push_back(bytes),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Takes the first so many bytes, which must be there.
    pub(super) fn split_to(&mut self, length: usize) -> Self {
        let mut taken = Self::default();
        while taken.length < length {
            let Some(first) = self.parts.front_mut() else { break };
            let left = length - taken.length;
            let part = if first.len() <= left { std::mem::take(first) } else { first.split_to(left) };
            if first.is_empty() {
                self.parts.pop_front();
            }
            self.length -= part.len();
            taken.length += part.len();
            taken.parts.push_back(part);
        }
        taken
    }

    /// All in one place; copied only where it lies in several.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.parts.len() <= 1 {
            return self.parts.pop_front().unwrap_or_default();
        }
        let mut bytes = BytesMut::with_capacity(self.length);
        self.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.freeze()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter()
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| &part[..])
    }

    fn advance(&mut self, count: usize) {
        self.split_to(count);
    }
}

/// The messages of a request.
pub(super) struct Messages {
    body: Body,
    /// Most bytes of one.
    most: usize,
    received: Parts,
    /// Length of the message whose prefix was read.
    length: Option<usize>,
    ended: bool,
}

impl Messages {
    pub(super) fn new(body: Body, most: usize) -> Self {
        Self { body, most, received: Parts::default(), length: None, ended: false }
    }

    /// The next message, whole; `None` at the end. Clients that let the server wait for too long are cut by whoever holds
    /// the request's slot.
    pub(super) async fn next(&mut self) -> Result<Option<Parts>, Status> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The only message of the request, in one place.
    pub(super) async fn single(mut self) -> Result<Bytes, Status> {
        let wrong = || Status::internal("the request is not one gRPC message");
        let message = self.next().await?.ok_or_else(wrong)?;
        if self.next().await?.is_some() { Err(wrong()) } else { Ok(message.into_bytes()) }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Parts>, Status>> {
        loop {
            if self.length.is_none() && self.received.len() >= PREFIX {
                if self.received.get_u8() != 0 {
                    let status = Status::unimplemented("messages are not compressed here; blobs can be");
                    return Poll::Ready(Err(status));
                }
                // A u32 of bytes on any machine that serves more than a few.
                let length = usize::try_from(self.received.get_u32()).unwrap_or(usize::MAX);
                if length > self.most {
                    let message = format!("a message of {length} bytes, {} are the limit", self.most);
                    return Poll::Ready(Err(Status::out_of_range(message)));
                }
                self.length = Some(length);
            }
            if let Some(length) = self.length.filter(|length| *length <= self.received.len()) {
                self.length = None;
                return Poll::Ready(Ok(Some(self.received.split_to(length))));
            }
            if self.ended {
                let whole = self.length.is_none() && self.received.len() == 0;
                let broken = || Status::internal("the request ends in mid-message");
                return Poll::Ready(if whole { Ok(None) } else { Err(broken()) });
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                // Trailers of a request mean nothing.
                Some(Ok(frame)) => self.received.push(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Poll::Ready(Err(Status::from_error(error.into()))),
                None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(pieces: Vec<Bytes>) -> Body {
        Body::from_stream(futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)))
    }

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.push(0);
            bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(message);
        }
        bytes
    }

    async fn read(bytes: Vec<u8>, piece: usize) -> Result<Vec<Bytes>, Status> {
        let pieces = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        let mut messages = Messages::new(body(pieces), 10_000);
        let mut read = Vec::new();
        while let Some(message) = messages.next().await? {
            read.push(message.into_bytes());
        }
        Ok(read)
    }

    #[tokio::test]
    async fn what_is_cut_too_long_or_compressed_is_refused() {
        let whole = framed(&[vec![7; 100]]);
        for cut in [1, 4, 5, 50, 104] {
            assert_eq!(read(whole[..cut].to_vec(), 30).await.unwrap_err().code(), tonic::Code::Internal, "{cut}");
        }
        assert_eq!(read(framed(&[vec![7; 10_001]]), 30).await.unwrap_err().code(), tonic::Code::OutOfRange);
        let mut compressed = whole.clone();
        compressed[0] = 1;
        assert_eq!(read(compressed, 30).await.unwrap_err().code(), tonic::Code::Unimplemented);
        let twice = framed(&[vec![1], vec![2]]);
        let single = |bytes: &[u8]| Messages::new(body(vec![Bytes::copy_from_slice(bytes)]), 10).single();
        assert_eq!(single(&twice).await.unwrap_err().code(), tonic::Code::Internal);
        assert_eq!(single(&[]).await.unwrap_err().code(), tonic::Code::Internal);
        assert_eq!(single(&twice[..6]).await.unwrap(), [1][..]);
    }

    #[test]
    fn tiny_parts_are_gathered() {
        let mut parts = Parts::default();
        for byte in 0..=255 {
            parts.push(Bytes::copy_from_slice(&[byte]));
        }
        parts.push(Bytes::from(vec![9; 100_000]));
        assert_eq!((parts.iter().count(), parts.len()), (2, 100_256));
        assert_eq!(parts.split_to(200).into_bytes(), (0..200).collect::<Vec<u8>>());
        assert_eq!(parts.into_bytes()[..57], (200..=255).chain([9]).collect::<Vec<u8>>());
    }

    proptest! {
        #[test]
        fn messages_come_as_they_were_sent(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6),
            piece in 1_usize..2000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read(framed(&messages), piece)).unwrap();
            prop_assert_eq!(read, messages);
        }
    }
}
