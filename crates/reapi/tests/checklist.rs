//! What `remote_execution.proto` asks of a cache, line by line, where no other test says it.

mod common;

use bazel_remote_apis::google::bytestream::{ReadRequest, WriteRequest};
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::{CacheOptions, Limits};
use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use reapi::capabilities_client::CapabilitiesClient;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use self::common::{Server, blob};

const SHA256: DigestFunction = DigestFunction::Sha256;

fn number(function: DigestFunction) -> i32 {
    function.to_reapi() as i32
}

fn function_segment(function: DigestFunction) -> String {
    match function {
        DigestFunction::Blake3 | DigestFunction::Sha256Tree => format!("{}/", function.name()),
        _ => String::new(),
    }
}

async fn read(server: &Server, name: String) -> Result<Vec<u8>, tonic::Status> {
    let request = ReadRequest { resource_name: name, ..Default::default() };
    let mut stream = server.streams().read(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await? {
        bytes.extend(piece.data);
    }
    Ok(bytes)
}

#[tokio::test]
async fn the_empty_blob_is_always_there_in_every_form() {
    let server = Server::start(CacheOptions::default()).await;
    for function in DigestFunction::ALL {
        let empty = Digest::empty(function);
        let find = reapi::FindMissingBlobsRequest {
            blob_digests: vec![empty.to_reapi()],
            digest_function: number(function),
            ..Default::default()
        };
        assert!(server.cas().find_missing_blobs(find).await.unwrap().into_inner().missing_blob_digests.is_empty());
        let batch = reapi::BatchReadBlobsRequest {
            digests: vec![empty.to_reapi()],
            digest_function: number(function),
            ..Default::default()
        };
        let answer = server.cas().batch_read_blobs(batch).await.unwrap().into_inner();
        assert_eq!(answer.responses[0].status.as_ref().unwrap().code, 0);
        let segment = function_segment(function);
        for compressor in ["", "zstd/", "deflate/"] {
            let kind = if compressor.is_empty() { "blobs/" } else { "compressed-blobs/" };
            let sent = read(&server, format!("{kind}{compressor}{segment}{}/0", empty.hex())).await.unwrap();
            let bytes = match compressor {
                "zstd/" => zstd::stream::decode_all(&sent[..]).unwrap(),
                "deflate/" => {
                    let mut bytes = Vec::new();
                    std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(&sent[..]), &mut bytes).unwrap();
                    bytes
                }
                _ => sent,
            };
            assert_eq!(bytes, b"", "{function} {compressor}");
        }
        let wrong = reapi::Digest { hash: function.digest(b"x").hex(), size_bytes: 0 };
        let find = reapi::FindMissingBlobsRequest {
            blob_digests: vec![wrong],
            digest_function: number(function),
            ..Default::default()
        };
        assert_eq!(server.cas().find_missing_blobs(find).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn instances_never_have_a_reserved_segment() {
    let server = Server::start(CacheOptions::default()).await;
    let mut client = CapabilitiesClient::new(server.channel.clone());
    let words =
        ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs", "", ".."];
    for word in words {
        let request = reapi::GetCapabilitiesRequest { instance_name: format!("a/{word}/b") };
        assert_eq!(client.get_capabilities(request).await.unwrap_err().code(), Code::InvalidArgument, "{word}");
    }
}

#[tokio::test]
async fn blobs_above_the_advertised_size_are_refused_on_every_way_in() {
    let limits = Limits { max_blob_bytes: 1000, ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let mut client = CapabilitiesClient::new(server.channel.clone());
    let answer = client.get_capabilities(reapi::GetCapabilitiesRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.cache_capabilities.unwrap().max_cas_blob_size_bytes, 1000);
    let ((good, good_bytes), (large, large_bytes)) = (blob(1, 1000), blob(2, 1001));
    let item = |digest: &Digest, bytes: &Bytes| reapi::batch_update_blobs_request::Request {
        digest: Some(digest.to_reapi()),
        data: bytes.to_vec(),
        compressor: 0,
    };
    let requests = vec![item(&good, &good_bytes), item(&large, &large_bytes)];
    let request = reapi::BatchUpdateBlobsRequest { requests, ..Default::default() };
    let answer = server.cas().batch_update_blobs(request).await.unwrap().into_inner();
    let codes: Vec<i32> = answer.responses.iter().map(|item| item.status.as_ref().unwrap().code).collect();
    assert_eq!(codes, [0, Code::InvalidArgument as i32]);
    let write = WriteRequest {
        resource_name: format!("uploads/u/blobs/{}/1001", large.hex()),
        finish_write: true,
        data: large_bytes.to_vec(),
        ..Default::default()
    };
    let status = server.streams().write(futures::stream::iter([write])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let splice = reapi::SpliceBlobRequest {
        blob_digest: Some(SHA256.digest(&[&good_bytes[..], &good_bytes[..]].concat()).to_reapi()),
        chunk_digests: vec![good.to_reapi(), good.to_reapi()],
        ..Default::default()
    };
    assert_eq!(server.cas().splice_blob(splice).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_upload_ends_early_when_somebody_else_finished_the_blob() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(3, 200_000);
    let name = |id: &str| format!("uploads/{id}/blobs/{}/200000", digest.hex());
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut streams = server.streams();
    let slow = tokio::spawn(async move { streams.write(tokio_stream::wrappers::ReceiverStream::new(receiver)).await });
    let piece = |id: &str, offset: usize, length: usize, finish| WriteRequest {
        resource_name: name(id),
        write_offset: i64::try_from(offset).unwrap(),
        finish_write: finish,
        data: bytes[offset..offset + length].to_vec(),
    };
    sender.send(piece("slow", 0, 10, false)).await.unwrap();
    // Another client uploads the same meanwhile.
    let whole = vec![piece("fast", 0, 100_000, false), piece("fast", 100_000, 100_000, true)];
    server.streams().write(futures::stream::iter(whole)).await.unwrap();
    let mut offset = 10;
    while offset < 190_000 && sender.send(piece("slow", offset, 10, false)).await.is_ok() {
        offset += 10;
    }
    assert!(offset < 190_000, "the server took nearly all of a blob that it had");
    assert_eq!(slow.await.unwrap().unwrap().into_inner().committed_size, 200_000);
}

#[tokio::test]
async fn the_header_with_the_resource_name_must_match() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(4, 100);
    server.cache("").await.write(&[(digest, bytes)]).await.unwrap();
    let name = format!("blobs/{}/100", digest.hex());
    for (header, good) in [(name.as_str(), true), ("blobs/other/1", false)] {
        let mut request = Request::new(ReadRequest { resource_name: name.clone(), ..Default::default() });
        let header = MetadataValue::try_from(header).unwrap();
        request.metadata_mut().insert("build.bazel.remote.execution.v2.resource-name", header);
        let answer = server.streams().read(request).await;
        assert_eq!(answer.map(drop).map_err(|status| status.code()).err(), (!good).then_some(Code::InvalidArgument));
    }
}

#[tokio::test]
async fn subtrees_that_are_not_there_are_left_out() {
    let server = Server::start(CacheOptions::default()).await;
    let child = reapi::Directory::default().encode_to_vec();
    let absent = SHA256.digest(b"a directory that nobody uploaded");
    let node = |name: &str, digest: Digest| reapi::DirectoryNode { name: name.into(), digest: Some(digest.to_reapi()) };
    let root = reapi::Directory {
        directories: vec![node("absent", absent), node("empty", SHA256.digest(&child))],
        ..Default::default()
    };
    let bytes = root.encode_to_vec();
    let digest = SHA256.digest(&bytes);
    server.cache("").await.write(&[(digest, bytes.into())]).await.unwrap();
    let request = reapi::GetTreeRequest { root_digest: Some(digest.to_reapi()), ..Default::default() };
    let mut stream = server.cas().get_tree(request).await.unwrap().into_inner();
    let page = stream.message().await.unwrap().unwrap();
    assert_eq!(page.directories, [root, reapi::Directory::default()]);
    assert_eq!(stream.message().await.unwrap(), None);
    let bad = reapi::GetTreeRequest { root_digest: Some(digest.to_reapi()), page_size: -1, ..Default::default() };
    assert_eq!(server.cas().get_tree(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn splicing_names_what_is_missing_and_takes_any_function() {
    let server = Server::start(CacheOptions::default()).await;
    for function in DigestFunction::ALL {
        let parts = [blob(5, 3000).1, blob(6, 4000).1];
        let chunks: Vec<(Digest, Bytes)> = parts.iter().map(|bytes| (function.digest(bytes), bytes.clone())).collect();
        let whole = function.digest(&parts.concat());
        let splice = reapi::SpliceBlobRequest {
            blob_digest: Some(whole.to_reapi()),
            chunk_digests: chunks.iter().map(|(digest, _)| digest.to_reapi()).collect(),
            digest_function: number(function),
            chunking_function: 0,
            ..Default::default()
        };
        assert_eq!(server.cas().splice_blob(splice.clone()).await.unwrap_err().code(), Code::NotFound);
        server.cache("").await.write(&chunks).await.unwrap();
        let answer = server.cas().splice_blob(splice.clone()).await.unwrap().into_inner();
        assert_eq!(answer.blob_digest, Some(whole.to_reapi()));
        server.cas().splice_blob(splice).await.expect("the same again changes nothing");
        let split = reapi::SplitBlobRequest {
            blob_digest: Some(whole.to_reapi()),
            digest_function: number(function),
            ..Default::default()
        };
        let answer = server.cas().split_blob(split).await.unwrap().into_inner();
        assert_eq!(answer.chunk_digests.len(), 2, "as the client cut it");
        assert_eq!(answer.chunking_function, 0);
    }
    let no_digest = reapi::SpliceBlobRequest::default();
    assert_eq!(server.cas().splice_blob(no_digest).await.unwrap_err().code(), Code::InvalidArgument);
}

/// A result whose output tree, output directory, standard output and error all lie in the cache, and what of it to leave out.
#[tokio::test]
async fn results_are_there_only_while_everything_in_them_is() {
    let file = blob(7, 100);
    let files = vec![reapi::FileNode { name: "f".into(), digest: Some(file.0.to_reapi()), ..Default::default() }];
    let child = reapi::Directory { files, ..Default::default() };
    let child_bytes = Bytes::from(child.encode_to_vec());
    let child_digest = SHA256.digest(&child_bytes);
    let node = reapi::DirectoryNode { name: "d".into(), digest: Some(child_digest.to_reapi()) };
    let root = reapi::Directory { directories: vec![node], ..Default::default() };
    let root_bytes = Bytes::from(root.encode_to_vec());
    let root_digest = SHA256.digest(&root_bytes);
    let tree = Bytes::from(reapi::Tree { root: Some(root), children: vec![child] }.encode_to_vec());
    let tree = (SHA256.digest(&tree), tree);
    let (out, err) = (blob(8, 50), blob(9, 60));
    let directory = |tree: Option<Digest>, root: Option<Digest>| reapi::OutputDirectory {
        path: "dir".into(),
        tree_digest: tree.map(|digest| digest.to_reapi()),
        root_directory_digest: root.map(|digest| digest.to_reapi()),
        ..Default::default()
    };
    let all =
        [file.clone(), (child_digest, child_bytes), (root_digest, root_bytes), tree.clone(), out.clone(), err.clone()];
    let results = [
        (directory(Some(tree.0), None), vec![tree.0, file.0, out.0, err.0]),
        (directory(None, Some(root_digest)), vec![root_digest, child_digest, file.0, out.0, err.0]),
    ];
    for (number, (directory, needed)) in results.into_iter().enumerate() {
        for left_out in std::iter::once(None).chain(needed.into_iter().map(Some)) {
            let server = Server::start(CacheOptions::default()).await;
            let blobs: Vec<_> = all.iter().filter(|(digest, _)| Some(*digest) != left_out).cloned().collect();
            server.cache("").await.write(&blobs).await.unwrap();
            let action = SHA256.digest(b"action").to_reapi();
            let update = reapi::UpdateActionResultRequest {
                action_digest: Some(action.clone()),
                action_result: Some(reapi::ActionResult {
                    output_directories: vec![directory.clone()],
                    stdout_digest: Some(out.0.to_reapi()),
                    stderr_digest: Some(err.0.to_reapi()),
                    ..Default::default()
                }),
                results_cache_policy: Some(reapi::ResultsCachePolicy { priority: 3 }),
                ..Default::default()
            };
            // What the result names itself is asked for at once; what lies deeper makes it a miss.
            let stored = server.actions().update_action_result(update).await.map(drop);
            let get = reapi::GetActionResultRequest { action_digest: Some(action), ..Default::default() };
            let found = server.actions().get_action_result(get).await.map(drop).map_err(|status| status.code());
            assert_eq!(found, if left_out.is_none() { Ok(()) } else { Err(Code::NotFound) }, "{number} {left_out:?}");
            if let Err(status) = stored {
                assert_eq!(status.code(), Code::FailedPrecondition);
                let subject = format!("blobs/{}/{}", left_out.unwrap().hex(), left_out.unwrap().size());
                let details = String::from_utf8_lossy(status.details()).into_owned();
                assert!(details.contains("MISSING") && details.contains(&subject), "{details}");
            }
        }
    }
}

#[tokio::test]
async fn contents_are_inlined_when_asked_and_as_far_as_they_fit() {
    let server = Server::start(CacheOptions::default()).await;
    let (small, large, out, err) = (blob(10, 100), blob(11, 5 << 20), blob(12, 50), blob(13, 60));
    let blobs = [small.clone(), large.clone(), out.clone(), err.clone()];
    server.cache("").await.write(&blobs).await.unwrap();
    let file = |path: &str, digest: &Digest| reapi::OutputFile {
        path: path.into(),
        digest: Some(digest.to_reapi()),
        ..Default::default()
    };
    let action = SHA256.digest(b"action").to_reapi();
    let update = reapi::UpdateActionResultRequest {
        action_digest: Some(action.clone()),
        action_result: Some(reapi::ActionResult {
            output_files: vec![file("small", &small.0), file("large", &large.0)],
            stdout_digest: Some(out.0.to_reapi()),
            stderr_digest: Some(err.0.to_reapi()),
            ..Default::default()
        }),
        ..Default::default()
    };
    server.actions().update_action_result(update).await.unwrap();
    let plain = reapi::GetActionResultRequest { action_digest: Some(action), ..Default::default() };
    let result = server.actions().get_action_result(plain.clone()).await.unwrap().into_inner();
    assert!(result.stdout_raw.is_empty() && result.stderr_raw.is_empty());
    assert!(result.output_files.iter().all(|file| file.contents.is_empty()));
    let hinted = reapi::GetActionResultRequest {
        inline_stdout: true,
        inline_stderr: true,
        inline_output_files: vec!["small".into(), "large".into()],
        ..plain
    };
    let result = server.actions().get_action_result(hinted).await.unwrap().into_inner();
    assert_eq!((result.stdout_raw, result.stderr_raw), (out.1.to_vec(), err.1.to_vec()));
    assert_eq!(result.output_files[0].contents, small.1);
    assert!(result.output_files[1].contents.is_empty(), "the answer would not fit into a message");
}

#[tokio::test]
async fn who_asked_is_recorded() {
    let server = Server::start(CacheOptions::default()).await;
    let metadata = reapi::RequestMetadata {
        tool_details: Some(reapi::ToolDetails { tool_name: "bazel".into(), tool_version: "7.1.0".into() }),
        tool_invocation_id: "run-1".into(),
        correlated_invocations_id: "job-9".into(),
        ..Default::default()
    };
    let header = MetadataValue::from_bytes(&metadata.encode_to_vec());
    let with_header = |request: reapi::UpdateActionResultRequest| {
        let mut request = Request::new(request);
        request.metadata_mut().insert_bin("build.bazel.remote.execution.v2.requestmetadata-bin", header.clone());
        request
    };
    let update = reapi::UpdateActionResultRequest {
        instance_name: "main".into(),
        action_digest: Some(SHA256.digest(b"action").to_reapi()),
        action_result: Some(reapi::ActionResult::default()),
        ..Default::default()
    };
    server.actions().update_action_result(with_header(update)).await.unwrap();
    let runs = server.service.metrics().invocations().list();
    assert_eq!(runs.len(), 1);
    let source = &runs[0].source;
    assert_eq!(
        [&source.tool, &source.version, &source.invocation, &source.correlated],
        ["bazel", "7.1.0", "run-1", "job-9"]
    );
    assert_eq!((runs[0].instance.as_str(), runs[0].requests), ("main", 1));
    assert!(server.service.metrics().render().contains("client=\"bazel\""));
    let notes = server.notes();
    for text in ["bazel", "7.1.0", "run-1", "job-9"] {
        assert!(notes.contains(text), "{notes}");
    }
}

#[tokio::test]
async fn health_knows_every_service() {
    let server = Server::start(CacheOptions::default()).await;
    let mut health = HealthClient::new(server.channel.clone());
    for service in [
        "",
        "build.bazel.remote.execution.v2.ContentAddressableStorage",
        "build.bazel.remote.execution.v2.ActionCache",
        "build.bazel.remote.execution.v2.Capabilities",
        "build.bazel.remote.asset.v1.Fetch",
        "build.bazel.remote.asset.v1.Push",
        "google.bytestream.ByteStream",
    ] {
        let request = HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request.clone()).await.unwrap().into_inner().status, 1, "{service}");
        let mut watch = health.watch(request).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status, 1, "{service}");
    }
}

#[tokio::test]
async fn uploads_of_one_blob_may_run_at_once_in_any_form() {
    let server = Server::start(CacheOptions::default()).await;
    let (digest, bytes) = blob(14, 600_000);
    let shrunk = zstd::bulk::compress(&bytes, 1).unwrap();
    let write = |id: usize| {
        let (kind, data): (&str, &[u8]) =
            if id.is_multiple_of(2) { ("blobs", &bytes) } else { ("compressed-blobs/zstd", &shrunk) };
        let name = format!("uploads/{id}/{kind}/{}/600000", digest.hex());
        let pieces: Vec<WriteRequest> = data
            .chunks(50_000)
            .enumerate()
            .map(|(number, piece)| WriteRequest {
                resource_name: name.clone(),
                write_offset: i64::try_from(number * 50_000).unwrap(),
                finish_write: (number + 1) * 50_000 >= data.len(),
                data: piece.to_vec(),
            })
            .collect();
        let mut streams = server.streams();
        async move { streams.write(futures::stream::iter(pieces)).await.map(|answer| answer.into_inner().committed_size) }
    };
    let sizes = futures::future::join_all((0..8).map(write)).await;
    for (id, size) in sizes.into_iter().enumerate() {
        let size = size.unwrap();
        let sent = i64::try_from(shrunk.len()).unwrap();
        assert!(if id % 2 == 0 { size == 600_000 } else { size == -1 || size == sent }, "{id}: {size}");
    }
    assert_eq!(server.service.store().read(&digest).unwrap().unwrap(), bytes);
}

/// Priorities are not offered (`cache_priority_capabilities`), so any is taken and makes no difference.
#[tokio::test]
async fn priorities_are_not_offered_and_do_no_harm() {
    let server = Server::start(CacheOptions::default()).await;
    let request = reapi::GetCapabilitiesRequest::default();
    let answer = CapabilitiesClient::new(server.channel.clone()).get_capabilities(request).await.unwrap().into_inner();
    assert_eq!(answer.cache_capabilities.unwrap().cache_priority_capabilities, None);
    for priority in [i32::MIN, -1, 0, 7, i32::MAX] {
        let action = SHA256.digest(&priority.to_le_bytes());
        let result = reapi::ActionResult { exit_code: priority, ..Default::default() };
        let update = reapi::UpdateActionResultRequest {
            action_digest: Some(action.to_reapi()),
            action_result: Some(result.clone()),
            results_cache_policy: Some(reapi::ResultsCachePolicy { priority }),
            ..Default::default()
        };
        assert_eq!(server.actions().update_action_result(update).await.unwrap().into_inner(), result);
    }
}

/// A server that is told to takes results of actions alone that it knows with their commands.
#[tokio::test]
async fn actions_and_commands_can_be_demanded() {
    let server = Server::start(CacheOptions { demand_actions: true, ..CacheOptions::default() }).await;
    let cache = server.cache("").await;
    let message = |message: Vec<u8>| {
        let bytes = Bytes::from(message);
        (SHA256.digest(&bytes), bytes)
    };
    let command = reapi::Command { arguments: vec!["true".into()], ..Default::default() };
    let (command, command_bytes) = message(command.encode_to_vec());
    let action = reapi::Action { command_digest: Some(command.to_reapi()), ..Default::default() };
    let (action, action_bytes) = message(action.encode_to_vec());
    let update = async |action: Digest| {
        let update = reapi::UpdateActionResultRequest {
            action_digest: Some(action.to_reapi()),
            action_result: Some(reapi::ActionResult::default()),
            ..Default::default()
        };
        server.actions().update_action_result(update).await.map(drop)
    };
    let named = |status: tonic::Status| {
        assert_eq!(status.code(), Code::FailedPrecondition);
        status.message().to_owned()
    };
    assert!(named(update(action).await.unwrap_err()).contains(&action.hex()));
    cache.write(&[(action, action_bytes)]).await.unwrap();
    assert!(named(update(action).await.unwrap_err()).contains(&command.hex()));
    cache.write(&[(command, command_bytes)]).await.unwrap();
    update(action).await.unwrap();
    // moon keeps a list of its own under the action's digest.
    let (other, bytes) = message(br#"{"task": "lib:build"}"#.to_vec());
    cache.write(&[(other, bytes)]).await.unwrap();
    update(other).await.unwrap();
}
