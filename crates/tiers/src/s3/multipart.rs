//! Large objects, in parts: one that fails does not cost all, and no request is larger than stores take.
//!
//! Parts go one after the other, each straight from the pieces as they come, so that nothing is kept in memory. The object is there only
//! when all parts are; an upload that ends otherwise is aborted, since stores keep its parts, and charge for them, until then.

use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::ETAG;
use rusty_s3::S3Action;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use tokio::sync::mpsc::{self, Receiver};

use super::http::{self, empty, streamed, whole};
use super::{S3Backend, SIGNED};
use crate::error::{BackendError, Failure};

/// Most parts of an object (Amazon S3, "Multipart upload limits").
const MAX_PARTS: u64 = 10_000;
/// Most bytes of a store's answer that are read.
const MAX_ANSWER: usize = 64 << 10;

/// An upload that has begun. Aborted when it goes without having been completed, also when whoever waited for it gave up.
struct Upload<'a> {
    backend: &'a S3Backend,
    key: &'a str,
    id: Option<String>,
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let url = self.backend.bucket.abort_multipart_upload(self.backend.keys(), self.key, &id).sign(SIGNED);
        let (http, name) = (self.backend.http.clone(), self.backend.location.to_string());
        let aborting = async move {
            if let Err(error) = http.send(Method::DELETE, &url, empty(), None).await {
                tracing::warn!(
                    "an upload in parts to {name} is left there, until a rule of the bucket removes it: {error}"
                );
            }
        };
        // Without a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(aborting);
        }
    }
}

impl S3Backend {
    /// Stores an object of `size` bytes. When the pieces end early nothing is stored.
    pub(super) async fn put_in_parts(
        &self,
        key: &str,
        size: u64,
        mut pieces: Receiver<Bytes>,
    ) -> Result<(), BackendError> {
        let part_size = self.part_size.max(size.div_ceil(MAX_PARTS));
        let url = self.bucket.create_multipart_upload(self.keys(), key).sign(SIGNED);
        let text = self.told(Method::POST, &url, Bytes::new()).await?;
        let begun = CreateMultipartUpload::parse_response(&text).map_err(|error| self.strange(&error))?;
        let mut upload = Upload { backend: self, key, id: Some(begun.upload_id().to_owned()) };
        let mut tags = Vec::new();
        let (mut sent, mut rest) = (0, Bytes::new());
        while sent < size {
            // At most `MAX_PARTS`, by the size of each.
            let number = u16::try_from(tags.len() + 1).unwrap_or(u16::MAX);
            let length = part_size.min(size - sent);
            tags.push(self.put_part(key, begun.upload_id(), number, length, &mut pieces, &mut rest).await?);
            sent += length;
        }
        let completion =
            self.bucket.complete_multipart_upload(self.keys(), key, begun.upload_id(), tags.iter().map(String::as_str));
        let (url, body) = (completion.sign(SIGNED), completion.body());
        let text = self.told(Method::POST, &url, body.into()).await?;
        // A failure may come after the status.
        CompleteMultipartUploadResponse::parse(&text).map_err(|error| self.strange(&error))?;
        upload.id = None;
        Ok(())
    }

    /// Sends one part; its tag. `rest` is what was taken from the pieces and belongs to the next.
    async fn put_part(
        &self,
        key: &str,
        id: &str,
        number: u16,
        length: u64,
        pieces: &mut Receiver<Bytes>,
        rest: &mut Bytes,
    ) -> Result<String, BackendError> {
        let url = self.bucket.upload_part(self.keys(), key, number, id).sign(SIGNED);
        let (sender, content) = mpsc::channel(4);
        // Owns the sender: when it ends, so does the part.
        let feeding = async move {
            let mut left = length;
            while left > 0 {
                if rest.is_empty() {
                    match pieces.recv().await {
                        Some(piece) => *rest = piece,
                        None => return false,
                    }
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                left -= take as u64;
                if sender.send(rest.split_to(take)).await.is_err() {
                    // The store has answered before it had everything: what it says counts.
                    return true;
                }
            }
            true
        };
        let sending = self.http.send(Method::PUT, &url, streamed(content), Some(length));
        futures::pin_mut!(feeding, sending);
        let answer = match select(feeding, sending).await {
            Either::Left((false, _)) => {
                return Err(BackendError::new(Failure::Local, "the blob ended before it was sent"));
            }
            Either::Left((true, sending)) => sending.await,
            Either::Right((answer, _)) => answer,
        };
        let answer = answer?.ok_or_else(|| self.no_bucket())?;
        let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        tag.ok_or_else(|| self.strange(&"a part without a tag"))
    }

    /// Sends a request whose answer is a text.
    async fn told(&self, method: Method, url: &(impl AsRef<str> + Sync), body: Bytes) -> Result<String, BackendError> {
        let length = body.len() as u64;
        let answer = self.http.send(method, url, whole(body), Some(length)).await?.ok_or_else(|| self.no_bucket())?;
        let body = http_body_util::Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| http::broken(url, &*error))?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn strange(&self, what: &dyn std::fmt::Display) -> BackendError {
        let message = format!("{} answers in a way that is not understood: {what}", self.location);
        BackendError::new(Failure::Unreachable, message)
    }
}
