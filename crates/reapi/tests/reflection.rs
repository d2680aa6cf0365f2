//! gRPC reflection: a client that knows nothing but the address finds out what is served, and understands the answers.

mod common;

use std::time::Duration;

use buildnet_digest::reapi;
use buildnet_reapi::{CacheOptions, Limits};
use futures::StreamExt;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use reapi::capabilities_client::CapabilitiesClient;
use tonic_reflection::pb::{v1, v1alpha};

use self::common::Server;

const SERVICES: [&str; 8] = [
    "build.bazel.remote.asset.v1.Fetch",
    "build.bazel.remote.asset.v1.Push",
    "build.bazel.remote.execution.v2.ActionCache",
    "build.bazel.remote.execution.v2.Capabilities",
    "build.bazel.remote.execution.v2.ContentAddressableStorage",
    "google.bytestream.ByteStream",
    "grpc.health.v1.Health",
    "grpc.reflection.",
];

async fn ask(server: &Server, question: v1::server_reflection_request::MessageRequest) -> v1::ServerReflectionResponse {
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap()
}

#[tokio::test]
async fn both_versions_list_every_service() {
    let server = Server::start(CacheOptions::default()).await;
    let answer = ask(&server, v1::server_reflection_request::MessageRequest::ListServices(String::new())).await;
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer.message_response
    else {
        panic!("{answer:?}")
    };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    assert_eq!(names.len(), SERVICES.len(), "{names:?}");
    assert!(names.iter().zip(SERVICES).all(|(name, expected)| name.starts_with(expected)), "{names:?}");

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("{answer:?}")
    };
    assert_eq!(list.service.len(), SERVICES.len());
}

/// All files that a symbol needs, as a client collects them.
async fn pool(server: &Server, symbol: &str) -> DescriptorPool {
    use v1::server_reflection_request::MessageRequest;
    let mut files = std::collections::BTreeMap::new();
    let mut questions = vec![MessageRequest::FileContainingSymbol(symbol.into())];
    while let Some(question) = questions.pop() {
        let answer = ask(server, question).await;
        let Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(found)) =
            answer.message_response
        else {
            panic!("{answer:?}")
        };
        for bytes in found.file_descriptor_proto {
            let file = prost_types::FileDescriptorProto::decode(&bytes[..]).unwrap();
            let imports = file.dependency.clone().into_iter();
            questions.extend(imports.filter(|name| !files.contains_key(name)).map(MessageRequest::FileByFilename));
            files.insert(file.name().to_owned(), file);
        }
    }
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(files.into_values()).unwrap();
    pool
}

#[tokio::test]
async fn answers_are_understood_by_the_descriptors_alone() {
    let server = Server::start(CacheOptions::default()).await;
    let pool = pool(&server, "build.bazel.remote.execution.v2.Capabilities").await;
    let mut client = CapabilitiesClient::new(server.channel.clone());
    let answer = client.get_capabilities(reapi::GetCapabilitiesRequest::default()).await.unwrap().into_inner();
    let service = pool.get_service_by_name("build.bazel.remote.execution.v2.Capabilities").unwrap();
    let method = service.methods().find(|method| method.name() == "GetCapabilities").unwrap();
    let message = DynamicMessage::decode(method.output(), &answer.encode_to_vec()[..]).unwrap();
    let cache = message.get_field_by_name("cache_capabilities").unwrap();
    let cache = cache.as_message().unwrap();
    assert_eq!(cache.unknown_fields().count(), 0);
    assert_eq!(cache.get_field_by_name("splice_blob_support").unwrap().as_bool(), Some(true));
    let functions = cache.get_field_by_name("digest_functions").unwrap();
    assert_eq!(functions.as_list().unwrap().len(), buildnet_digest::DigestFunction::ALL.len());
    let version = message.get_field_by_name("high_api_version").unwrap();
    assert_eq!(version.as_message().unwrap().get_field_by_name("major").unwrap().as_i32(), Some(2));
}

/// The declared messages are the ones that are spoken: what one side encodes, the other understands without a rest.
#[tokio::test]
async fn the_descriptors_declare_what_is_spoken() {
    let server = Server::start(CacheOptions::default()).await;
    let pool = pool(&server, "build.bazel.remote.execution.v2.ActionCache").await;
    let digest = || Some(reapi::Digest { hash: "h".into(), size_bytes: 1 });
    let link = || vec![reapi::OutputSymlink { path: "p".into(), target: "t".into(), node_properties: None }];
    let result = reapi::ActionResult {
        output_files: vec![reapi::OutputFile {
            path: "p".into(),
            digest: digest(),
            is_executable: true,
            contents: vec![1],
            node_properties: Some(reapi::NodeProperties {
                properties: vec![reapi::NodeProperty { name: "n".into(), value: "v".into() }],
                mtime: Some(buildnet_digest::protobuf::Timestamp { seconds: 1, nanos: 2 }),
                unix_mode: None,
            }),
        }],
        output_symlinks: link(),
        output_directories: vec![reapi::OutputDirectory {
            path: "p".into(),
            tree_digest: digest(),
            is_topologically_sorted: true,
            root_directory_digest: digest(),
        }],
        exit_code: 3,
        stdout_raw: vec![1],
        stdout_digest: digest(),
        stderr_raw: vec![2],
        stderr_digest: digest(),
        execution_metadata: Some(reapi::ExecutedActionMetadata { worker: "w".into(), ..Default::default() }),
        ..Default::default()
    };
    let bytes = result.encode_to_vec();
    let descriptor = pool.get_message_by_name("build.bazel.remote.execution.v2.ActionResult").unwrap();
    let message = DynamicMessage::decode(descriptor, &bytes[..]).unwrap();
    assert_eq!(message.unknown_fields().count(), 0);
    assert_eq!(reapi::ActionResult::decode(&message.encode_to_vec()[..]).unwrap(), result);
}

#[tokio::test]
async fn a_silent_client_does_not_hold_its_slot() {
    let limits = Limits { idle: Duration::from_millis(100), max_in_flight: 1, ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() }).await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::pending()).await.unwrap().into_inner();
    assert!(answers.next().await.is_none(), "the server ends the stream");
    while server.service.in_flight().available_permits() == 0 {
        tokio::task::yield_now().await;
    }
}
