//! Bodies: into the store as they come, and out of it in pieces.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use buildnet_cas::{BlobReader, CasError};
use buildnet_digest::{Digest, DigestFunction};
use buildnet_reapi::{CacheError, CacheService, Wanted};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};

/// Bodies up to this size stay in memory until their digest is known; larger ones go through a file. In bytes.
const IN_MEMORY: usize = 256 << 10;
/// Bytes of content read and sent at once.
const PIECE: usize = 256 << 10;

/// Stores a body and returns its digest.
pub(crate) async fn receive(
    service: &CacheService,
    function: DigestFunction,
    body: Body,
) -> Result<Digest, CacheError> {
    let limits = *service.limits();
    let mut pieces = body.into_data_stream();
    let mut waiting = BytesMut::new();
    let mut spool: Option<Spool> = None;
    let mut total = 0_u64;
    loop {
        let piece = tokio::time::timeout(limits.idle, pieces.next()).await;
        let piece = piece.map_err(|_| CacheError::TooSlow)?;
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|error| CacheError::of_body(&error))?;
        total += piece.len() as u64;
        if total > limits.max_blob_bytes {
            return Err(CacheError::TooLarge { limit: limits.max_blob_bytes });
        }
        waiting.extend_from_slice(&piece);
        if waiting.len() > IN_MEMORY {
            let bytes = waiting.split().freeze();
            let current = spool.take();
            spool = Some(service.run(move |service| Spool::append(current, service, &bytes)).await?);
        }
    }
    let bytes = waiting.freeze();
    service
        .run(move |service| match spool {
            None => Ok(service.store().put_bytes(function, &bytes)?),
            Some(spool) => {
                let spool = Spool::append(Some(spool), service, &bytes)?;
                Ok(service.store().put_file(function, &spool.path)?)
            }
        })
        .await
}

/// The whole of a small body.
pub(crate) async fn receive_small(service: &CacheService, body: Body, limit: usize) -> Result<Bytes, CacheError> {
    let read = axum::body::to_bytes(body, limit);
    let read = tokio::time::timeout(service.limits().idle, read).await;
    let read = read.map_err(|_| CacheError::TooSlow)?;
    read.map_err(|error| {
        // Whatever is not the client's fault is told by the limit's error.
        let source = std::error::Error::source(&error);
        let long = source.and_then(|source| source.downcast_ref::<http_body_util::LengthLimitError>()).is_some();
        if long { CacheError::TooLarge { limit: limit as u64 } } else { CacheError::of_body(&error) }
    })
}

pub(crate) fn invalid(message: &str) -> CacheError {
    CacheError::Invalid { message: message.to_owned() }
}

/// A file that goes away when it is dropped.
struct Spool {
    path: PathBuf,
    file: File,
}

impl Spool {
    fn append(spool: Option<Self>, service: &CacheService, bytes: &[u8]) -> Result<Self, CacheError> {
        let mut spool = if let Some(spool) = spool {
            spool
        } else {
            let path = service.spool_path();
            let file = File::create_new(&path).map_err(|source| failed("create", &path, source))?;
            Self { path, file }
        };
        spool.file.write_all(bytes).map_err(|source| failed("write", &spool.path, source))?;
        Ok(spool)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(action: &'static str, path: &std::path::Path, source: std::io::Error) -> CacheError {
    let path = path.to_owned();
    match source.kind() {
        std::io::ErrorKind::StorageFull => CasError::DiskFull { path, source }.into(),
        _ => CacheError::Io { action, path, source },
    }
}

/// The blob as an answer: whole, or the range that the client asks for. `None` when it is not there.
pub(crate) async fn send(
    service: &CacheService,
    digest: Digest,
    request: &HeaderMap,
) -> Result<Option<Response>, CacheError> {
    let size = digest.size();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let (start, end) = match range_of(request, size) {
        Range::Whole => (0, size),
        Range::Part(start, end) => {
            let value = format!("bytes {start}-{}/{size}", end - 1);
            insert(headers, header::CONTENT_RANGE, &value);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (start, end)
        }
        Range::Outside => {
            insert(headers, header::CONTENT_RANGE, &format!("bytes */{size}"));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(Some(response));
        }
    };
    insert(response.headers_mut(), header::CONTENT_LENGTH, &(end - start).to_string());
    if size <= PIECE as u64 {
        let read = move |service: &CacheService| Ok(service.store().read(&digest)?);
        let Some(blob) = service.look(|_| Wanted::blob(digest), read).await? else { return Ok(None) };
        // Both are at most the size of the blob, which is in memory.
        let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        *response.body_mut() = Body::from(blob.slice(range));
        return Ok(Some(response));
    }
    let open = move |service: &CacheService| Ok(service.store().open_blob(&digest)?);
    let Some(reader) = service.look(|_| Wanted::blob(digest), open).await? else { return Ok(None) };
    let service = service.clone();
    let pieces = stream::try_unfold((reader, start), move |(mut reader, position)| {
        let service = service.clone();
        async move {
            if position >= end {
                return Ok(None);
            }
            let length = usize::try_from(end - position).unwrap_or(PIECE).min(PIECE);
            let read = move |_: &CacheService| Ok((piece(&mut reader, position, length), reader));
            let (bytes, reader) = service.run(read).await.map_err(std::io::Error::other)?;
            let bytes: Bytes = bytes.inspect_err(|error| tracing::error!(%error, "reading a blob failed"))?;
            if bytes.is_empty() {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            let position = position + bytes.len() as u64;
            Ok(Some((bytes, (reader, position))))
        }
    });
    *response.body_mut() = Body::from_stream(pieces.into_stream());
    Ok(Some(response))
}

fn piece(reader: &mut BlobReader, position: u64, length: usize) -> std::io::Result<Bytes> {
    reader.read_range(position, length)
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// From a byte to before another.
    Part(u64, u64),
    Outside,
}

/// The range that is asked for (RFC 9110, section 14.1.2). Several ranges at once, and what is no range of bytes, are
/// answered with the whole, as the RFC allows.
fn range_of(headers: &HeaderMap, size: u64) -> Range {
    let value = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let Some((start, end)) =
        value.and_then(|value| value.strip_prefix("bytes=")).and_then(|range| range.split_once('-'))
    else {
        return Range::Whole;
    };
    let (start, end) = match (start.trim().parse::<u64>(), end.trim().parse::<u64>()) {
        (Ok(start), Ok(end)) if start <= end => (start, end.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if end.trim().is_empty() => (start, size),
        (Err(_), Ok(last)) if start.trim().is_empty() => (size.saturating_sub(last), size),
        _ => return Range::Whole,
    };
    if start >= end { Range::Outside } else { Range::Part(start, end) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_range_lies_within_the_blob(text in "(bytes=)?[0-9]{0,21}-?[0-9]{0,21}|[ -~]{0,30}", size in 0_u64..2000) {
            let headers = HeaderMap::from_iter([(header::RANGE, text.parse().unwrap())]);
            if let Range::Part(start, end) = range_of(&headers, size) {
                prop_assert!(start < end && end <= size);
            }
        }
    }

    #[test]
    fn ranges() {
        let range = |value: &str| range_of(&HeaderMap::from_iter([(header::RANGE, value.parse().unwrap())]), 100);
        assert_eq!(range("bytes=0-"), Range::Part(0, 100));
        assert_eq!(range("bytes=10-19"), Range::Part(10, 20));
        assert_eq!(range("bytes=90-1000"), Range::Part(90, 100));
        assert_eq!(range("bytes=-10"), Range::Part(90, 100));
        assert_eq!(range("bytes=-1000"), Range::Part(0, 100));
        assert_eq!(range("bytes=100-"), Range::Outside);
        assert_eq!(range("bytes=-0"), Range::Outside);
        for whole in ["bytes=5-4", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=18446744073709551616-"] {
            assert_eq!(range(whole), Range::Whole, "{whole}");
        }
        assert_eq!(range("bytes=0-18446744073709551615"), Range::Part(0, 100));
        assert_eq!(range_of(&HeaderMap::new(), 100), Range::Whole);
    }
}
