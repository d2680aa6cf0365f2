//! Nx' self-hosted cache: GET and PUT of `/v1/cache/{hash}`
//! (<https://nx.dev/recipes/running-tasks/self-hosted-caching>). Entries never change.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use buildnet_reapi::CacheError;

use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "nx";

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/cache/{key}", get(load).put(store))
        // Clients take a base address, too: `http://host:9876/nx`.
        .route("/nx/v1/cache/{key}", get(load).put(store))
}

async fn load(caller: Caller, headers: HeaderMap) -> Response {
    reply::get(&caller, PROTOCOL, &caller.key, &headers).await
}

/// The client takes exactly 200 for stored, and 409 for "already there".
async fn store(caller: Caller, body: Body) -> Response {
    match exists(&caller).await {
        Ok(false) => reply::put(&caller, PROTOCOL, &caller.key, body, StatusCode::OK).await,
        Ok(true) => (StatusCode::CONFLICT, "this hash is in the cache already").into_response(),
        Err(error) => reply::failure(&error),
    }
}

async fn exists(caller: &Caller) -> Result<bool, CacheError> {
    caller.allow(buildnet_reapi::Role::Write)?;
    reply::check_key(&caller.key)?;
    let (instance, key) = (caller.instance.clone(), caller.key.clone());
    caller.state.run(move |service| Ok(service.named(PROTOCOL, &instance, &key)?.is_some())).await
}
