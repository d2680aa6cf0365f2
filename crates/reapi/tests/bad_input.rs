//! What clients must not get away with: the status of each kind of bad input.

mod common;

use bazel_remote_apis::google::bytestream::{QueryWriteStatusRequest, ReadRequest, WriteRequest};
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::{CacheOptions, Limits};
use bytes::Bytes;
use prost::Message;
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

fn node(name: &str, digest: &Digest) -> reapi::DirectoryNode {
    reapi::DirectoryNode { name: name.into(), digest: Some(digest.to_reapi()) }
}

/// Directories cannot contain themselves, since nobody finds such a digest; but they can say so, and they can be many by few.
#[tokio::test]
async fn trees_that_go_in_circles_or_multiply() {
    let server = Server::start(CacheOptions::default()).await;
    let function = DigestFunction::Sha256;
    // Each level refers twice to the next: 2^40 paths in 41 small directories.
    let mut blobs: Vec<(Digest, Bytes)> = Vec::new();
    let mut below: Option<Digest> = None;
    for _ in 0..41 {
        let directories = below.map(|digest| vec![node("a", &digest), node("b", &digest)]).unwrap_or_default();
        let bytes = Bytes::from(reapi::Directory { directories, ..Default::default() }.encode_to_vec());
        let digest = function.digest(&bytes);
        blobs.push((digest, bytes));
        below = Some(digest);
    }
    let root = below.unwrap();
    // A directory whose child has its own name, under another content: the digest does not match anything.
    let liar = reapi::Directory {
        directories: vec![node("self", &root), node("unknown", &function.digest(b"?"))],
        ..Default::default()
    };
    let liar = Bytes::from(liar.encode_to_vec());
    let liar = (function.digest(&liar), liar);
    server.cache("").await.write(&[&blobs[..], std::slice::from_ref(&liar)].concat()).await.unwrap();
    let count = async |digest: &Digest| {
        let request = reapi::GetTreeRequest { root_digest: Some(digest.to_reapi()), ..Default::default() };
        let mut stream = server.cas().get_tree(request).await.unwrap().into_inner();
        let mut count = 0;
        while let Some(page) = stream.message().await.unwrap() {
            count += page.directories.len();
        }
        count
    };
    assert_eq!(count(&root).await, 41, "each directory once");
    assert_eq!(count(&liar.0).await, 42, "what is missing is left out");

    // The same as the output of an action: the result is kept, and neither storing nor looking it up walks 2^40 paths.
    let mut children: Vec<reapi::Directory> =
        blobs.iter().map(|(_, bytes)| reapi::Directory::decode(bytes.clone()).unwrap()).collect();
    let tree = reapi::Tree { root: children.pop(), children };
    let circle = reapi::Directory { directories: vec![node("x", &function.digest(b"nobody"))], ..Default::default() };
    let lacking = reapi::Tree { root: Some(circle), children: vec![] };
    for (tree, found) in [(tree, true), (lacking, false)] {
        let bytes = Bytes::from(tree.encode_to_vec());
        let digest = function.digest(&bytes);
        server.cache("").await.write(&[(digest, bytes)]).await.unwrap();
        let action = function.digest(digest.hex().as_bytes()).to_reapi();
        let directory =
            reapi::OutputDirectory { path: "d".into(), tree_digest: Some(digest.to_reapi()), ..Default::default() };
        let update = reapi::UpdateActionResultRequest {
            action_digest: Some(action.clone()),
            action_result: Some(reapi::ActionResult { output_directories: vec![directory], ..Default::default() }),
            ..Default::default()
        };
        server.actions().update_action_result(update).await.unwrap();
        let get = reapi::GetActionResultRequest { action_digest: Some(action), ..Default::default() };
        let answer = server.actions().get_action_result(get).await;
        assert!(answer.is_ok() || !found, "{answer:?}");
    }
}

#[tokio::test]
async fn claims_of_a_billion_entries() {
    let server = Server::start(CacheOptions::default()).await;
    let function = DigestFunction::Sha256;
    let code = |status: Status| status.code();
    // A directory of a size that no directory has; and a message whose field says that a billion bytes follow.
    let claim = reapi::Digest { hash: function.digest(b"x").hex(), size_bytes: 1 << 30 };
    let cut = Bytes::from_static(&[0x0a, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0x0a]);
    let cut = (function.digest(&cut), cut);
    let parent = reapi::Directory {
        directories: vec![reapi::DirectoryNode { name: "huge".into(), digest: Some(claim.clone()) }],
        ..Default::default()
    };
    let parent = Bytes::from(parent.encode_to_vec());
    let parent = (function.digest(&parent), parent);
    server.cache("").await.write(&[cut.clone(), parent.clone()]).await.unwrap();
    for digest in [cut.0, parent.0] {
        let request = reapi::GetTreeRequest { root_digest: Some(digest.to_reapi()), ..Default::default() };
        let mut stream = server.cas().get_tree(request).await.unwrap().into_inner();
        assert_eq!(code(stream.message().await.unwrap_err()), Code::InvalidArgument);
    }
    // As many digests as a message can hold, and more than that.
    let digests = |count: usize| reapi::FindMissingBlobsRequest {
        blob_digests: vec![Digest::empty(function).to_reapi(); count],
        ..Default::default()
    };
    let answer = server.cas().find_missing_blobs(digests(50_000)).await.unwrap().into_inner();
    assert_eq!(answer.missing_blob_digests, []);
    assert_eq!(code(server.cas().find_missing_blobs(digests(200_000)).await.unwrap_err()), Code::OutOfRange);
    // A blob in a million chunks of which none is there.
    let splice = reapi::SpliceBlobRequest {
        blob_digest: Some(reapi::Digest { hash: function.digest(b"y").hex(), size_bytes: 1 << 30 }),
        chunk_digests: vec![reapi::Digest { hash: function.digest(b"z").hex(), size_bytes: 1 << 14 }; 1 << 16],
        ..Default::default()
    };
    assert_eq!(code(server.cas().splice_blob(splice).await.unwrap_err()), Code::NotFound);
}

/// A connection that dies in the middle of an upload, without a goodbye: the slot is free again, and the upload can go on.
#[tokio::test]
async fn half_open_connections_let_go_of_what_they_hold() {
    let limits = Limits { max_in_flight: 2, ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let (digest, bytes) = blob(10, 1000);
    let name = upload("cut", &digest);
    // A relay that is cut: the client's side says nothing more, and the server's side is reset.
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let to = server.authority.clone();
    let relayed = tokio::spawn(async move {
        let (mut client, _) = relay.accept().await.unwrap();
        let mut upstream = tokio::net::TcpStream::connect(to).await.unwrap();
        // Cut once the test drops this task.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
    });
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut streams = bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient::new(channel);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(piece(&name, 0, &bytes[..400], false)).await.unwrap();
    let writing =
        tokio::spawn(async move { streams.write(tokio_stream::wrappers::ReceiverStream::new(receiver)).await });
    let committed = async |server: &Server| {
        let query = QueryWriteStatusRequest { resource_name: name.clone() };
        server.streams().query_write_status(query).await.map(|answer| answer.into_inner().committed_size)
    };
    while committed(&server).await.ok() != Some(400) {
        tokio::task::yield_now().await;
    }
    relayed.abort();
    assert!(writing.await.unwrap().is_err());
    while server.service.in_flight().available_permits() < 2 {
        tokio::task::yield_now().await;
    }
    let here = committed(&server).await;
    let here = here.unwrap();
    let rest = piece(&name, here, &bytes[usize::try_from(here).unwrap()..], true);
    assert_eq!(write(&server, vec![rest]).await.unwrap(), 1000);
    assert_eq!(server.service.store().read(&digest).unwrap().unwrap(), bytes);
}

/// A function that is not served, or that nobody has heard of, is refused by every method that names one.
#[tokio::test]
async fn unknown_digest_functions() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(11, 100);
    server.cache("").await.write(&[(digest, bytes.clone())]).await.unwrap();
    let name = digest.to_reapi();
    for function in [reapi::digest_function::Value::Murmur3 as i32, reapi::digest_function::Value::Vso as i32, 99, -1] {
        let mut codes = Vec::new();
        let mut note = |status: Result<(), Status>| codes.push(status.err().map(|status| status.code()));
        let find = reapi::FindMissingBlobsRequest {
            blob_digests: vec![name.clone()],
            digest_function: function,
            ..Default::default()
        };
        note(server.cas().find_missing_blobs(find).await.map(drop));
        let item = Item { digest: Some(name.clone()), data: bytes.to_vec(), compressor: 0 };
        let update =
            reapi::BatchUpdateBlobsRequest { requests: vec![item], digest_function: function, ..Default::default() };
        note(server.cas().batch_update_blobs(update).await.map(drop));
        let read = reapi::BatchReadBlobsRequest {
            digests: vec![name.clone()],
            digest_function: function,
            ..Default::default()
        };
        note(server.cas().batch_read_blobs(read).await.map(drop));
        let tree =
            reapi::GetTreeRequest { root_digest: Some(name.clone()), digest_function: function, ..Default::default() };
        note(server.cas().get_tree(tree).await.map(drop));
        let split = reapi::SplitBlobRequest {
            blob_digest: Some(name.clone()),
            digest_function: function,
            ..Default::default()
        };
        note(server.cas().split_blob(split).await.map(drop));
        let get = reapi::GetActionResultRequest {
            action_digest: Some(name.clone()),
            digest_function: function,
            ..Default::default()
        };
        note(server.actions().get_action_result(get).await.map(drop));
        let put = reapi::UpdateActionResultRequest {
            action_digest: Some(name.clone()),
            action_result: Some(reapi::ActionResult::default()),
            digest_function: function,
            ..Default::default()
        };
        note(server.actions().update_action_result(put).await.map(drop));
        assert_eq!(codes, [Some(Code::InvalidArgument); 7], "{function}");
    }
}
