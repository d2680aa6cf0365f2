//! The gRPC services, as routes that any HTTP server can mount.

mod action_cache;
mod admit;
mod asset;
mod byte_stream;
mod call;
mod capabilities;
mod cas;
mod chunking;
mod find;
mod health;
mod messages;
mod plain;
mod reflection;
mod tree;

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use bazel_remote_apis::build::bazel::remote::asset::v1::fetch_server::FetchServer;
use bazel_remote_apis::build::bazel::remote::asset::v1::push_server::PushServer;
use bazel_remote_apis::google::bytestream::byte_stream_server::ByteStreamServer;
use buildnet_digest::reapi::action_cache_server::ActionCacheServer;
use buildnet_digest::reapi::capabilities_server::CapabilitiesServer;
use buildnet_digest::reapi::content_addressable_storage_server::ContentAddressableStorageServer;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tower::Service;
use tower::util::MapRequest;

pub use self::admit::{Protocol, admit};
use crate::service::CacheService;

/// The caching services of REAPI, gRPC health and reflection, and nothing else. HTTP/2 without TLS (h2c) must be on where it is mounted.
pub fn router(service: CacheService) -> Router {
    let size = service.limits().max_message_bytes;
    let cas = ContentAddressableStorageServer::new(cas::Cas::new(service.clone())).max_decoding_message_size(size);
    let actions = ActionCacheServer::new(action_cache::Actions::new(service.clone())).max_decoding_message_size(size);
    let streams = byte_stream::Streams::new(service.clone());
    let assets = asset::Assets::new(service.clone());
    let router = Router::new();
    let router = mount(router, CapabilitiesServer::new(capabilities::Capabilities::new(service.clone())));
    let router = mount(router, cas);
    let router = mount(router, actions);
    let read = axum::routing::post(byte_stream::read::serve).with_state(service.clone());
    let router = router.route("/google.bytestream.ByteStream/Read", read);
    let find = axum::routing::post(find::serve).with_state(service.clone());
    let router = router.route("/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs", find);
    let write = axum::routing::post(byte_stream::write::serve).with_state(streams.clone());
    let router = router.route("/google.bytestream.ByteStream/Write", write);
    let router = mount(router, ByteStreamServer::new(streams).max_decoding_message_size(size));
    let router = mount(router, FetchServer::new(assets.clone()).max_decoding_message_size(size));
    let router = mount(router, PushServer::new(assets).max_decoding_message_size(size));
    let router = reflection::mount_on(router, service.limits().idle);
    let router = admit(router, service, Protocol::Grpc);
    // Whoever asks for health holds no token.
    mount(router, HealthServer::new(health::Health))
}

fn mount<S>(router: Router, service: S) -> Router
where
    S: Service<Request, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    mount_mapped(router, service, |request| request)
}

/// Mounts a service and changes its requests before it sees them.
fn mount_mapped<S>(
    router: Router,
    service: S,
    change: impl Fn(Request) -> Request + Clone + Send + Sync + 'static,
) -> Router
where
    S: Service<Request, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*method}}", S::NAME), MapRequest::new(service, change))
}
