//! Gradle's HTTP build cache: GET and PUT of `/gradle/{key}`
//! (<https://docs.gradle.org/current/userguide/build_cache.html>, `HttpBuildCache`).
//!
//! Any answer to a GET other than 2xx and 404 makes Gradle give up the cache for the rest of the build, so a fault of the
//! server is a miss to it; the log and the counters tell of it.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;

use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "gradle";

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/gradle/{key}", get(load).put(store))
}

async fn load(caller: Caller, headers: HeaderMap) -> Response {
    reply::get(&caller, PROTOCOL, &caller.key, &headers).await
}

/// Makes a lookup that failed on the server, or found it too busy, a miss.
pub(crate) async fn forgive(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/i/").and_then(|path| path.find('/').map(|end| &path[end..])).unwrap_or(path);
    let lookup = path.starts_with("/gradle/") && matches!(*request.method(), Method::GET | Method::HEAD);
    let response = next.run(request).await;
    if lookup && response.status().is_server_error() { reply::missing() } else { response }
}

async fn store(caller: Caller, body: Body) -> Response {
    reply::put(&caller, PROTOCOL, &caller.key, body, StatusCode::CREATED).await
}
