//! Calls as the load generator makes them: with as little work of its own as it can, since on one machine what the client
//! takes the server lacks. Requests are framed without copying large contents, and answers are looked at in place.

use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use prost::Message;
use tonic::Status;

use super::link::Link;
use crate::frame::PREFIX;

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
    pub(super) path: &'static str,
    pub(super) action: &'static str,
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
    pub(super) const PUT_ACTION: Self = Self {
        path: "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
        action: "store an action's result in",
    };
    pub(super) const GET_ACTION: Self =
        Self { path: "/build.bazel.remote.execution.v2.ActionCache/GetActionResult", action: "look an action up in" };
    pub(super) const WRITE: Self = Self { path: "/google.bytestream.ByteStream/Write", action: "store a blob in" };
    pub(super) const READ: Self = Self { path: "/google.bytestream.ByteStream/Read", action: "read a blob from" };
}

/// Calls the method at `path` with a request of these frames, and passes the answer's bytes on as they come.
pub(super) async fn call(
    link: &Link,
    path: &'static str,
    frames: impl IntoIterator<Item = Bytes>,
    mut take: impl FnMut(Bytes),
) -> Result<(), Status> {
    let broken = |error: h2::Error| Status::from_error(error.into());
    let mut sender = link.sender().ready().await.map_err(broken)?;
    let (answer, mut stream) = sender.send_request(link.request(path), false).map_err(broken)?;
    let mut frames = frames.into_iter().peekable();
    while let Some(frame) = frames.next() {
        // Nothing is copied: what the server's window does not take yet waits here as well as anywhere.
        stream.send_data(frame, frames.peek().is_none()).map_err(broken)?;
    }
    let (head, mut body) = answer.await.map_err(broken)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(Status::unknown(format!("HTTP status {}", head.status)));
    }
    // An answer that is nothing but a status.
    if let Some(status) = refusal(&head.headers) {
        return Err(status);
    }
    while let Some(bytes) = body.data().await {
        let bytes = bytes.map_err(broken)?;
        body.flow_control().release_capacity(bytes.len()).map_err(broken)?;
        take(bytes);
    }
    match body.trailers().await.map_err(broken)?.as_ref().and_then(refusal) {
        Some(status) => Err(status),
        None => Ok(()),
    }
}

fn refusal(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok)
}

/// A call with one message each way.
pub(super) async fn unary(link: &Link, method: Method, request: Bytes) -> Result<Bytes, Status> {
    let mut answer = Answer::default();
    call(link, method.path, [request], |bytes| answer.push(bytes)).await?;
    answer.message().ok_or_else(|| Status::internal("the answer is no gRPC message"))
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
