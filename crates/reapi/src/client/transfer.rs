//! Moving blobs.

use bazel_remote_apis::google::bytestream::{ReadRequest, WriteRequest};
use buildnet_digest::{Digest, reapi};
use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use super::{RemoteCache, RemoteError, bounded};
use crate::compress::{Compressor, Expander, Shrinker};
use crate::digests::is_explicit;
use crate::frame;

/// Bytes of content in one message of a stream.
const PIECE: usize = 1 << 20;
/// Content up to this size goes into one HTTP/2 frame with what comes before it, in bytes.
const ONE_FRAME: usize = 16 << 10;
/// Compressed bytes that are expanded at once: zstd makes at most 128 KiB of every 4, so that this bounds what a bomb takes.
const EXPAND: usize = 4 << 10;
/// From this size on a stream is worth compressing, in bytes.
const COMPRESS: u64 = 4 << 10;

/// Cuts a list into runs whose sizes together stay within `limit`, with some bytes for each digest.
pub(super) fn batches<T>(items: &[T], size: impl Fn(&T) -> u64, limit: u64) -> Vec<&[T]> {
    let mut batches = Vec::new();
    let (mut start, mut total) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        let size = size(item) + 128;
        if index > start && total + size > limit {
            batches.push(&items[start..index]);
            (start, total) = (index, 0);
        }
        total += size;
    }
    if start < items.len() {
        batches.push(&items[start..]);
    }
    batches
}

impl RemoteCache {
    /// Reads blobs of one function in one request. Blobs that the server has not are left out.
    pub async fn read_batch(&self, digests: &[Digest]) -> Result<Vec<(Digest, Bytes)>, RemoteError> {
        let Some(first) = digests.first() else { return Ok(Vec::new()) };
        let function = first.function();
        let request = reapi::BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: digests.iter().map(Digest::to_reapi).collect(),
            acceptable_compressors: if self.zstd { vec![Compressor::Zstd.to_reapi()] } else { Vec::new() },
            digest_function: function.to_reapi() as i32,
        };
        let answer = self.cas().batch_read_blobs(bounded(request)).await;
        let answer = answer.map_err(|status| self.failed("read blobs from", status))?.into_inner();
        let mut blobs = Vec::with_capacity(digests.len());
        for item in answer.responses {
            let digest = self.own(function, &item.digest.unwrap_or_default())?;
            let status = item.status.unwrap_or_default();
            match Code::from(status.code) {
                Code::Ok => {
                    let expanded = Compressor::from_reapi(item.compressor)
                        .and_then(|compressor| compressor.expand(item.data.into(), digest.size()).ok());
                    let blob = expanded.ok_or_else(|| RemoteError::Answer {
                        target: self.target(),
                        what: format!("has content for {digest} that cannot be expanded"),
                    })?;
                    blobs.push((digest, self.verified(&digest, blob)?));
                }
                Code::NotFound => {}
                code => return Err(self.failed("read a blob from", Status::new(code, status.message))),
            }
        }
        Ok(blobs)
    }

    /// Stores blobs of one function in one request.
    pub async fn write_batch(&self, blobs: &[(Digest, Bytes)]) -> Result<(), RemoteError> {
        let Some((first, _)) = blobs.first() else { return Ok(()) };
        let item = |(digest, blob): &(Digest, Bytes)| reapi::batch_update_blobs_request::Request {
            digest: Some(digest.to_reapi()),
            data: blob.to_vec(),
            compressor: Compressor::Identity.to_reapi(),
        };
        let request = reapi::BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests: blobs.iter().map(item).collect(),
            digest_function: first.function().to_reapi() as i32,
        };
        let answer = self.cas().batch_update_blobs(bounded(request)).await;
        let answer = answer.map_err(|status| self.failed("store blobs in", status))?.into_inner();
        for item in answer.responses {
            let status = item.status.unwrap_or_default();
            if status.code != Code::Ok as i32 {
                return Err(self.failed("store a blob in", Status::new(Code::from(status.code), status.message)));
            }
        }
        Ok(())
    }

    /// Reads a blob as a stream, compressed when the server can; `None` when it has not.
    pub async fn read_stream(&self, digest: &Digest) -> Result<Option<Bytes>, RemoteError> {
        let compressor = self.compressor(digest);
        let request =
            ReadRequest { resource_name: self.resource("", compressor, digest), read_offset: 0, read_limit: 0 };
        let failed = |status: Status| match status.code() {
            Code::NotFound => Ok(None),
            _ => Err(self.failed("read a blob from", status)),
        };
        let mut stream = match self.streams().read(Request::new(request)).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return failed(status),
        };
        let mut received = Vec::new();
        // What a compressor adds to incompressible content is far below this.
        let limit = digest.size() + digest.size() / 64 + (64 << 10);
        loop {
            match stream.message().await {
                Ok(Some(piece)) => received.extend_from_slice(&piece.data),
                Ok(None) => break,
                Err(status) => return failed(status),
            }
            if received.len() as u64 > limit {
                let what = format!("is longer than {digest} can be");
                return Err(RemoteError::Answer { target: self.target(), what });
            }
        }
        let expanded = compressor.expand(received.into(), digest.size());
        let blob = expanded
            .map_err(|error| RemoteError::Answer { target: self.target(), what: format!("is no {digest}: {error}") })?;
        Ok(Some(self.verified(digest, blob)?))
    }

    /// Stores a blob as a stream, compressed when the server can and it pays.
    pub async fn write_stream(&self, digest: &Digest, blob: Bytes) -> Result<(), RemoteError> {
        let mut compressor = self.compressor(digest);
        let mut content = blob.clone();
        if compressor != Compressor::Identity {
            match compressor.shrink(&blob) {
                Ok(shrunk) if shrunk.len() < blob.len() => content = shrunk,
                _ => compressor = Compressor::Identity,
            }
        }
        self.upload(digest, compressor, content).await
    }

    /// Stores a blob as a stream, as it is.
    pub(crate) async fn write_plain(&self, digest: &Digest, blob: Bytes) -> Result<(), RemoteError> {
        self.upload(digest, Compressor::Identity, blob).await
    }

    async fn upload(&self, digest: &Digest, compressor: Compressor, content: Bytes) -> Result<(), RemoteError> {
        let prefix = format!("uploads/{}/", uuid::Uuid::new_v4());
        let name = self.resource(&prefix, compressor, digest);
        let requests = pieces(name, content);
        let answer = self.streams().write(Request::new(futures::stream::iter(requests))).await;
        answer.map(drop).map_err(|status| self.failed("store a blob in", status))
    }

    /// The framed request that reads a blob as it is.
    pub(crate) fn read_frame(&self, digest: &Digest) -> Bytes {
        let resource_name = self.resource("", Compressor::Identity, digest);
        frame::whole(&ReadRequest { resource_name, read_offset: 0, read_limit: 0 })
    }

    /// The framed requests that store a blob as it is, its content shared unless it is small.
    pub(crate) fn upload_frames(&self, id: uuid::Uuid, digest: &Digest, content: &Bytes) -> Vec<Bytes> {
        let name = self.resource(&format!("uploads/{id}/"), Compressor::Identity, digest);
        let mut frames = Vec::new();
        for (start, end, request) in heads(name, content.len()) {
            let head = frame::head(&request, end - start);
            if end - start <= ONE_FRAME {
                frames.push([&head[..], &content[start..end]].concat().into());
            } else {
                frames.extend([head, content.slice(start..end)]);
            }
        }
        frames
    }

    /// Reads a blob in pieces, for blobs that do not belong into memory; false when the server has not. The pieces are expanded but
    /// not verified: whoever takes them does that. Ends early when nobody takes them any more.
    pub async fn download(&self, digest: &Digest, pieces: &Sender<Bytes>) -> Result<bool, RemoteError> {
        let compressor = self.compressor(digest);
        let request =
            ReadRequest { resource_name: self.resource("", compressor, digest), read_offset: 0, read_limit: 0 };
        let failed = |status: Status| match status.code() {
            Code::NotFound => Ok(false),
            _ => Err(self.failed("read a blob from", status)),
        };
        let damaged = |error: std::io::Error| RemoteError::Answer {
            target: self.target(),
            what: format!("is no {digest}: {error}"),
        };
        let mut stream = match self.streams().read(Request::new(request)).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return failed(status),
        };
        let mut expander = Expander::new(compressor, Vec::new(), digest.size()).map_err(damaged)?;
        loop {
            let piece = match stream.message().await {
                Ok(Some(piece)) => Bytes::from(piece.data),
                Ok(None) => break,
                Err(status) => return failed(status),
            };
            // Little at a time: what expands without bound is passed on, not gathered.
            for slice in piece.chunks(EXPAND) {
                expander.take(slice).map_err(damaged)?;
                if expander.taken().len() >= PIECE / 4
                    && pieces.send(std::mem::take(expander.taken()).into()).await.is_err()
                {
                    return Ok(true);
                }
            }
        }
        let rest = expander.finish().map_err(damaged)?;
        if !rest.is_empty() {
            // Whoever takes them knows best whether they are still wanted.
            let _ = pieces.send(rest.into()).await;
        }
        Ok(true)
    }

    /// Stores a blob from pieces as they come, compressed when the server can.
    pub async fn upload_pieces(&self, digest: &Digest, pieces: Receiver<Bytes>) -> Result<(), RemoteError> {
        let compressor = self.compressor(digest);
        let name = self.resource(&format!("uploads/{}/", uuid::Uuid::new_v4()), compressor, digest);
        let (requests, stream) = tokio::sync::mpsc::channel(2);
        let expected = digest.size();
        // Ends with the stream: when the server has answered, nobody takes requests any more.
        let feeding = tokio::spawn(feed(name, compressor, expected, pieces, requests));
        let answer = self.streams().write(Request::new(ReceiverStream::new(stream))).await;
        feeding.abort();
        answer.map(drop).map_err(|status| self.failed("store a blob in", status))
    }

    fn compressor(&self, digest: &Digest) -> Compressor {
        if self.zstd && digest.size() >= COMPRESS { Compressor::Zstd } else { Compressor::Identity }
    }

    pub(crate) fn resource(&self, prefix: &str, compressor: Compressor, digest: &Digest) -> String {
        let instance = if self.instance.is_empty() { String::new() } else { format!("{}/", self.instance) };
        let kind = match compressor {
            Compressor::Identity => "blobs",
            Compressor::Zstd => "compressed-blobs/zstd",
            Compressor::Deflate => "compressed-blobs/deflate",
        };
        let function = digest.function();
        let function = if is_explicit(function) { format!("{function}/") } else { String::new() };
        format!("{instance}{prefix}{kind}/{function}{}/{}", digest.hex(), digest.size())
    }

    fn verified(&self, digest: &Digest, blob: Bytes) -> Result<Bytes, RemoteError> {
        let actual = digest.function().digest(&blob);
        if actual == *digest {
            return Ok(blob);
        }
        Err(RemoteError::Mismatch { target: self.target(), expected: Box::new(*digest), actual: Box::new(actual) })
    }
}

/// Makes requests of pieces. When the pieces end early, so does the stream, and the server keeps nothing.
async fn feed(
    name: String,
    compressor: Compressor,
    expected: u64,
    mut pieces: Receiver<Bytes>,
    requests: Sender<WriteRequest>,
) {
    let Ok(mut shrinker) = Shrinker::new(compressor) else { return };
    let (mut taken, mut sent, mut buffer) = (0_u64, 0_u64, Vec::new());
    let mut name = Some(name);
    let mut request = |data: Vec<u8>, last| {
        let offset = sent;
        sent += data.len() as u64;
        WriteRequest {
            resource_name: name.take().unwrap_or_default(),
            // Nothing that we have is that long.
            write_offset: i64::try_from(offset).unwrap_or(i64::MAX),
            finish_write: last,
            data,
        }
    };
    while let Some(piece) = pieces.recv().await {
        taken += piece.len() as u64;
        let Ok(shrunk) = shrinker.push(&piece) else { return };
        buffer.extend_from_slice(&shrunk);
        if buffer.len() >= PIECE && requests.send(request(std::mem::take(&mut buffer), false)).await.is_err() {
            return;
        }
    }
    if taken == expected
        && let Ok(rest) = shrinker.finish()
    {
        buffer.extend_from_slice(&rest);
        let _ = requests.send(request(buffer, true)).await;
    }
}

/// The requests of one upload.
fn pieces(name: String, content: Bytes) -> impl Iterator<Item = WriteRequest> + Send + 'static {
    heads(name, content.len())
        .map(move |(start, end, request)| WriteRequest { data: content[start..end].to_vec(), ..request })
}

/// The requests of one upload without their content, and where that lies.
fn heads(name: String, length: usize) -> impl Iterator<Item = (usize, usize, WriteRequest)> + Send + 'static {
    let count = length.div_ceil(PIECE).max(1);
    (0..count).map(move |index| {
        let start = index * PIECE;
        let request = WriteRequest {
            resource_name: if index == 0 { name.clone() } else { String::new() },
            // A length in memory.
            write_offset: i64::try_from(start).unwrap_or(i64::MAX),
            finish_write: index + 1 == count,
            data: Vec::new(),
        };
        (start, (start + PIECE).min(length), request)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_within_the_limit_and_lose_nothing() {
        let sizes = [10, 900, 10, 2000, 1, 1, 1, 1];
        let cut = batches(&sizes, |size| *size, 1200);
        assert_eq!(cut.concat(), sizes);
        assert_eq!(cut.iter().map(|batch| batch.len()).collect::<Vec<_>>(), [2, 1, 1, 4]);
        assert!(batches(&[0_u64; 0], |size| *size, 10).is_empty());
    }
}
