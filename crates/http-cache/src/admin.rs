//! What administrators do: promote entries from one instance to another, and purge those of a writer.

use axum::Router;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_reapi::{CacheError, CacheService, Purge};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::invalid;
use crate::caller::{Caller, State};
use crate::reply;

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/cache/promote", post(promote)).route("/cache/purge", post(purge))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    from: String,
    to: String,
    /// One entry's key, for actions `HASH/SIZE` or the hash alone; all when absent.
    name: Option<String>,
}

async fn promote(caller: Caller, query: Result<Query<Promotion>, QueryRejection>) -> Response {
    let promoted = async {
        let (Query(promotion), admin) = (understood(query)?, caller.identity()?);
        let work = move |service: &CacheService| {
            service.promote(&admin, &promotion.from, &promotion.to, promotion.name.as_deref())
        };
        Ok(json!({ "promoted": caller.state.run(work).await? }))
    };
    answer(promoted.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeQuery {
    writer: String,
    since_ms: Option<u64>,
    instance: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

async fn purge(caller: Caller, query: Result<Query<PurgeQuery>, QueryRejection>) -> Response {
    let purged = async {
        let (Query(PurgeQuery { writer, since_ms, instance, dry_run }), admin) =
            (understood(query)?, caller.identity()?);
        let purge = Purge { writer, since_ms, instance, dry_run };
        let purged = caller.state.run(move |service| service.purge(&admin, &purge)).await?;
        Ok(json!(purged))
    };
    answer(purged.await)
}

fn understood<T>(query: Result<Query<T>, QueryRejection>) -> Result<Query<T>, CacheError> {
    query.map_err(|rejection| invalid(&rejection.body_text()))
}

/// Errors as the daemon's own interface tells them: category, message, hint.
fn answer(done: Result<Value, CacheError>) -> Response {
    match done {
        Ok(value) => reply::json(StatusCode::OK, &value),
        Err(error) => {
            let category = match error.category() {
                ErrorCategory::User => "user",
                ErrorCategory::Environment => "environment",
                ErrorCategory::Internal => "internal",
            };
            let told = json!({ "category": category, "message": error.to_string(), "hint": error.hint() });
            reply::json(reply::status_of(&error), &told)
        }
    }
}
