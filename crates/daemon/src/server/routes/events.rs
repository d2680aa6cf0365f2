//! Everything that happens, as it happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use buildnet_event::{BuildId, Event, Lagged};
use futures::stream;
use serde::Deserialize;
use serde_json::json;

use crate::server::state::App;

/// Silence after which a comment is sent, so that dead connections are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What to listen to.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsQuery {
    /// Only this build's events.
    pub build: Option<BuildId>,
    /// Begin with everything that is still held, instead of what happens from now on.
    pub replay: bool,
}

/// A stream of server-sent events. Each has the type of its event and an id; a client that comes back with `Last-Event-ID` continues
/// after that one. An event of type `gap` tells that some were lost: the client was too slow, came back too late, or the daemon has
/// restarted since (then `missed` is null).
#[utoipa::path(get, path = "/events",
    params(
        ("build" = Option<String>, Query, description = "Only this build's events"),
        ("replay" = Option<bool>, Query, description = "Begin with everything that is still held"),
        ("Last-Event-ID" = Option<String>, Header, description = "Continue after this event"),
    ),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn events(State(app): State<App>, Query(query): Query<EventsQuery>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.rsplit_once('-'));
    let bus = app.service().bus();
    let (subscription, restarted) = match last {
        Some((instance, seq)) if instance == app.instance() => (bus.subscribe_after(seq.parse().unwrap_or(0)), false),
        Some(_) => (bus.subscribe_after(0), true),
        None if query.replay => (bus.subscribe_after(0), false),
        None => (bus.subscribe(), false),
    };
    let stop = app.stop().clone();
    let state = (subscription, restarted, app, stop);
    let stream = stream::unfold(state, move |(mut subscription, restarted, app, stop)| async move {
        if restarted {
            let gap = Sse::default().event("gap").data(json!({ "missed": null }).to_string());
            return Some((Ok::<_, Infallible>(gap), (subscription, false, app, stop)));
        }
        loop {
            let next = tokio::select! {
                next = subscription.next() => next?,
                () = stop.cancelled() => return None,
            };
            let message = match next {
                Ok(event) if query.build.is_none() || query.build == event.build => message(app.instance(), &event),
                Ok(_) => continue,
                Err(Lagged { missed }) => Sse::default().event("gap").data(json!({ "missed": missed }).to_string()),
            };
            return Some((Ok(message), (subscription, false, app, stop)));
        }
    });
    axum::response::Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn message(instance: &str, event: &Event) -> Sse {
    let value = serde_json::to_value(event).unwrap_or_default();
    let kind = value.get("event").and_then(|kind| kind.as_str()).unwrap_or("message").to_owned();
    Sse::default().id(format!("{instance}-{}", event.seq)).event(kind).data(value.to_string())
}
