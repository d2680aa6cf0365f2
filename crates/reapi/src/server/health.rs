//! `grpc.health.v1.Health`: the server serves as long as it answers.

use bazel_remote_apis::build::bazel::remote::asset::v1::{fetch_server, push_server};
use bazel_remote_apis::google::bytestream::byte_stream_server;
use buildnet_digest::reapi::{action_cache_server, capabilities_server, content_addressable_storage_server};
use futures::stream::{BoxStream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as Service;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

pub(super) struct Health;

const SERVICES: [&str; 7] = [
    "",
    action_cache_server::SERVICE_NAME,
    byte_stream_server::SERVICE_NAME,
    capabilities_server::SERVICE_NAME,
    content_addressable_storage_server::SERVICE_NAME,
    fetch_server::SERVICE_NAME,
    push_server::SERVICE_NAME,
];

#[tonic::async_trait]
impl Service for Health {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if SERVICES.contains(&request.get_ref().service.as_str()) {
            Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving as i32 }))
        } else {
            Err(Status::not_found("no such service"))
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = SERVICES.contains(&request.get_ref().service.as_str());
        let status = if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        let first = futures::stream::iter([Ok(HealthCheckResponse { status: status as i32 })]);
        // The state never changes while the server runs, so the stream stays open and silent.
        Ok(Response::new(first.chain(futures::stream::pending()).boxed()))
    }
}
