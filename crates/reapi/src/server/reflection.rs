//! gRPC reflection, both versions in use: tools like grpcurl ask the server for the messages that it speaks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tonic_reflection::server::Builder;

use super::mount_mapped;

/// The descriptors of what the server serves, compiled from `proto/`.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Adds both services. A client that asks nothing for `idle` is done.
pub(super) fn mount_on(router: Router, idle: Duration) -> Router {
    let patient = move |request: Request| request.map(|body| Body::new(Patient::new(body, idle)));
    // The descriptors are part of the program and a test reads them, so this is not seen; a cache works without.
    let refused = |error| tracing::error!(%error, "gRPC reflection is not served");
    let router = match builder().build_v1() {
        Ok(service) => mount_mapped(router, service, patient),
        Err(error) => {
            refused(error);
            router
        }
    };
    match builder().build_v1alpha() {
        Ok(service) => mount_mapped(router, service, patient),
        Err(error) => {
            refused(error);
            router
        }
    }
}

/// A body that ends when nothing comes for a while: a reflection stream lives as long as its client likes otherwise, and holds
/// one of the slots of requests.
struct Patient {
    body: Body,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
}

impl Patient {
    fn new(body: Body, idle: Duration) -> Self {
        Self { body, idle, deadline: Box::pin(tokio::time::sleep(idle)) }
    }
}

impl HttpBody for Patient {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let next = Instant::now() + self.idle;
            self.deadline.as_mut().reset(next);
            return Poll::Ready(frame);
        }
        self.deadline.as_mut().poll(context).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_are_good() {
        builder().build_v1().unwrap();
        builder().build_v1alpha().unwrap();
    }
}
