//! Remote Asset: what was pushed can be fetched.

mod common;

use bazel_remote_apis::build::bazel::remote::asset::v1::fetch_client::FetchClient;
use bazel_remote_apis::build::bazel::remote::asset::v1::push_client::PushClient;
use bazel_remote_apis::build::bazel::remote::asset::v1::{
    FetchBlobRequest, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest, Qualifier,
};
use buildnet_digest::protobuf::Timestamp;
use buildnet_digest::{DigestFunction, reapi};
use buildnet_reapi::CacheOptions;
use prost::Message;
use tonic::Code;

use self::common::{Server, blob};

fn qualifier(name: &str, value: &str) -> Qualifier {
    Qualifier { name: name.into(), value: value.into() }
}

#[tokio::test]
async fn blobs_by_uri_and_qualifiers() {
    let server = Server::start(CacheOptions::default()).await;
    let (mut push, mut fetch) = (PushClient::new(server.channel.clone()), FetchClient::new(server.channel.clone()));
    let (digest, bytes) = blob(1, 3000);
    let request = PushBlobRequest {
        instance_name: "main".into(),
        uris: vec!["https://example.com/a.tar".into(), "https://mirror.example.com/a.tar".into()],
        qualifiers: vec![qualifier("vcs.branch", "b"), qualifier("vcs.commit", "1")],
        blob_digest: Some(digest.to_reapi()),
        ..Default::default()
    };
    assert_eq!(push.push_blob(request.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    server.cache("main").await.write(&[(digest, bytes)]).await.unwrap();
    push.push_blob(request.clone()).await.unwrap();

    let wanted = |instance: &str, uri: &str, qualifiers: Vec<Qualifier>| FetchBlobRequest {
        instance_name: instance.into(),
        uris: vec!["https://nowhere.example.com/".into(), uri.into()],
        qualifiers,
        ..Default::default()
    };
    let both = vec![qualifier("vcs.commit", "1"), qualifier("vcs.branch", "b")];
    let uri = "https://mirror.example.com/a.tar";
    let found = fetch.fetch_blob(wanted("pr/1", uri, both.clone())).await.unwrap().into_inner();
    assert_eq!((found.uri.as_str(), found.blob_digest), (uri, Some(digest.to_reapi())));
    assert_eq!(found.status.unwrap().code, 0);
    let code = |status: tonic::Status| status.code();
    assert_eq!(code(fetch.fetch_blob(wanted("", uri, both.clone())).await.unwrap_err()), Code::NotFound);
    let branch = vec![qualifier("vcs.branch", "b")];
    assert_eq!(code(fetch.fetch_blob(wanted("main", uri, branch)).await.unwrap_err()), Code::NotFound);
    let status = fetch.fetch_blob(wanted("main", uri, vec![qualifier("odd", "x")])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("qualifiers.name") && details.contains("\"odd\" not supported"), "{details}");
    let none = FetchBlobRequest::default();
    assert_eq!(code(fetch.fetch_blob(none).await.unwrap_err()), Code::InvalidArgument);

    // What has expired, or is older than the client accepts, is not there.
    let newer = FetchBlobRequest {
        oldest_content_accepted: Some(Timestamp { seconds: i64::MAX / 2, nanos: 0 }),
        ..wanted("main", uri, both.clone())
    };
    assert_eq!(code(fetch.fetch_blob(newer).await.unwrap_err()), Code::NotFound);
    let expired = PushBlobRequest { expire_at: Some(Timestamp { seconds: 1, nanos: 0 }), ..request };
    push.push_blob(expired).await.unwrap();
    assert_eq!(code(fetch.fetch_blob(wanted("main", uri, both)).await.unwrap_err()), Code::NotFound);
}

#[tokio::test]
async fn directories_only_while_all_their_files_are_there() {
    let server = Server::start(CacheOptions::default()).await;
    let (mut push, mut fetch) = (PushClient::new(server.channel.clone()), FetchClient::new(server.channel.clone()));
    let file = blob(2, 100);
    let node = reapi::FileNode { name: "f".into(), digest: Some(file.0.to_reapi()), ..Default::default() };
    let root = reapi::Directory { files: vec![node], ..Default::default() }.encode_to_vec();
    let digest = DigestFunction::Sha256.digest(&root);
    let cache = server.cache("").await;
    cache.write(&[(digest, root.into())]).await.unwrap();
    let uris = vec!["urn:tree".to_owned()];
    let request = PushDirectoryRequest {
        uris: uris.clone(),
        root_directory_digest: Some(digest.to_reapi()),
        ..Default::default()
    };
    push.push_directory(request).await.unwrap();
    let wanted = FetchDirectoryRequest { uris, ..Default::default() };
    assert_eq!(fetch.fetch_directory(wanted.clone()).await.unwrap_err().code(), Code::NotFound);
    cache.write(&[file]).await.unwrap();
    let found = fetch.fetch_directory(wanted).await.unwrap().into_inner();
    assert_eq!(found.root_directory_digest, Some(digest.to_reapi()));
}
