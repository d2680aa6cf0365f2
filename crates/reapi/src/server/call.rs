//! What all calls have in common: who calls, what is counted.

use std::time::Instant;

use buildnet_digest::reapi;
use prost::Message;
use tonic::{Code, Request, Response, Status};

use crate::access::{Identity, Role};
use crate::metrics::{Outcome, Sample};
use crate::service::CacheService;
use crate::status::from_cache;

/// Header with the serialised `RequestMetadata` (`remote_execution.proto`).
const REQUEST_METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";
/// Longest name of a client that is kept, in characters.
const MAX_CLIENT: usize = 64;

/// One call from its arrival to its answer.
pub(super) struct Call {
    service: CacheService,
    identity: Option<Identity>,
    client: String,
    operation: &'static str,
    started: Instant,
    instance: String,
    /// How it ends when it succeeds.
    pub(super) outcome: Outcome,
    /// Bytes of content received.
    pub(super) received: u64,
    /// Bytes of content sent.
    pub(super) sent: u64,
}

impl Call {
    pub(super) fn open<T>(service: &CacheService, operation: &'static str, request: &Request<T>) -> Self {
        Self {
            service: service.clone(),
            identity: request.extensions().get::<Identity>().cloned(),
            client: client_of(request),
            operation,
            started: Instant::now(),
            instance: String::new(),
            outcome: Outcome::Done,
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn service(&self) -> &CacheService {
        &self.service
    }

    /// Checks the instance and what the caller may do in it.
    pub(super) fn allow(&mut self, instance: &str, role: Role) -> Result<Identity, Status> {
        let identity = self.service.authorize(self.identity.as_ref(), instance, role);
        let identity = identity.map_err(|error| from_cache(&error))?;
        instance.clone_into(&mut self.instance);
        Ok(identity)
    }

    /// Counts the call and makes its answer.
    pub(super) fn close<T>(&self, result: Result<T, Status>) -> Result<Response<T>, Status> {
        let outcome = match &result {
            Ok(_) => self.outcome,
            Err(status) if status.code() == Code::NotFound => Outcome::Miss,
            Err(_) => Outcome::Failed,
        };
        self.service.metrics().record(&Sample {
            protocol: "grpc",
            operation: self.operation,
            instance: &self.instance,
            client: &self.client,
            outcome,
            received: self.received,
            sent: self.sent,
            latency: self.started.elapsed(),
        });
        result.map(Response::new)
    }
}

/// The tool as it calls itself: by request metadata, else by the first product of its user agent.
fn client_of<T>(request: &Request<T>) -> String {
    let metadata = request.metadata();
    let tool = metadata
        .get_bin(REQUEST_METADATA)
        .and_then(|value| value.to_bytes().ok())
        .and_then(|bytes| reapi::RequestMetadata::decode(bytes).ok())
        .and_then(|metadata| metadata.tool_details)
        .map(|tool| tool.tool_name)
        .filter(|name| !name.is_empty());
    let agent = || metadata.get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
    let name = tool.unwrap_or_else(|| agent().split(['/', ' ']).next().unwrap_or("unknown").to_owned());
    name.chars().take(MAX_CLIENT).collect()
}
