//! What administrators do: promote entries from one instance to another, and purge those of a writer.

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use buildnet_reapi::{CacheError, Role};
use serde::Deserialize;
use serde_json::json;

use crate::caller::{Caller, State};
use crate::reply;

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/cache/promote", post(promote)).route("/cache/purge", post(purge))
}

#[derive(Deserialize)]
struct Promotion {
    from: String,
    to: String,
    /// One entry's key; all when absent.
    name: Option<String>,
}

async fn promote(caller: Caller, Query(promotion): Query<Promotion>) -> Response {
    let promoted = async {
        let admin = caller.allow(Role::Admin)?;
        let work = move |service: &buildnet_reapi::CacheService| {
            service.promote(&admin, &promotion.from, &promotion.to, promotion.name.as_deref())
        };
        caller.state.run(work).await
    };
    answer("promoted", promoted.await)
}

#[derive(Deserialize)]
struct Purge {
    writer: String,
}

async fn purge(caller: Caller, Query(purge): Query<Purge>) -> Response {
    let purged = async {
        caller.allow(Role::Admin)?;
        caller.state.run(move |service| service.purge_by_writer(&purge.writer)).await
    };
    answer("purged", purged.await)
}

fn answer(what: &str, count: Result<u64, CacheError>) -> Response {
    match count {
        Ok(count) => reply::json(StatusCode::OK, &json!({ what: count })),
        Err(error) => reply::failure(&error),
    }
}
