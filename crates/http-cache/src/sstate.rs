//! BitBake's shared state over HTTP, below `/sstate`: HEAD probes, GET with ranges (`wget --continue`), and PUT for an
//! uploader, since BitBake itself never uploads. Colons of the names come as `%3A` and are decoded by the router.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;

use crate::body::invalid;
use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "sstate";

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/sstate/{*key}", get(load).put(store).delete(remove))
}

async fn load(caller: Caller, headers: HeaderMap) -> Response {
    reply::get(&caller, PROTOCOL, &caller.key, &headers).await
}

async fn store(caller: Caller, headers: HeaderMap, body: Body) -> Response {
    // BitBake takes an empty file for an error, so none is kept.
    if headers.get("content-length").is_some_and(|length| length == "0") {
        return reply::failure(&invalid("an empty object is no shared state"));
    }
    reply::put(&caller, PROTOCOL, &caller.key, body, StatusCode::CREATED).await
}

async fn remove(caller: Caller) -> Response {
    reply::delete(&caller, PROTOCOL, &caller.key).await
}
