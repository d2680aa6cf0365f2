//! The routes, by what they are about.

pub mod bitbake;
pub mod builds;
pub mod cache;
pub mod config;
pub mod events;
pub mod status;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use super::guard::guard;
use super::reply::Refusal;
use super::state::App;

/// Every route of the daemon.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/health", get(status::health))
        .route("/status", get(status::status))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(status::openapi))
        .route("/stop", post(status::stop))
        .route("/bitbake", post(bitbake::ask))
        .route("/build", post(builds::build))
        .route("/build/{package}", post(builds::build_package))
        .route("/builds", get(builds::list))
        .route("/builds/{id}", get(builds::show))
        .route("/builds/{id}/cancel", post(builds::cancel))
        .route("/cache/stats", get(cache::stats))
        .route("/cache/clear", post(cache::clear))
        .route("/config", get(config::config))
        .route("/events", get(events::events))
        .fallback(async || Refusal::not_found("no such route; /openapi.json lists them"))
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}
