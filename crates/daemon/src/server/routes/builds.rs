//! Builds: asked for, listed, cancelled.

use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use buildnet_digest::{Diagnostic as _, ErrorCategory};
use buildnet_event::{BuildId, BuildOutcome, EventKind, TaskSummary, TierCounts};
use buildnet_history::{BuildHead, BuildSelector, HistoryError, Page};
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cache::{WorkspaceQuery, blocking};
use crate::error::ErrorReport;
use crate::server::reply::Refusal;
use crate::server::state::App;
use crate::service::{BuildInfo, BuildRequest, BuildStream, Cancelled, Line, Note};

/// The media type of a stream of JSON objects, one per line.
const NDJSON: &str = "application/x-ndjson";

/// Lines gathered into one chunk at most, in bytes.
const CHUNK: usize = 64 << 10;

/// Largest request body, in bytes: an environment and a list of packages fit many times.
const MAX_BODY: usize = 4 << 20;

/// How long a request's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

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
    request: Request,
) -> Result<Response, Refusal> {
    let (headers, body) = whole(request).await?;
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
    request: Request,
) -> Result<Response, Refusal> {
    let (headers, body) = whole(request).await?;
    let request = BuildRequest { packages: vec![package], ..parse(&headers, &body)? };
    start(&app, query, &headers, request).await
}

/// Reads a request's body. It must be small and come soon.
async fn whole(request: Request) -> Result<(HeaderMap, Bytes), Refusal> {
    let (parts, body) = request.into_parts();
    let claimed = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorReport::user("the request is too large"));
    if claimed.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await;
    let late =
        || Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorReport::user("the request's body did not come in time"));
    let body = read.map_err(|_| late())?.map_err(|_| too_large())?;
    Ok((parts.headers, body))
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

/// Which builds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ListQuery {
    /// A directory of the workspace: absolute. Empty for the workspace that the daemon was started in.
    pub workspace: String,
    /// At most so many past builds, at most 1000.
    pub limit: u32,
    /// Only builds before this one.
    pub before: Option<BuildId>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self { workspace: String::new(), limit: 50, before: None }
    }
}

/// Builds, now and before.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Builds {
    /// Builds that run or wait for their turn, of all workspaces, oldest first.
    pub in_flight: Vec<BuildInfo>,
    /// Past builds of the workspace, newest first.
    #[schema(value_type = Vec<Object>)]
    pub past: Vec<BuildHead>,
}

/// Builds in flight, and past builds of a workspace.
#[utoipa::path(get, path = "/builds",
    params(("workspace" = Option<String>, Query), ("limit" = Option<u32>, Query), ("before" = Option<String>, Query)),
    responses((status = 200, body = Builds)))]
pub async fn list(State(app): State<App>, Query(query): Query<ListQuery>) -> Result<Json<Builds>, Refusal> {
    let in_flight = app.service().in_flight();
    let past = blocking(move || {
        let root = app.service().root_of(&query.workspace)?;
        let history = app.service().workbench().history(&root)?;
        let page = Page { limit: query.limit.min(1000), before: query.before };
        history.builds(page).map_err(|error| ErrorReport::of(&error))
    });
    Ok(Json(Builds { in_flight, past: past.await? }))
}

/// One build of a workspace: in flight, or from the history. `id` may be the beginning of an identifier, `last` or `last~1`.
#[utoipa::path(get, path = "/builds/{id}",
    params(("id" = String, Path), ("workspace" = Option<String>, Query)),
    responses((status = 200, body = Object), (status = 404, body = ErrorReport)))]
pub async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<WorkspaceQuery>,
) -> Result<Response, Refusal> {
    if let Some(found) = app.service().in_flight().into_iter().find(|build| build.id == id) {
        return Ok(Json(found).into_response());
    }
    let selector: BuildSelector = id.parse().map_err(|error| ErrorReport::of::<HistoryError>(&error))?;
    let found = blocking(move || {
        let root = app.service().root_of(&query.workspace)?;
        let history = app.service().workbench().history(&root)?;
        match history.resolve(&selector).and_then(|id| history.build(id)) {
            Ok(build) => Ok(Ok(build)),
            Err(error) if error.category() == ErrorCategory::User => Ok(Err(ErrorReport::of(&error))),
            Err(error) => Err(ErrorReport::of(&error)),
        }
    });
    match found.await? {
        Ok(build) => Ok(Json(build).into_response()),
        Err(report) => Err(Refusal::new(StatusCode::NOT_FOUND, report)),
    }
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
