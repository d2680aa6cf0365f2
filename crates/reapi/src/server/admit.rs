//! The layer before all protocols: who is it, and is there room for one more?

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::access::ClientCertificate;
use crate::service::CacheService;
use crate::status::busy;

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
    request.extensions_mut().insert(identity);
    match service.slots().take(request, protocol) {
        Some((request, taken)) => taken.answer(next.run(request).await),
        None => refuse(protocol, &Refusal::Full),
    }
}

enum Refusal {
    Unknown,
    Full,
}

fn refuse(protocol: Protocol, refusal: &Refusal) -> Response {
    let (status, message) = match refusal {
        Refusal::Unknown => (StatusCode::UNAUTHORIZED, "a valid token is needed"),
        Refusal::Full => (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; try again"),
    };
    if protocol == Protocol::Grpc {
        let status = match refusal {
            Refusal::Unknown => tonic::Status::unauthenticated(message),
            Refusal::Full => busy(message),
        };
        return status.into_http::<Body>();
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
