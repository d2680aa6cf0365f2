//! Calls as the load generator makes them: with as little work of its own as it can, since on one machine what the client
//! takes the server lacks. Requests are framed without copying large contents, and answers are looked at in place.

use std::pin::Pin;

use axum::http::{self, HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::client::{RemoteCache, RemoteError};
use crate::frame::{Frames, PREFIX};

/// `BatchUpdateBlobsRequest` (`remote_execution.proto`), its contents shared.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UpdateRequest {
    #[prost(string, tag = "1")]
    pub(super) instance_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) requests: Vec<UpdateItem>,
    #[prost(int32, tag = "5")]
    pub(super) digest_function: i32,
}

/// One blob of it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UpdateItem {
    #[prost(message, optional, tag = "1")]
    pub(super) digest: Option<buildnet_digest::reapi::Digest>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
}

/// `BatchReadBlobsResponse`, its contents shared.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) responses: Vec<ReadItem>,
}

/// One blob of it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadItem {
    #[prost(message, optional, tag = "1")]
    pub(super) digest: Option<buildnet_digest::reapi::Digest>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<bazel_remote_apis::google::rpc::Status>,
    #[prost(int32, tag = "4")]
    pub(super) compressor: i32,
}

/// A method, and what calling it means for a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    path: &'static str,
    action: &'static str,
}

impl Method {
    pub(super) const BATCH_UPDATE: Self = Self {
        path: "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
        action: "store blobs in",
    };
    pub(super) const BATCH_READ: Self = Self {
        path: "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs",
        action: "read blobs from",
    };
    pub(super) const FIND_MISSING: Self = Self {
        path: "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs",
        action: "look for blobs in",
    };
    pub(super) const WRITE: Self = Self { path: "/google.bytestream.ByteStream/Write", action: "store a blob in" };
    pub(super) const READ: Self = Self { path: "/google.bytestream.ByteStream/Read", action: "read a blob from" };
}

/// Calls a method with a request of these frames, and passes the answer's bytes on as they come.
pub(super) async fn call<I>(
    cache: &RemoteCache,
    method: Method,
    frames: I,
    mut take: impl FnMut(Bytes) -> Result<(), RemoteError>,
) -> Result<(), RemoteError>
where
    I: Iterator<Item = Bytes> + Send + Unpin + 'static,
{
    let failed = |status| cache.failed(method.action, status);
    let request = http::Request::post(method.path)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Body::new(Frames(frames)))
        .map_err(|error| failed(Status::internal(error.to_string())))?;
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| failed(Status::from_error(error));
    let response = cache.service().oneshot(request).await.map_err(|error| broken(error.into()))?;
    let (head, mut body) = response.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(failed(Status::unknown(format!("HTTP status {}", head.status))));
    }
    // An answer that is nothing but a status.
    if let Some(status) = refusal(&head.headers) {
        return Err(failed(status));
    }
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame.map_err(|status| failed(Status::from_error(status.into())))?.into_data() {
            Ok(bytes) => take(bytes)?,
            Err(frame) => {
                if let Some(status) = frame.trailers_ref().and_then(refusal) {
                    return Err(failed(status));
                }
            }
        }
    }
    Ok(())
}

fn refusal(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok)
}

/// A call with one message each way.
pub(super) async fn unary(cache: &RemoteCache, method: Method, request: Bytes) -> Result<Bytes, RemoteError> {
    let mut answer = Answer::default();
    call(cache, method, std::iter::once(request), |bytes| {
        answer.push(bytes);
        Ok(())
    })
    .await?;
    answer.message().ok_or_else(|| cache.failed(method.action, Status::internal("the answer is no gRPC message")))
}

/// The bytes of an answer, copied only when they come in several pieces.
#[derive(Default)]
struct Answer {
    first: Bytes,
    all: BytesMut,
}

impl Answer {
    fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() {
            self.first = bytes;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(announced(&self.first).unwrap_or(0));
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&bytes);
    }

    fn message(self) -> Option<Bytes> {
        let mut bytes = if self.all.is_empty() { self.first } else { self.all.freeze() };
        (bytes.first() == Some(&0) && announced(&bytes) == Some(bytes.len())).then(|| bytes.split_off(PREFIX))
    }
}

/// Length of a message with its prefix, as the prefix says. Bounded by the largest answer that is asked for.
fn announced(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(bytes.get(1..PREFIX)?.try_into().ok()?) as usize;
    (length <= 64 << 20).then_some(length + PREFIX)
}
