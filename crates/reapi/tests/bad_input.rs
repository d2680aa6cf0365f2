//! What clients must not get away with: the status of each kind of bad input.

mod common;

use bazel_remote_apis::google::bytestream::{QueryWriteStatusRequest, ReadRequest, WriteRequest};
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::CacheOptions;
use bytes::Bytes;
use reapi::batch_update_blobs_request::Request as Item;
use tonic::{Code, Status};

use self::common::{Server, blob};

fn piece(name: &str, offset: i64, data: &[u8], finish: bool) -> WriteRequest {
    WriteRequest { resource_name: name.into(), write_offset: offset, finish_write: finish, data: data.to_vec() }
}

fn upload(id: &str, digest: &Digest) -> String {
    format!("uploads/{id}/blobs/{}/{}", digest.hex(), digest.size())
}

async fn write(server: &Server, pieces: Vec<WriteRequest>) -> Result<i64, Status> {
    let answer = server.streams().write(futures::stream::iter(pieces)).await?;
    Ok(answer.into_inner().committed_size)
}

async fn read(server: &Server, name: &str, offset: i64, limit: i64) -> Result<Vec<u8>, Status> {
    let request = ReadRequest { resource_name: name.into(), read_offset: offset, read_limit: limit };
    let mut stream = server.streams().read(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await? {
        bytes.extend(piece.data);
    }
    Ok(bytes)
}

#[tokio::test]
async fn batches() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(1, 1000);
    let item = |digest: &Digest, data: &[u8], compressor: i32| Item {
        digest: Some(digest.to_reapi()),
        data: data.to_vec(),
        compressor,
    };
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
    let wrong_size = Digest::new(DigestFunction::Sha256, digest.hash(), 999);
    let requests = vec![
        item(&digest, b"other content", 0),
        item(&wrong_size, &bytes, 0),
        item(&digest, &bomb, 1),
        item(&digest, b"not zstd at all", 1),
        item(&digest, &bytes, 77),
        Item::default(),
        item(&digest, &bytes, 0),
    ];
    let request = reapi::BatchUpdateBlobsRequest { requests, ..Default::default() };
    let answer = server.cas().batch_update_blobs(request).await.unwrap().into_inner();
    let codes: Vec<i32> = answer.responses.iter().map(|item| item.status.as_ref().unwrap().code).collect();
    let bad = Code::InvalidArgument as i32;
    assert_eq!(codes, [bad, bad, bad, bad, bad, bad, Code::Ok as i32]);

    let claim = reapi::Digest { hash: digest.hex(), size_bytes: 5 << 20 };
    let request = reapi::BatchReadBlobsRequest { digests: vec![claim], ..Default::default() };
    assert_eq!(server.cas().batch_read_blobs(request).await.unwrap_err().code(), Code::InvalidArgument);
    let requests = (0..5).map(|seed| blob(seed, 1 << 20)).map(|(digest, bytes)| item(&digest, &bytes, 0)).collect();
    let request = reapi::BatchUpdateBlobsRequest { requests, ..Default::default() };
    assert_eq!(server.cas().batch_update_blobs(request).await.unwrap_err().code(), Code::InvalidArgument);

    for (hash, size, function) in
        [("zz", 1, 0), (&*digest.hex().to_uppercase(), 1, 0), (&*digest.hex(), -1, 0), (&*digest.hex(), 1, 77)]
    {
        let request = reapi::FindMissingBlobsRequest {
            blob_digests: vec![reapi::Digest { hash: hash.into(), size_bytes: size }],
            digest_function: function,
            ..Default::default()
        };
        let status = server.cas().find_missing_blobs(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{hash} {size} {function}");
    }
}

#[tokio::test]
async fn writes() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(2, 100_000);
    let name = upload("a", &digest);
    let (first, second) = bytes.split_at(40_000);
    let code = |result: Result<i64, Status>| result.unwrap_err().code();
    let cases = [
        ("empty stream", vec![]),
        ("no name", vec![piece("", 0, &bytes, true)]),
        ("traversal", vec![piece(&format!("../../{name}"), 0, &bytes, true)]),
        ("reserved", vec![piece(&format!("blobs/{name}"), 0, &bytes, true)]),
        ("unknown function", vec![piece(&name.replace("blobs/", "blobs/murmur3/"), 0, &bytes, true)]),
        ("negative offset", vec![piece(&name, -1, &bytes, true)]),
        ("offset of nothing", vec![piece(&name, 10, &bytes, true)]),
        ("gap", vec![piece(&name, 0, first, false), piece("", 50_000, second, true)]),
        ("overlap", vec![piece(&name, 0, first, false), piece("", 0, second, true)]),
        ("other name", vec![piece(&name, 0, first, false), piece(&upload("b", &digest), 40_000, second, true)]),
        ("truncated", vec![piece(&name, 0, first, true)]),
        ("too long", vec![piece(&name, 0, &bytes, false), piece("", 100_000, b"x", true)]),
        ("wrong bytes", vec![piece(&name, 0, second, false), piece("", 60_000, first, true)]),
        ("wrong whole", vec![piece(&upload("c", &blob(3, 100_000).0), 0, &bytes, true)]),
        (
            "after the end",
            vec![piece(&name, 0, first, false), piece("", 40_000, second, true), piece("", 100_000, b"", false)],
        ),
    ];
    for (what, pieces) in cases {
        assert_eq!(code(write(&server, pieces).await), Code::InvalidArgument, "{what}");
        assert!(!server.service.store().contains(&digest).unwrap(), "{what} left the blob behind");
    }
    let bomb = zstd::bulk::compress(&vec![0; 1 << 24], 3).unwrap();
    let compressed = name.replace("blobs/", "compressed-blobs/zstd/");
    assert_eq!(code(write(&server, vec![piece(&compressed, 0, &bomb, true)]).await), Code::InvalidArgument);
    let huge = upload("h", &Digest::new(DigestFunction::Sha256, digest.hash(), 1 << 39));
    assert_eq!(code(write(&server, vec![piece(&huge, 0, &bytes, false)]).await), Code::InvalidArgument);
}

#[tokio::test]
async fn interrupted_writes_go_on_where_they_stopped() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(4, 3_000_000);
    let query = async |name: &str| {
        let request = QueryWriteStatusRequest { resource_name: name.into() };
        server.streams().query_write_status(request).await.map(|answer| {
            let answer = answer.into_inner();
            (answer.committed_size, answer.complete)
        })
    };
    let name = upload("r", &digest);
    assert_eq!(query(&name).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(write(&server, vec![piece(&name, 0, &bytes[..1_000_000], false)]).await.unwrap(), 1_000_000);
    assert_eq!(query(&name).await.unwrap(), (1_000_000, false));
    let wrong = vec![piece(&name, 5, &bytes[5..], true)];
    assert_eq!(write(&server, wrong).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(write(&server, vec![piece(&name, 1_000_000, &bytes[1_000_000..], true)]).await.unwrap(), 3_000_000);
    assert_eq!(query(&name).await.unwrap(), (3_000_000, true));
    assert_eq!(server.service.store().read(&digest).unwrap().unwrap(), bytes);

    // Who comes late is told at once that the blob is there.
    assert_eq!(write(&server, vec![piece(&upload("s", &digest), 0, &bytes[..10], false)]).await.unwrap(), 3_000_000);
    let compressed = upload("t", &digest).replace("blobs/", "compressed-blobs/zstd/");
    assert_eq!(write(&server, vec![piece(&compressed, 0, b"", false)]).await.unwrap(), -1);

    // Compressed uploads count compressed bytes.
    let (digest, bytes) = blob(5, 400_000);
    let shrunk = zstd::bulk::compress(&bytes, 3).unwrap();
    let name = upload("u", &digest).replace("blobs/", "compressed-blobs/zstd/");
    let (first, second) = shrunk.split_at(shrunk.len() / 2);
    let half = i64::try_from(first.len()).unwrap();
    let in_two = vec![piece(&name, 0, first, false), piece("", half, second, false)];
    assert!(write(&server, in_two).await.unwrap() > 0, "compressed pieces count as they were sent");
    // A new stream says where in the blob it goes on, brings a compressed stream of the rest, and counts on from there.
    let size = i64::try_from(bytes.len()).unwrap();
    assert_eq!(query(&name).await.unwrap(), (size, false), "all of it is here, but nobody said that this is the end");
    let name = name.replace("uploads/u/", "uploads/v/");
    let committed = write(&server, vec![piece(&name, 0, first, false)]).await.unwrap();
    assert!(committed > size / 5 && committed < size, "{committed} of {size}");
    assert_eq!(query(&name).await.unwrap(), (committed, false));
    let rest = zstd::bulk::compress(&bytes[usize::try_from(committed).unwrap()..], 3).unwrap();
    let (first, second) = rest.split_at(rest.len() / 2);
    let then = committed + i64::try_from(first.len()).unwrap();
    let end = committed + i64::try_from(rest.len()).unwrap();
    assert_eq!(write(&server, vec![piece(&name, half, first, false)]).await.unwrap_err().code(), Code::InvalidArgument);
    let pieces = vec![piece(&name, committed, first, false), piece("", then, second, true)];
    assert_eq!(write(&server, pieces).await.unwrap(), end);
    assert_eq!(server.service.store().read(&digest).unwrap().unwrap(), bytes);
}

#[tokio::test]
async fn reads() {
    let server = Server::start(CacheOptions::default()).await;
    let small = blob(6, 1000);
    let large = blob(7, 1_000_000);
    server.cache("").await.write(&[small.clone(), large.clone()]).await.unwrap();
    let code = |result: Result<Vec<u8>, Status>| result.unwrap_err().code();
    for (digest, bytes) in [small, large] {
        let size = i64::try_from(digest.size()).unwrap();
        let name = format!("blobs/{}/{size}", digest.hex());
        assert_eq!(read(&server, &name, 0, 0).await.unwrap(), bytes);
        assert_eq!(read(&server, &name, 10, 100).await.unwrap(), bytes[10..110]);
        assert_eq!(read(&server, &name, size - 5, 100).await.unwrap(), bytes[bytes.len() - 5..]);
        assert_eq!(read(&server, &name, size, 0).await.unwrap(), b"");
        assert_eq!(code(read(&server, &name, size + 1, 0).await), Code::OutOfRange);
        assert_eq!(code(read(&server, &name, -1, 0).await), Code::OutOfRange);
        assert_eq!(code(read(&server, &name, 0, -1).await), Code::InvalidArgument);
        let zstd = format!("compressed-{}", name.replace("blobs/", "blobs/zstd/"));
        assert_eq!(code(read(&server, &zstd, 0, 10).await), Code::InvalidArgument);
        let sent = read(&server, &zstd, 500, 0).await.unwrap();
        assert_eq!(zstd::stream::decode_all(&sent[..]).unwrap(), bytes[500..]);
        let deflate = format!("compressed-{}", name.replace("blobs/", "blobs/deflate/"));
        let sent = read(&server, &deflate, 0, 0).await.unwrap();
        let mut decoder = flate2::read::DeflateDecoder::new(&sent[..]);
        let mut expanded = Vec::new();
        std::io::Read::read_to_end(&mut decoder, &mut expanded).unwrap();
        assert_eq!(Bytes::from(expanded), bytes);
    }
    let (absent, _) = blob(8, 10);
    assert_eq!(code(read(&server, &format!("blobs/{}/10", absent.hex()), 0, 0).await), Code::NotFound);
    assert_eq!(code(read(&server, "blobs/../../etc/passwd/1", 0, 0).await), Code::InvalidArgument);
    let empty = Digest::empty(DigestFunction::Sha256);
    assert_eq!(read(&server, &format!("blobs/{}/0", empty.hex()), 0, 0).await.unwrap(), b"");
}

#[tokio::test]
async fn a_tree_that_is_none_or_claims_too_much() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(9, 5000);
    server.cache("").await.write(&[(digest, bytes)]).await.unwrap();
    let get = async |digest: reapi::Digest| {
        let request = reapi::GetTreeRequest { root_digest: Some(digest), ..Default::default() };
        let mut stream = server.cas().get_tree(request).await?.into_inner();
        stream.message().await
    };
    assert_eq!(get(digest.to_reapi()).await.unwrap_err().code(), Code::InvalidArgument);
    let claim = reapi::Digest { hash: digest.hex(), size_bytes: 1 << 39 };
    assert_eq!(get(claim).await.unwrap_err().code(), Code::NotFound);
    let result = reapi::ActionResult {
        output_files: vec![reapi::OutputFile { path: "x".into(), ..Default::default() }],
        ..Default::default()
    };
    let request = reapi::UpdateActionResultRequest {
        action_digest: Some(digest.to_reapi()),
        action_result: Some(result),
        ..Default::default()
    };
    assert_eq!(server.actions().update_action_result(request).await.unwrap_err().code(), Code::InvalidArgument);
}
