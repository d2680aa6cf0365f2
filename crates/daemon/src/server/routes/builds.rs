//! Builds: asked for, listed, cancelled.

use std::io;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use buildnet_event::{BuildId, BuildOutcome, EventKind, TaskSummary, TierCounts};
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorReport;
use crate::server::reply::Refusal;
use crate::server::state::App;
use crate::service::{BuildInfo, BuildRequest, BuildStream, Cancelled, Line, Note};

/// The media type of a stream of JSON objects, one per line.
const NDJSON: &str = "application/x-ndjson";

/// Lines gathered into one chunk at most, in bytes.
const CHUNK: usize = 64 << 10;

/// Whether to wait.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct BuildQuery {
    /// False: answer at once with the build's identifier.
    pub wait: bool,
}

impl Default for BuildQuery {
    fn default() -> Self {
        Self { wait: true }
    }
}

/// How a build ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BuildReply {
    /// Its identifier.
    pub id: String,
    /// `success`, `failed`, `cancelled` or `error`.
    #[schema(value_type = String)]
    pub outcome: BuildOutcome,
    /// Wall time in microseconds.
    pub duration_us: u64,
    /// Tasks by tier.
    #[schema(value_type = Object)]
    pub counts: TierCounts,
    /// Execution time saved, in microseconds.
    pub saved_us: u64,
    /// The tasks that failed.
    #[schema(value_type = Vec<Object>)]
    pub failures: Vec<TaskSummary>,
}

/// A build that goes on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// Its identifier.
    pub id: String,
}

/// Builds packages. With `Accept: application/x-ndjson` the reply is the build's stream of events, one JSON object per line, and the
/// build is cancelled when the client goes away; otherwise the reply comes when the build has ended, or at once with `wait=false`.
#[utoipa::path(post, path = "/build", request_body = BuildRequest,
    params(("wait" = Option<bool>, Query, description = "False: answer at once")),
    responses((status = 200, body = BuildReply), (status = 202, body = Accepted), (status = 422, body = ErrorReport)))]
pub async fn build(
    State(app): State<App>,
    Query(query): Query<BuildQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    start(&app, query, &headers, parse(&headers, &body)?).await
}

/// Builds one package. The body may be left out.
#[utoipa::path(post, path = "/build/{package}", request_body = BuildRequest,
    params(("package" = String, Path, description = "The package's name"),
        ("wait" = Option<bool>, Query, description = "False: answer at once")),
    responses((status = 200, body = BuildReply), (status = 202, body = Accepted), (status = 422, body = ErrorReport)))]
pub async fn build_package(
    State(app): State<App>,
    Path(package): Path<String>,
    Query(query): Query<BuildQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request = BuildRequest { packages: vec![package], ..parse(&headers, &body)? };
    start(&app, query, &headers, request).await
}

fn parse(headers: &HeaderMap, body: &Bytes) -> Result<BuildRequest, Refusal> {
    if body.is_empty() {
        return Ok(BuildRequest::default());
    }
    // Other content types can be sent across origins without asking; JSON cannot.
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !json {
        let report = ErrorReport::user("the body must be JSON").with_hint("Send \"Content-Type: application/json\".");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, report));
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, ErrorReport::user("cannot read the request").because(&error))
    })
}

async fn start(
    app: &App,
    query: BuildQuery,
    headers: &HeaderMap,
    mut request: BuildRequest,
) -> Result<Response, Refusal> {
    request.detached |= !query.wait;
    let service = app.service().clone();
    let runtime = tokio::runtime::Handle::current();
    // Planning reads the workspace.
    let planned = tokio::task::spawn_blocking(move || {
        let _runtime = runtime.enter();
        service.build(request)
    });
    let stream = planned.await.map_err(|panic| ErrorReport::internal("planning broke off").because(&panic))??;
    if !query.wait {
        return Ok((StatusCode::ACCEPTED, Json(Accepted { id: stream.id().to_string() })).into_response());
    }
    let streams = headers.get(header::ACCEPT).is_some_and(|kind| kind.as_bytes().starts_with(NDJSON.as_bytes()));
    if streams { Ok(ndjson(stream)) } else { Ok(Json(reply(stream).await?).into_response()) }
}

/// The stream as lines. What is ready at once goes out in one chunk.
fn ndjson(stream: BuildStream) -> Response {
    let id = stream.id().to_string();
    let chunks = stream::unfold(stream, |mut stream| async move {
        let mut chunk = Vec::with_capacity(1024);
        write_line(&mut chunk, &stream.next().await?);
        while chunk.len() < CHUNK {
            let Some(line) = stream.try_next() else { break };
            write_line(&mut chunk, &line);
        }
        Some((Ok::<_, io::Error>(Bytes::from(chunk)), stream))
    });
    ([(header::CONTENT_TYPE, NDJSON), (header::HeaderName::from_static("x-build-id"), &id)], Body::from_stream(chunks))
        .into_response()
}

fn write_line(chunk: &mut Vec<u8>, line: &Line) {
    // Serialising these types to memory cannot fail: no map has keys other than strings.
    let _ = serde_json::to_writer(&mut *chunk, line);
    chunk.push(b'\n');
}

/// Waits for the end.
async fn reply(mut stream: BuildStream) -> Result<BuildReply, Refusal> {
    let id = stream.id().to_string();
    let mut failures = Vec::new();
    let mut end = None;
    while let Some(line) = stream.next().await {
        match line {
            Line::Note(Note::Error { error }) => return Err(error.into()),
            Line::Note(_) => {}
            Line::Event(event) => match &event.kind {
                EventKind::TaskFinished(task) if task.tier.is_none() => failures.push((**task).clone()),
                EventKind::BuildFinished { outcome, duration_us, counts, saved_us } => {
                    end = Some((*outcome, *duration_us, *counts, *saved_us));
                }
                _ => {}
            },
        }
    }
    let (outcome, duration_us, counts, saved_us) = end.ok_or_else(|| ErrorReport::internal("the build told no end"))?;
    Ok(BuildReply { id, outcome, duration_us, counts, saved_us, failures })
}

/// Builds in flight.
#[utoipa::path(get, path = "/builds", responses((status = 200, body = Vec<BuildInfo>)))]
pub async fn list(State(app): State<App>) -> Json<Vec<BuildInfo>> {
    Json(app.service().in_flight())
}

/// One build.
#[utoipa::path(get, path = "/builds/{id}", params(("id" = String, Path)),
    responses((status = 200, body = BuildInfo), (status = 404, body = ErrorReport)))]
pub async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Json<BuildInfo>, Refusal> {
    let found = app.service().in_flight().into_iter().find(|build| build.id == id);
    found.map(Json).ok_or_else(|| Refusal::not_found(format!("no build {id}")))
}

/// Whom to cancel for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CancelQuery {
    /// Also when other clients wait for the same build.
    pub all: bool,
}

/// Cancels a build in flight.
#[utoipa::path(post, path = "/builds/{id}/cancel",
    params(("id" = String, Path), ("all" = Option<bool>, Query, description = "Also when others wait for it")),
    responses((status = 200, body = Cancelled), (status = 404, body = ErrorReport)))]
pub async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<CancelQuery>,
) -> Result<Json<Cancelled>, Refusal> {
    let found = id.parse::<BuildId>().ok().and_then(|id| app.service().cancel(id, query.all));
    found.map(Json).ok_or_else(|| Refusal::not_found(format!("no build {id} in flight")))
}
