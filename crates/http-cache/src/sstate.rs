//! BitBake's shared state over HTTP, below `/sstate`: HEAD probes, GET with ranges (`wget --continue`), and PUT for an
//! uploader, since BitBake itself never uploads. Colons of the names come as `%3A` and are decoded by the router.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use buildnet_reapi::{CacheError, Role};
use futures::{StreamExt, stream};

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

async fn store(caller: Caller, body: Body) -> Response {
    match refuse_empty(&caller, body).await {
        Ok(body) => reply::put(&caller, PROTOCOL, &caller.key, body, StatusCode::CREATED).await,
        Err(error) => reply::failure(&error),
    }
}

/// BitBake takes an empty file for an error, so none is kept. A chunked body does not tell its length: the first piece
/// is waited for, and put back in front of the others.
async fn refuse_empty(caller: &Caller, body: Body) -> Result<Body, CacheError> {
    caller.allow(Role::Write)?;
    let mut pieces = body.into_data_stream();
    loop {
        let piece = tokio::time::timeout(caller.state.limits().idle, pieces.next()).await;
        match piece.map_err(|_| CacheError::TooSlow)? {
            None => return Err(invalid("an empty object is no shared state")),
            Some(Ok(piece)) if piece.is_empty() => {}
            Some(first) => return Ok(Body::from_stream(stream::iter([first]).chain(pieces))),
        }
    }
}

async fn remove(caller: Caller) -> Response {
    reply::delete(&caller, PROTOCOL, &caller.key).await
}
