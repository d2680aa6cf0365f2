//! The body of a read: pieces as they lie in the store, or compressed, framed and not copied.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bazel_remote_apis::google::bytestream::ReadResponse;
use buildnet_cas::BlobReader;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use http_body::Frame;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::super::plain::trailers;
use crate::frame;

/// Bytes of content in one message. A slow client costs a few of these.
pub(super) const PIECE: usize = 256 << 10;

type Read = (BlobReader, std::io::Result<Bytes>);

/// Where the content comes from.
enum Source {
    /// It is all here.
    Whole(Bytes),
    /// Pieces that are made elsewhere.
    Stream(BoxStream<'static, std::io::Result<Bytes>>),
    /// The next piece is read when it is wanted.
    Reader(BlobReader),
    /// It waits for the disk, outside the threads that serve connections.
    Reading(JoinHandle<Read>),
    Ended,
}

/// A range of a blob.
pub(super) struct Pieces {
    source: Source,
    position: u64,
    end: u64,
    /// Content whose head was sent.
    content: Bytes,
}

impl Pieces {
    pub(super) fn whole(content: Bytes) -> Self {
        Self { source: Source::Whole(content), position: 0, end: 0, content: Bytes::new() }
    }

    pub(super) fn range(reader: BlobReader, position: u64, end: u64) -> Self {
        Self { source: Source::Reader(reader), position, end, content: Bytes::new() }
    }

    pub(super) fn stream(stream: BoxStream<'static, std::io::Result<Bytes>>) -> Self {
        Self { source: Source::Stream(stream), position: 0, end: 0, content: Bytes::new() }
    }

    /// The next piece; empty at the end.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<Bytes>> {
        loop {
            let length = usize::try_from(self.end - self.position).unwrap_or(PIECE).min(PIECE);
            match std::mem::replace(&mut self.source, Source::Ended) {
                Source::Whole(bytes) => return Poll::Ready(Ok(bytes)),
                Source::Stream(mut stream) => {
                    let polled = stream.poll_next_unpin(context);
                    if !matches!(polled, Poll::Ready(None | Some(Err(_)))) {
                        self.source = Source::Stream(stream);
                    }
                    return polled.map(|piece| piece.unwrap_or_else(|| Ok(Bytes::new())));
                }
                Source::Ended => return Poll::Ready(Ok(Bytes::new())),
                Source::Reader(_) if length == 0 => {}
                Source::Reader(mut reader) => {
                    if let Some(bytes) = reader.read_range_cached(self.position, length) {
                        self.position += bytes.len() as u64;
                        self.source = Source::Reader(reader);
                        return Poll::Ready(Ok(bytes));
                    }
                    let position = self.position;
                    self.source = Source::Reading(tokio::task::spawn_blocking(move || {
                        let read = reader.read_range(position, length);
                        (reader, read)
                    }));
                }
                Source::Reading(mut task) => {
                    let Poll::Ready(done) = Pin::new(&mut task).poll(context) else {
                        self.source = Source::Reading(task);
                        return Poll::Pending;
                    };
                    let (reader, bytes) = done.map_err(std::io::Error::other)?;
                    let bytes = bytes?;
                    if bytes.is_empty() {
                        return Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.position += bytes.len() as u64;
                    self.source = Source::Reader(reader);
                    return Poll::Ready(Ok(bytes));
                }
            }
        }
    }
}

/// The body of an answer: pieces, framed, and a status at the end.
pub(super) struct Framed {
    pieces: Pieces,
    ended: bool,
}

impl Framed {
    pub(super) fn new(pieces: Pieces) -> Self {
        Self { pieces, ended: false }
    }
}

impl http_body::Body for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.pieces.content.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.pieces.content)))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match ready!(self.pieces.poll_piece(context)) {
            Ok(piece) if !piece.is_empty() => {
                let head = frame::head(&ReadResponse::default(), piece.len());
                self.pieces.content = piece;
                return Poll::Ready(Some(Ok(Frame::data(head))));
            }
            Ok(_) => Status::new(Code::Ok, ""),
            Err(error) => {
                tracing::error!(%error, "reading a blob failed");
                Status::data_loss(format!("the blob cannot be read: {error}"))
            }
        };
        self.ended = true;
        Poll::Ready(Some(trailers(&status).map(Frame::trailers)))
    }
}
