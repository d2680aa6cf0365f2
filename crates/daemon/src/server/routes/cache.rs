//! The cache.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use crate::error::ErrorReport;
use crate::facts::{CacheReduction, CacheReport};
use crate::server::reply::Refusal;
use crate::server::state::App;

/// Whose cache.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkspaceQuery {
    /// A directory of the workspace: absolute. Empty for the workspace that the daemon was started in.
    pub workspace: String,
}

/// Runs what reads or writes many files, away from the threads that serve.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorReport> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|panic| ErrorReport::internal("the work broke off").because(&panic))??)
}

/// What the cache holds, and what clients of other build tools asked for.
#[utoipa::path(get, path = "/cache/stats", params(("workspace" = Option<String>, Query)),
    responses((status = 200, body = CacheReport), (status = 422, body = ErrorReport)))]
pub async fn stats(State(app): State<App>, Query(query): Query<WorkspaceQuery>) -> Result<Json<CacheReport>, Refusal> {
    let report = blocking(move || {
        let store = app.service().store_for(&query.workspace)?;
        let stats = store.stats().map_err(|error| ErrorReport::of(&error))?;
        let directory = store.dir().display().to_string();
        Ok(CacheReport { directory, stats: stats.into(), traffic: app.metrics().traffic() })
    });
    Ok(Json(report.await?))
}

/// Removes everything from the cache but what builds in flight need.
#[utoipa::path(post, path = "/cache/clear", params(("workspace" = Option<String>, Query)),
    responses((status = 200, body = CacheReduction), (status = 422, body = ErrorReport)))]
pub async fn clear(
    State(app): State<App>,
    Query(query): Query<WorkspaceQuery>,
) -> Result<Json<CacheReduction>, Refusal> {
    let report = blocking(move || {
        let store = app.service().store_for(&query.workspace)?;
        store.clear().map_err(|error| ErrorReport::of(&error))
    });
    Ok(Json(report.await?.into()))
}
