//! What a client does with the cache, over real gRPC.

mod common;

use std::collections::HashMap;

use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::{Access, CacheOptions, RemoteCache, RemoteError, Role};
use bytes::Bytes;
use prost::Message;
use reapi::capabilities_client::CapabilitiesClient;
use tonic::Code;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use self::common::{Server, blob};

#[tokio::test]
async fn blobs_of_all_sizes_and_functions_come_back() {
    let server = Server::start(CacheOptions::default()).await;
    for instance in ["", "main"] {
        let cache = server.cache(instance).await;
        for function in DigestFunction::ALL {
            assert!(cache.supports(function));
            let blobs: Vec<(Digest, Bytes)> = [0, 1, 100, 5_000, 300_000, 3_000_000, 9_000_000]
                .into_iter()
                .map(|length| blob(7 + function as u32, length).1)
                .map(|bytes| (function.digest(&bytes), bytes))
                .collect();
            let digests: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
            let missing = cache.find_missing(&digests).await.unwrap();
            assert_eq!(missing.len(), if instance.is_empty() { 6 } else { 0 }, "the empty blob is always there");
            cache.write(&blobs).await.unwrap();
            assert_eq!(cache.find_missing(&digests).await.unwrap(), []);
            let read = cache.read(&digests).await.unwrap();
            assert_eq!(read, blobs.into_iter().collect::<HashMap<_, _>>());
        }
    }
}

#[tokio::test]
async fn results_are_kept_by_instance_and_only_while_complete() {
    let server = Server::start(CacheOptions::default()).await;
    let (main, pull) = (server.cache("main").await, server.cache("pr/9").await);
    let action = DigestFunction::Sha256.digest(b"an action");
    let (digest, bytes) = blob(1, 2000);
    let result = reapi::ActionResult {
        output_files: vec![reapi::OutputFile {
            path: "out".into(),
            digest: Some(digest.to_reapi()),
            ..Default::default()
        }],
        exit_code: 0,
        ..Default::default()
    };
    let error = main.put_action_result(&action, &result).await.unwrap_err();
    let RemoteError::Call { status, .. } = error else { panic!("{error}") };
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("MISSING") && details.contains(&format!("blobs/{}/2000", digest.hex())), "{details}");

    main.write(&[(digest, bytes.clone())]).await.unwrap();
    main.put_action_result(&action, &result).await.unwrap();
    assert_eq!(main.action_result(&action).await.unwrap(), Some(result.clone()));
    assert_eq!(pull.action_result(&action).await.unwrap(), Some(result.clone()), "the instance below is read");
    assert_eq!(server.cache("").await.action_result(&action).await.unwrap(), None);

    let other = reapi::ActionResult { exit_code: 3, ..Default::default() };
    pull.put_action_result(&action, &other).await.unwrap();
    assert_eq!(pull.action_result(&action).await.unwrap(), Some(other));
    assert_eq!(main.action_result(&action).await.unwrap(), Some(result.clone()), "and never written");

    let request = reapi::GetActionResultRequest {
        instance_name: "main".into(),
        action_digest: Some(action.to_reapi()),
        inline_output_files: vec!["out".into()],
        ..Default::default()
    };
    let inlined = server.actions().get_action_result(request).await.unwrap().into_inner();
    assert_eq!(inlined.output_files[0].contents, bytes);
}

#[tokio::test]
async fn trees_come_in_pages() {
    let server = Server::start(CacheOptions::default()).await;
    let cache = server.cache("").await;
    let function = DigestFunction::Sha256;
    let mut blobs = Vec::new();
    let mut put = |directory: &reapi::Directory| {
        let bytes = Bytes::from(directory.encode_to_vec());
        let digest = function.digest(&bytes);
        blobs.push((digest, bytes));
        digest
    };
    let node = |name: String, digest: &Digest| reapi::DirectoryNode { name, digest: Some(digest.to_reapi()) };
    let mut root = reapi::Directory::default();
    for number in 0..25 {
        let file = reapi::FileNode {
            name: format!("f{number}"),
            digest: Some(Digest::empty(function).to_reapi()),
            ..Default::default()
        };
        let child = put(&reapi::Directory { files: vec![file], ..Default::default() });
        root.directories.push(node(format!("d{number:02}"), &child));
        root.directories.push(node(format!("e{number:02}"), &child));
    }
    root.directories.push(node("gone".into(), &function.digest(b"never stored")));
    let root_digest = put(&root);
    cache.write(&blobs).await.unwrap();
    let get = |page_token: String| {
        let request = reapi::GetTreeRequest {
            root_digest: Some(root_digest.to_reapi()),
            page_size: 10,
            page_token,
            ..Default::default()
        };
        let mut cas = server.cas();
        async move {
            let mut stream = cas.get_tree(request).await?.into_inner();
            let mut pages = Vec::new();
            while let Some(page) = stream.message().await? {
                pages.push(page);
            }
            Ok::<_, tonic::Status>(pages)
        }
    };
    let pages = get(String::new()).await.unwrap();
    assert_eq!(pages.iter().map(|page| page.directories.len()).collect::<Vec<_>>(), [10, 10, 6]);
    assert_eq!(pages[0].directories[0], root);
    let rest = get(pages[0].next_page_token.clone()).await.unwrap();
    assert_eq!(rest, pages[1..]);
    assert_eq!(get("x".into()).await.unwrap_err().code(), Code::InvalidArgument);

    let absent =
        reapi::GetTreeRequest { root_digest: Some(function.digest(b"absent").to_reapi()), ..Default::default() };
    assert_eq!(server.cas().get_tree(absent).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn blobs_are_split_and_spliced() {
    let server = Server::start(CacheOptions::default()).await;
    let cache = server.cache("").await;
    let (digest, bytes) = blob(3, 6_000_000);
    let split = reapi::SplitBlobRequest { blob_digest: Some(digest.to_reapi()), ..Default::default() };
    assert_eq!(server.cas().split_blob(split.clone()).await.unwrap_err().code(), Code::NotFound);
    cache.write(&[(digest, bytes.clone())]).await.unwrap();
    let answer = server.cas().split_blob(split.clone()).await.unwrap().into_inner();
    assert_eq!(answer.chunking_function, reapi::chunking_function::Value::FastCdc2020 as i32);
    assert_eq!(server.cas().split_blob(split).await.unwrap().into_inner(), answer, "remembered");
    let chunks: Vec<Digest> =
        answer.chunk_digests.iter().map(|chunk| Digest::from_reapi(DigestFunction::Sha256, chunk).unwrap()).collect();
    assert!(chunks.len() >= 3 && chunks.iter().all(|chunk| chunk.size() <= 2 << 20));
    let read = cache.read(&chunks).await.unwrap();
    let joined: Vec<u8> = chunks.iter().flat_map(|chunk| read[chunk].clone()).collect();
    assert_eq!(joined, bytes);

    // Two of the chunks make a blob that was never sent.
    let part: Vec<u8> = chunks[..2].iter().flat_map(|chunk| read[chunk].clone()).collect();
    let part = DigestFunction::Sha256.digest(&part);
    let splice = |digest: &Digest, chunks: &[Digest]| reapi::SpliceBlobRequest {
        blob_digest: Some(digest.to_reapi()),
        chunk_digests: chunks.iter().map(Digest::to_reapi).collect(),
        ..Default::default()
    };
    let wrong = splice(&part, &[chunks[1], chunks[0]]);
    assert_eq!(server.cas().splice_blob(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    let absent = splice(&part, &[DigestFunction::Sha256.digest(b"x"), chunks[0]]);
    assert_eq!(server.cas().splice_blob(absent).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(cache.find_missing(&[part]).await.unwrap(), [part]);
    server.cas().splice_blob(splice(&part, &chunks[..2])).await.unwrap();
    assert_eq!(cache.find_missing(&[part]).await.unwrap(), []);
    let otherwise = splice(&part, &[part]);
    assert_eq!(server.cas().splice_blob(otherwise).await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test]
async fn capabilities_and_health() {
    let server = Server::start(CacheOptions::default()).await;
    let mut client = CapabilitiesClient::new(server.channel.clone());
    let request = reapi::GetCapabilitiesRequest { instance_name: "main".into() };
    let answer = client.get_capabilities(request).await.unwrap().into_inner();
    insta::assert_debug_snapshot!(answer);
    let bad = reapi::GetCapabilitiesRequest { instance_name: "a/../b".into() };
    assert_eq!(client.get_capabilities(bad).await.unwrap_err().code(), Code::InvalidArgument);
    let mut health = HealthClient::new(server.channel.clone());
    let check = |service: &str| HealthCheckRequest { service: service.into() };
    let answer = health.check(check("google.bytestream.ByteStream")).await.unwrap().into_inner();
    assert_eq!(answer.status, ServingStatus::Serving as i32);
    assert_eq!(health.check(check("nothing")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn tokens_decide() {
    let tokens = "ci write 0123456789abcdef-ci main,pr\nreader read 0123456789abcdef-re\n";
    let access = Access::parse(tokens, None).unwrap();
    let server = Server::start(CacheOptions { access, ..CacheOptions::default() }).await;
    let connect = async |instance: &str, token: Option<&str>| {
        RemoteCache::connect(&format!("grpc://{}/{instance}", server.authority), token).await
    };
    let code = |error: RemoteError| match error {
        RemoteError::Call { status, .. } => status.code(),
        other => panic!("{other}"),
    };
    assert_eq!(code(connect("main", None).await.unwrap_err()), Code::Unauthenticated);
    assert_eq!(code(connect("main", Some("nonsense")).await.unwrap_err()), Code::Unauthenticated);
    assert_eq!(code(connect("prod", Some("0123456789abcdef-ci")).await.unwrap_err()), Code::PermissionDenied);
    let writer = connect("main", Some("0123456789abcdef-ci")).await.unwrap();
    let reader = connect("main", Some("0123456789abcdef-re")).await.unwrap();
    assert!(writer.is_writable() && !reader.is_writable());
    let blobs = [blob(1, 10), blob(2, 5_000_000)];
    for blob in &blobs {
        assert_eq!(code(reader.write(std::slice::from_ref(blob)).await.unwrap_err()), Code::PermissionDenied);
    }
    writer.write(&blobs).await.unwrap();
    assert_eq!(reader.read(&[blobs[0].0, blobs[1].0]).await.unwrap().len(), 2);
    let action = DigestFunction::Sha256.digest(b"poisoned");
    let result = reapi::ActionResult { exit_code: 1, ..Default::default() };
    assert_eq!(code(reader.put_action_result(&action, &result).await.unwrap_err()), Code::PermissionDenied);
    writer.put_action_result(&action, &result).await.unwrap();
    assert_eq!(server.service.purge_by_writer("ci").unwrap(), 1);
    assert_eq!(reader.action_result(&action).await.unwrap(), None);
    assert_eq!(Role::Admin.max(Role::Read), Role::Admin);
}
