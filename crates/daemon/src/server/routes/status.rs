//! How the daemon is.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi as _, ToSchema};

use crate::server::metrics::{CacheGauges, Gauges, resident_bytes};
use crate::server::openapi::Document;
use crate::server::state::App;
use crate::service::BuildInfo;

/// Says that the daemon is there, and which it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The program: `buildnet`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The user it runs as.
    pub user: u32,
}

/// What the daemon is doing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Who it is.
    #[serde(flatten)]
    pub health: Health,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Resident memory in bytes.
    pub memory: Option<u64>,
    /// Builds in flight.
    pub builds: Vec<BuildInfo>,
}

fn health_of(app: &App) -> Health {
    Health {
        status: "ok".to_owned(),
        program: "buildnet".to_owned(),
        version: crate::VERSION.to_owned(),
        pid: std::process::id(),
        user: app.user(),
    }
}

/// Whether the daemon is there.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health)))]
pub async fn health(State(app): State<App>) -> Json<Health> {
    Json(health_of(&app))
}

/// What the daemon is doing.
#[utoipa::path(get, path = "/status", responses((status = 200, body = Status)))]
pub async fn status(State(app): State<App>) -> Json<Status> {
    Json(Status {
        health: health_of(&app),
        uptime_s: app.started().elapsed().as_secs(),
        memory: resident_bytes(),
        builds: app.service().in_flight(),
    })
}

/// Counters for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> Response {
    let service = app.service().clone();
    let stats = tokio::task::spawn_blocking(move || service.store_for("").ok()?.stats().ok()).await;
    let cache = stats.ok().flatten().map(|stats| CacheGauges {
        blobs: stats.blobs,
        bytes: stats.disk_bytes,
        read_bytes: stats.read_bytes,
        written_bytes: stats.written_bytes,
    });
    let gauges = Gauges {
        builds_in_flight: app.service().in_flight().len(),
        watched_directories: app.service().workbench().watched_directories(),
        cache,
        uptime_s: app.started().elapsed().as_secs_f64(),
    };
    let page = app.metrics().render(&gauges);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

/// How the daemon is to stop.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StopQuery {
    /// Finish builds in flight instead of cancelling them.
    pub finish: bool,
}

/// Stops the daemon: no further requests are taken, builds in flight are cancelled (or finished), then it exits.
#[utoipa::path(post, path = "/stop", params(("finish" = Option<bool>, Query, description = "Finish builds in flight")),
    responses((status = 200, body = Health)))]
pub async fn stop(State(app): State<App>, Query(query): Query<StopQuery>) -> Json<Health> {
    let health = health_of(&app);
    tokio::spawn(async move {
        app.service().shut_down(query.finish).await;
        app.stop().cancel();
    });
    Json(Health { status: "stopping".to_owned(), ..health })
}

/// This interface, described.
pub async fn openapi() -> Response {
    Json(Document::openapi()).into_response()
}
