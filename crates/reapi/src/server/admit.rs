//! The layer before all protocols: who is it, and is there room for one more?

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::access::ClientCertificate;
use crate::service::CacheService;

/// How refusals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// As gRPC statuses.
    Grpc,
    /// As HTTP statuses.
    Http,
}

/// Puts the layer around all routes that `router` has so far: finds out who sends a request, turns away whoever has no
/// valid token, and bounds the number of requests served at once.
pub fn admit(router: Router, service: CacheService, protocol: Protocol) -> Router {
    router.route_layer(from_fn_with_state((service, protocol), check))
}

async fn check(
    State((service, protocol)): State<(CacheService, Protocol)>,
    mut request: Request,
    next: Next,
) -> Response {
    let certificate = request.extensions().get::<ClientCertificate>();
    let Some(identity) = service.access().identify_client(request.headers(), certificate) else {
        return refuse(protocol, &Refusal::Unknown);
    };
    let Ok(permit) = std::sync::Arc::clone(service.in_flight()).try_acquire_owned() else {
        return refuse(protocol, &Refusal::Full);
    };
    request.extensions_mut().insert(identity);
    let response = next.run(request).await;
    response.map(|body| Body::new(Held { body, _permit: permit }))
}

enum Refusal {
    Unknown,
    Full,
}

fn refuse(protocol: Protocol, refusal: &Refusal) -> Response {
    let (status, code, message) = match refusal {
        Refusal::Unknown => (StatusCode::UNAUTHORIZED, tonic::Code::Unauthenticated, "a valid token is needed"),
        Refusal::Full => {
            (StatusCode::SERVICE_UNAVAILABLE, tonic::Code::ResourceExhausted, "too many requests at once; try again")
        }
    };
    if protocol == Protocol::Grpc {
        return tonic::Status::new(code, message).into_http::<Body>();
    }
    let mut response = (status, message).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"buildnet\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    } else {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A body that keeps its request's slot until it is sent.
struct Held {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
