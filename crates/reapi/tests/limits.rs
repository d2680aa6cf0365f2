//! Clients that stall, and more requests than there are slots.

mod common;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use bazel_remote_apis::google::bytestream::{QueryWriteStatusRequest, WriteRequest};
use bazel_remote_apis::google::rpc;
use buildnet_digest::reapi;
use buildnet_reapi::{CacheOptions, Limits};
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tower::ServiceExt as _;

use self::common::{Server, blob};

#[tokio::test]
async fn a_stalled_upload_is_dropped_and_can_be_resumed() {
    let limits = Limits { idle: Duration::from_millis(100), ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let (digest, bytes) = blob(1, 1000);
    let name = format!("uploads/u/blobs/{}/1000", digest.hex());
    let first = WriteRequest { resource_name: name.clone(), data: bytes[..400].to_vec(), ..Default::default() };
    let stalled = futures::stream::iter([first]).chain(futures::stream::pending());
    assert_eq!(server.streams().write(stalled).await.unwrap_err().code(), Code::DeadlineExceeded);
    let query = QueryWriteStatusRequest { resource_name: name.clone() };
    let answer = server.streams().query_write_status(query).await.unwrap().into_inner();
    assert_eq!((answer.committed_size, answer.complete), (400, false));
    let rest = WriteRequest { resource_name: name, write_offset: 400, finish_write: true, data: bytes[400..].to_vec() };
    let answer = server.streams().write(futures::stream::iter([rest])).await.unwrap().into_inner();
    assert_eq!(answer.committed_size, 1000);
    assert_eq!(server.service.store().read(&digest).unwrap().unwrap(), bytes);
}

#[tokio::test]
async fn without_a_free_slot_a_request_is_refused_at_once() {
    let limits = Limits { max_in_flight: 1, idle: Duration::from_mins(10), ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let (digest, bytes) = blob(1, 1000);
    let name = format!("uploads/u/blobs/{}/1000", digest.hex());
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let first = WriteRequest { resource_name: name, data: bytes[..400].to_vec(), ..Default::default() };
    sender.send(first).await.unwrap();
    let mut streams = server.streams();
    let upload =
        tokio::spawn(async move { streams.write(tokio_stream::wrappers::ReceiverStream::new(receiver)).await });
    while server.service.in_flight().available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let find = reapi::FindMissingBlobsRequest { blob_digests: vec![digest.to_reapi()], ..Default::default() };
    let refused = server.cas().find_missing_blobs(find.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = rpc::Status::decode(refused.details()).unwrap().details;
    assert_eq!(details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    // One message with a delay of one second: field 1 of `RetryInfo`, field 1 of `Duration`.
    assert_eq!(details[0].value, [0x0a, 2, 0x08, 1]);
    let last =
        WriteRequest { write_offset: 400, finish_write: true, data: bytes[400..].to_vec(), ..Default::default() };
    sender.send(last).await.unwrap();
    drop(sender);
    assert_eq!(upload.await.unwrap().unwrap().into_inner().committed_size, 1000);
    // The slot is free once the answer is sent, which may be a moment after it was read.
    while server.service.in_flight().available_permits() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(server.cas().find_missing_blobs(find).await.unwrap().into_inner().missing_blob_digests.is_empty());
}

/// The prefix of a gRPC message of so many bytes, and the first of them.
fn beginning(length: u32) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[0; 10]);
    bytes.into()
}

/// A request whose message is announced and not sent, through the router: it ends when the sender is dropped.
fn announce(router: &Router, length: u32) -> (mpsc::Sender<Bytes>, JoinHandle<Response<Body>>) {
    let (sender, receiver) = mpsc::channel(1);
    sender.try_send(beginning(length)).unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver).map(Ok::<_, std::io::Error>);
    let request = Request::post("/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs")
        .header("content-type", "application/grpc")
        .body(Body::from_stream(stream))
        .unwrap();
    let router = router.clone();
    (sender, tokio::spawn(async move { router.oneshot(request).await.unwrap() }))
}

#[tokio::test]
async fn messages_share_one_budget_and_wait_for_room() {
    let limits = Limits { max_receiving_bytes: 1 << 20, ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let router = buildnet_reapi::router(server.service.clone());
    // Takes most of the budget, and sends nothing of what it announced.
    let (greedy, refused) = announce(&router, 900 << 10);
    while server.service.receiving() < 900 << 10 {
        tokio::task::yield_now().await;
    }
    let (digest, bytes) = blob(1, 200 << 10);
    let cache = server.cache("").await;
    let blobs = [(digest, bytes.clone())];
    let mut waiting = Box::pin(cache.write_batch(&blobs));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err(), "there is no room");
    assert!(!server.service.store().contains(&digest).unwrap());
    drop(greedy);
    waiting.await.unwrap();
    assert_eq!(server.service.store().read(&digest).unwrap().unwrap(), bytes);
    let refused = refused.await.unwrap();
    assert_eq!(Status::from_header_map(refused.headers()).unwrap().code(), Code::Internal, "it was cut short");
    // A stream of many messages takes only one at a time.
    let (large, content) = blob(3, 5 << 20);
    cache.write_stream(&large, content).await.unwrap();
    drop(cache);
    while server.service.receiving() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_waits_for_room_for_too_long_is_told_to_come_again() {
    let limits = Limits { max_receiving_bytes: 1 << 20, idle: Duration::from_secs(2), ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let router = buildnet_reapi::router(server.service.clone());
    // Each byte buys its client a little more time.
    let (greedy, _held) = announce(&router, 1 << 20);
    while server.service.receiving() < 1 << 20 {
        tokio::task::yield_now().await;
    }
    let (_late, refused) = announce(&router, 600 << 10);
    let feeding = tokio::spawn(async move {
        while greedy.send(Bytes::from(vec![0; 8 << 10])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let refused = refused.await.unwrap();
    feeding.abort();
    let status = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = String::from_utf8_lossy(status.details());
    assert!(details.contains("google.rpc.RetryInfo"), "{details}");
}

/// A client that is never silent for as long as is allowed, and never done: neither with small messages nor with one that trickles.
#[tokio::test]
async fn a_byte_now_and_then_is_cut() {
    const IDLE: Duration = Duration::from_millis(600);
    let limits = Limits { idle: IDLE, min_rate: 1 << 20, ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let (digest, bytes) = blob(1, 100_000);
    let name = format!("uploads/u/blobs/{}/100000", digest.hex());
    let drip = futures::stream::unfold(0, move |at: usize| {
        let (name, data) = (name.clone(), bytes[at..=at].to_vec());
        async move {
            tokio::time::sleep(IDLE / 10).await;
            let offset = i64::try_from(at).unwrap();
            Some((WriteRequest { resource_name: name, write_offset: offset, data, finish_write: false }, at + 1))
        }
    });
    let cut = server.streams().write(drip).await.unwrap_err();
    assert_eq!((cut.code(), cut.message()), (Code::DeadlineExceeded, "the client is too slow"));

    // A message of a unary call, byte by byte.
    let (digest, bytes) = blob(2, 100_000);
    let item = reapi::batch_update_blobs_request::Request {
        digest: Some(digest.to_reapi()),
        data: bytes.to_vec(),
        ..Default::default()
    };
    let message = reapi::BatchUpdateBlobsRequest { requests: vec![item], ..Default::default() }.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(&message);
    let drip = futures::stream::iter(frame).then(|byte| async move {
        tokio::time::sleep(IDLE / 10).await;
        Ok::<_, std::io::Error>(Bytes::from(vec![byte]))
    });
    let wire = TokioIo::new(tokio::net::TcpStream::connect(&server.authority).await.unwrap());
    let (mut calls, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), wire).await.unwrap();
    let connection = tokio::spawn(connection);
    let service = "build.bazel.remote.execution.v2.ContentAddressableStorage";
    let call = axum::http::Request::post(format!("http://cache/{service}/BatchUpdateBlobs"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(axum::body::Body::from_stream(drip));
    let answer = calls.send_request(call.unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status")).unwrap();
    assert_eq!(status, "4", "{head:?} {trailers:?}");
    assert!(server.service.store().read(&digest).unwrap().is_none());
    while server.service.in_flight().available_permits() < Limits::default().max_in_flight {
        tokio::task::yield_now().await;
    }
    connection.abort();
}
