//! What all calls have in common: who calls, what is counted.

use std::time::Instant;

use buildnet_digest::{Digest, reapi};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use crate::access::{Identity, Role};
use crate::metrics::{Outcome, Sample};
use crate::service::CacheService;
use crate::source::RequestSource;
use crate::status::from_cache;

/// Header with the serialised `RequestMetadata` (`remote_execution.proto`).
const REQUEST_METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";
/// Header that repeats the resource name of a ByteStream request (`remote_execution.proto`, service `ContentAddressableStorage`).
const RESOURCE_NAME: &str = "build.bazel.remote.execution.v2.resource-name";

/// One call from its arrival to its answer.
pub(super) struct Call {
    service: CacheService,
    identity: Option<Identity>,
    source: RequestSource,
    resource_name: Option<String>,
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
        let name = request.metadata().get(RESOURCE_NAME);
        Self {
            service: service.clone(),
            identity: request.extensions().get::<Identity>().cloned(),
            source: source_of(request.metadata()),
            // A value that is no text matches no name.
            resource_name: name.map(|name| name.to_str().unwrap_or_default().to_owned()),
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

    /// What sent the request.
    pub(super) fn source(&self) -> &RequestSource {
        &self.source
    }

    /// Checks the instance and what the caller may do in it.
    pub(super) fn allow(&mut self, instance: &str, role: Role) -> Result<Identity, Status> {
        let identity = self.service.authorize(self.identity.as_ref(), instance, role);
        let identity = identity.map_err(|error| from_cache(&error))?;
        instance.clone_into(&mut self.instance);
        Ok(identity)
    }

    /// Refuses blobs that are larger than the cache takes.
    pub(super) fn check_size(&self, digest: &Digest) -> Result<(), Status> {
        self.service.check_size(digest).map_err(|error| from_cache(&error))
    }

    /// Checks that the header with the resource name, if there is one, says what the request says: proxies route by it.
    pub(super) fn check_name(&self, name: &str) -> Result<(), Status> {
        match &self.resource_name {
            Some(header) if header != name => {
                Err(Status::invalid_argument(format!("the header {RESOURCE_NAME} names another resource")))
            }
            _ => Ok(()),
        }
    }

    /// Counts the call and makes its answer.
    pub(super) fn close<T>(&self, result: Result<T, Status>) -> Result<Response<T>, Status> {
        let outcome = match &result {
            Ok(_) => self.outcome,
            Err(status) if status.code() == Code::NotFound => Outcome::Miss,
            Err(_) => Outcome::Failed,
        };
        let sample = Sample {
            protocol: "grpc",
            operation: self.operation,
            instance: &self.instance,
            client: &self.source.tool,
            outcome,
            received: self.received,
            sent: self.sent,
            latency: self.started.elapsed(),
        };
        self.service.metrics().record(&sample);
        self.service.metrics().invocations().record(&sample, &self.source);
        result.map(Response::new)
    }
}

/// The tool as it calls itself: by request metadata, else by the first product of its user agent.
fn source_of(metadata: &MetadataMap) -> RequestSource {
    let given = metadata
        .get_bin(REQUEST_METADATA)
        .and_then(|value| value.to_bytes().ok())
        .and_then(|bytes| reapi::RequestMetadata::decode(bytes).ok())
        .unwrap_or_default();
    let agent = metadata.get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    RequestSource::new(&given, agent)
}
