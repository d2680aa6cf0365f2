//! Clients that stall, and more requests than there are slots.

mod common;

use std::time::Duration;

use bazel_remote_apis::google::bytestream::{QueryWriteStatusRequest, WriteRequest};
use buildnet_digest::reapi;
use buildnet_reapi::{CacheOptions, Limits};
use futures::StreamExt;
use tonic::Code;

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
