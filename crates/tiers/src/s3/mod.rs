//! An object store that speaks S3 as the far side.
//!
//! Blobs lie at `PREFIX/cas/FUNCTION/hh/HASH-SIZE`, as they are; results at `PREFIX/ac/FUNCTION/hh/HASH`, the BLAKE3 of the message
//! before the message, so that a damaged one is told from a right one. `hh` are the first two digits of the hash.

mod http;
mod location;
mod multipart;
mod sweep;

use std::time::Duration;

use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::EntryKey;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use prost::Message;
use rusty_s3::{Bucket, Credentials as Keys, S3Action};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::{Receiver, Sender};

use crate::address::Credentials;
use crate::backend::Backend;
use crate::error::{BackendError, Failure};

use self::http::{Http, whole};
pub use self::location::S3Location;
pub use self::sweep::{Sweep, SweepReport};

/// Requests at once, for calls that are about many objects.
const PARALLEL: usize = 16;
/// How long a signature is good for. Requests are sent at once; clocks may differ.
const SIGNED: Duration = Duration::from_mins(15);
/// Largest object (Amazon S3, "Multipart upload limits"). In bytes.
const MAX_OBJECT: u64 = 5 << 40;
/// Blobs above this size are written in parts of it, or larger ones where they would be too many. In bytes.
const PART: u64 = 64 << 20;
/// Smallest part that stores take, except for the last. In bytes.
const MIN_PART: u64 = 5 << 20;
/// Largest result in bytes.
const MAX_RESULT: u64 = 16 << 20;
/// A blob that was written longer ago than this is written again when a result needs it, so that age tells what is in use.
const REFRESH: Duration = Duration::from_hours(7 * 24);

/// An S3 bucket, or a part of one.
pub struct S3Backend {
    location: S3Location,
    bucket: Bucket,
    keys: Option<Keys>,
    http: Http,
    /// Bytes of one part of a large blob.
    part_size: u64,
    /// Set when the bucket was found.
    found: OnceCell<()>,
}

impl std::fmt::Debug for S3Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys stay out.
        f.debug_struct("S3Backend").field("location", &self.location).finish_non_exhaustive()
    }
}

impl S3Backend {
    /// The bucket at a location. Connects when it is first needed.
    pub fn new(location: S3Location, credentials: &Credentials) -> Result<Self, BackendError> {
        let bucket = location.bucket()?;
        let keys = credentials.keys.as_ref().map(|(key, secret)| match &credentials.session {
            Some(session) => Keys::new_with_token(key, secret, session),
            None => Keys::new(key, secret),
        });
        let http = Http::new(bucket.base_url().scheme() == "https", &credentials.tls)?;
        Ok(Self { location, bucket, keys, http, part_size: PART, found: OnceCell::new() })
    }

    /// Writes blobs above this many bytes in parts of this size; 64 MiB where nothing is said, and not below the 5 MiB that stores ask for.
    #[must_use]
    pub fn with_part_size(self, bytes: u64) -> Self {
        Self { part_size: bytes.max(MIN_PART), ..self }
    }

    fn blob_key(&self, digest: &Digest) -> String {
        let (function, hex) = (digest.function().name(), digest.hex());
        self.location.key(&format!("cas/{function}/{}/{hex}-{}", &hex[..2], digest.size()))
    }

    fn result_key(&self, key: &EntryKey) -> String {
        let (function, hex) = (key.key.function().name(), key.key.hex());
        self.location.key(&format!("ac/{function}/{}/{hex}", &hex[..2]))
    }

    fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// An object as far as it is not longer than `limit`.
    async fn get(&self, key: &str, limit: u64) -> Result<Option<Bytes>, BackendError> {
        let url = self.bucket.get_object(self.keys(), key).sign(SIGNED);
        let Some(answer) = self.http.send(Method::GET, &url, http::empty(), None).await? else { return Ok(None) };
        let mut body = answer.into_body();
        let mut content = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| http::broken(&url, &error))?;
            let Ok(piece) = frame.into_data() else { continue };
            if content.len() as u64 + piece.len() as u64 > limit {
                let what = format!("{} has more content at {key} than belongs there", self.name());
                return Err(BackendError::new(Failure::Damaged, what));
            }
            content.put(piece);
        }
        Ok(Some(content.freeze()))
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), BackendError> {
        let url = self.bucket.put_object(self.keys(), key).sign(SIGNED);
        let length = content.len() as u64;
        let answer = self.http.send(Method::PUT, &url, whole(content), Some(length)).await?;
        answer.map(drop).ok_or_else(|| self.no_bucket())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        let url = self.bucket.delete_object(self.keys(), key).sign(SIGNED);
        self.http.send(Method::DELETE, &url, http::empty(), None).await.map(drop)
    }

    /// Whether a blob is there, whole, and not so old that a sweep may take it soon.
    async fn has(&self, digest: &Digest) -> Result<bool, BackendError> {
        let url = self.bucket.head_object(self.keys(), &self.blob_key(digest)).sign(SIGNED);
        let Some(answer) = self.http.send(Method::HEAD, &url, http::empty(), None).await? else { return Ok(false) };
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let size = header(hyper::header::CONTENT_LENGTH).and_then(|size| size.parse::<u64>().ok());
        let written = header(hyper::header::LAST_MODIFIED).and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        let age = written.and_then(|written| {
            let seconds = jiff::Timestamp::now().as_second() - written.timestamp().as_second();
            u64::try_from(seconds).ok().map(Duration::from_secs)
        });
        Ok(size == Some(digest.size()) && age.is_none_or(|age| age < REFRESH))
    }

    fn no_bucket(&self) -> BackendError {
        BackendError::new(Failure::Denied, format!("{} is not there", self.name()))
            .with_hint("create the bucket, or correct the address")
    }

    fn check_size(&self, digest: &Digest) -> Result<(), BackendError> {
        if digest.size() <= MAX_OBJECT {
            return Ok(());
        }
        let message = format!("{digest} is larger than the {MAX_OBJECT} bytes that {} takes", self.name());
        Err(BackendError::new(Failure::Refused, message))
    }
}

#[tonic::async_trait]
impl Backend for S3Backend {
    fn name(&self) -> String {
        self.location.to_string()
    }

    fn supports(&self, _function: DigestFunction) -> bool {
        true
    }

    /// Whether the bucket is there; who may write shows when it is written to.
    async fn writable(&self) -> Result<bool, BackendError> {
        let look = || async {
            let url = self.bucket.head_bucket(self.keys()).sign(SIGNED);
            match self.http.send(Method::HEAD, &url, http::empty(), None).await {
                Ok(None) => Err(self.no_bucket()),
                // Keys that may not ask this may be allowed to write all the same.
                Err(error) if error.failure != Failure::Denied => Err(error),
                _ => Ok(()),
            }
        };
        self.found.get_or_try_init(look).await.map(|()| true)
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, BackendError> {
        let looked = stream::iter(digests.to_vec()).map(|digest| async move { Ok((digest, self.has(&digest).await?)) });
        let looked = looked
            .buffered(PARALLEL)
            .try_filter_map(|(digest, there)| async move { Ok::<_, BackendError>((!there).then_some(digest)) });
        looked.try_collect().await
    }

    async fn read(&self, digests: &[Digest]) -> Result<Vec<(Digest, Bytes)>, BackendError> {
        let read = stream::iter(digests.to_vec()).map(|digest| async move {
            let content = match self.get(&self.blob_key(&digest), digest.size()).await {
                // Too long: the tier finds that it is not what it should be, and has it removed.
                Err(error) if error.failure == Failure::Damaged => Some(Bytes::new()),
                content => content?,
            };
            Ok::<_, BackendError>(content.map(|content| (digest, content)))
        });
        read.buffer_unordered(PARALLEL).try_filter_map(futures::future::ok).try_collect().await
    }

    async fn read_pieces(&self, digest: &Digest, pieces: Sender<Bytes>) -> Result<bool, BackendError> {
        let url = self.bucket.get_object(self.keys(), &self.blob_key(digest)).sign(SIGNED);
        let Some(answer) = self.http.send(Method::GET, &url, http::empty(), None).await? else { return Ok(false) };
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| http::broken(&url, &error))?;
            if let Ok(piece) = frame.into_data()
                && pieces.send(piece).await.is_err()
            {
                break;
            }
        }
        Ok(true)
    }

    async fn write(&self, blobs: Vec<(Digest, Bytes)>) -> Result<(), BackendError> {
        let writes = stream::iter(blobs)
            .map(|(digest, content)| async move { self.put(&self.blob_key(&digest), content).await });
        writes.buffer_unordered(PARALLEL).try_collect().await
    }

    async fn write_pieces(&self, digest: &Digest, pieces: Receiver<Bytes>) -> Result<(), BackendError> {
        self.check_size(digest)?;
        if digest.size() > self.part_size {
            return self.put_in_parts(&self.blob_key(digest), digest.size(), pieces).await;
        }
        let url = self.bucket.put_object(self.keys(), &self.blob_key(digest)).sign(SIGNED);
        let answer = self.http.send(Method::PUT, &url, http::streamed(pieces), Some(digest.size())).await?;
        answer.map(drop).ok_or_else(|| self.no_bucket())
    }

    async fn discard(&self, digest: &Digest) -> Result<(), BackendError> {
        self.delete(&self.blob_key(digest)).await
    }

    async fn result(&self, key: &EntryKey) -> Result<Option<reapi::ActionResult>, BackendError> {
        let Some(content) = self.get(&self.result_key(key), MAX_RESULT).await? else { return Ok(None) };
        let message = content
            .split_at_checked(blake3::OUT_LEN)
            .filter(|(check, message)| blake3::hash(message).as_bytes() == check)
            .and_then(|(_, message)| reapi::ActionResult::decode(message).ok());
        let damaged = || BackendError::new(Failure::Damaged, format!("{} has a damaged result", self.name()));
        message.map(Some).ok_or_else(damaged)
    }

    async fn put_result(&self, key: &EntryKey, result: &reapi::ActionResult) -> Result<(), BackendError> {
        let message = result.encode_to_vec();
        let mut content = BytesMut::with_capacity(blake3::OUT_LEN + message.len());
        content.put_slice(blake3::hash(&message).as_bytes());
        content.put_slice(&message);
        self.put(&self.result_key(key), content.freeze()).await
    }

    async fn forget(&self, key: &EntryKey) -> Result<Option<bool>, BackendError> {
        let key = self.result_key(key);
        let url = self.bucket.head_object(self.keys(), &key).sign(SIGNED);
        let there = self.http.send(Method::HEAD, &url, http::empty(), None).await?;
        if there.is_none_or(|answer| answer.status() == StatusCode::NOT_FOUND) {
            return Ok(Some(false));
        }
        self.delete(&key).await?;
        Ok(Some(true))
    }
}
