//! Turborepo's remote cache, `/v8/artifacts` (<https://turborepo.com/docs/openapi>). Teams are apart: `?teamId=` or
//! `?slug=` is part of an artifact's key. Artifacts are signed and checked by the clients alone; the tag is kept with the
//! body that it belongs to.

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use buildnet_reapi::metrics::Outcome;
use buildnet_reapi::{CacheError, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{invalid, receive_small};
use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "turborepo";
/// Headers that are kept with an artifact, and the names of their values in the answer to a query.
const KEPT: [(&str, &str); 4] = [
    ("x-artifact-duration", "taskDurationMs"),
    ("x-artifact-tag", "tag"),
    ("x-artifact-sha", "sha"),
    ("x-artifact-dirty-hash", "dirtyHash"),
];
/// Longest value of such a header in bytes (the API's limit for tags).
const MAX_HEADER: usize = 600;
/// Longest hash in digits.
const MAX_HASH: usize = 128;
/// Most bytes of a query or of events.
const MAX_JSON: usize = 1 << 20;
/// Most hashes of one query.
const MAX_HASHES: usize = 1000;

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route("/v8/artifacts/status", get(status))
        .route("/v8/artifacts/events", post(events))
        .route("/v8/artifacts", post(query).options(preflight))
        .route("/v8/artifacts/{key}", get(load).put(store).options(preflight))
}

/// Whose artifacts.
#[derive(Deserialize)]
struct Team {
    slug: Option<String>,
    #[serde(rename = "teamId")]
    team_id: Option<String>,
}

impl Team {
    fn key(&self, hash: &str) -> Result<String, CacheError> {
        if hash.is_empty() || hash.len() > MAX_HASH || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid("the hash is not hexadecimal"));
        }
        let team = self.team_id.as_ref().or(self.slug.as_ref()).map_or("-", String::as_str);
        // A `/` of a team's name must not look like the end of it.
        Ok(format!("{}/{hash}", team.replace('%', "%25").replace('/', "%2F")))
    }
}

async fn status(caller: Caller) -> Response {
    let status = if caller.allow(Role::Read).is_ok() { "enabled" } else { "disabled" };
    reply::json(StatusCode::OK, &json!({ "status": status }))
}

async fn preflight() -> Response {
    let headers = [
        ("access-control-allow-methods", "GET, HEAD, PUT, POST, OPTIONS"),
        (
            "access-control-allow-headers",
            "Authorization, Content-Type, User-Agent, x-artifact-duration, x-artifact-tag",
        ),
    ];
    (StatusCode::OK, headers).into_response()
}

/// Clients read the code from `error`; the published description has it at the top.
fn failure(error: &CacheError) -> Response {
    let status = reply::status_of(error);
    let code = if status == StatusCode::FORBIDDEN { "forbidden" } else { "bad_request" };
    let message = error.to_string();
    let plain = reply::failure(error);
    let body = json!({ "code": code, "message": message, "error": { "code": code, "message": message } });
    reply::json(plain.status(), &body)
}

async fn load(caller: Caller, Query(team): Query<Team>, headers: HeaderMap) -> Response {
    let found = async { reply::lookup(&caller, PROTOCOL, &team.key(&caller.key)?, &headers).await };
    match found.await {
        Ok(Some((entry, mut response))) => {
            caller.count(PROTOCOL, "get", Outcome::Hit, 0, entry.digest.size());
            for (name, value) in &entry.properties {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Ok(None) => {
            caller.count(PROTOCOL, "get", Outcome::Miss, 0, 0);
            reply::json(
                StatusCode::NOT_FOUND,
                &json!({ "error": { "code": "not_found", "message": "no such artifact" } }),
            )
        }
        Err(error) => {
            caller.count(PROTOCOL, "get", Outcome::Failed, 0, 0);
            failure(&error)
        }
    }
}

async fn store(caller: Caller, Query(team): Query<Team>, headers: HeaderMap, body: Body) -> Response {
    let stored = async {
        let key = team.key(&caller.key)?;
        let mut properties = Vec::new();
        for (name, _) in KEPT {
            let Some(value) = headers.get(name) else { continue };
            let value = value.to_str().ok().filter(|value| value.len() <= MAX_HEADER);
            let value = value.ok_or_else(|| invalid(&format!("the header {name} is too long or not ASCII")))?;
            properties.push((name.to_owned(), value.to_owned()));
        }
        reply::store(&caller, PROTOCOL, &key, properties, body).await
    };
    match reply::counted(&caller, PROTOCOL, stored.await) {
        Ok(_) => {
            let path = format!("/v8/artifacts/{}", caller.key);
            reply::json(StatusCode::ACCEPTED, &json!({ "urls": [path] }))
        }
        Err(error) => failure(&error),
    }
}

#[derive(Deserialize)]
struct Hashes {
    hashes: Vec<String>,
}

async fn query(caller: Caller, Query(team): Query<Team>, body: Body) -> Response {
    let answer = async {
        caller.allow(Role::Read)?;
        let body = receive_small(&caller.state, body, MAX_JSON).await?;
        let Hashes { hashes } = serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))?;
        if hashes.len() > MAX_HASHES {
            return Err(invalid("more than a thousand hashes at once"));
        }
        let keys =
            hashes.into_iter().map(|hash| Ok((team.key(&hash)?, hash))).collect::<Result<Vec<_>, CacheError>>()?;
        let instance = caller.instance.clone();
        caller
            .state
            .run(move |service| {
                let mut answer = serde_json::Map::new();
                for (key, hash) in keys {
                    let entry = service.named(PROTOCOL, &instance, &key)?;
                    answer.insert(
                        hash,
                        entry.map_or(Value::Null, |entry| describe(entry.digest.size(), &entry.properties)),
                    );
                }
                Ok(Value::Object(answer))
            })
            .await
    };
    match answer.await {
        Ok(answer) => reply::json(StatusCode::OK, &answer),
        Err(error) => failure(&error),
    }
}

fn describe(size: u64, properties: &[(String, String)]) -> Value {
    let properties: HashMap<&str, &str> =
        properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut described =
        serde_json::Map::from_iter([("size".to_owned(), json!(size)), ("taskDurationMs".to_owned(), json!(0))]);
    for (header, name) in KEPT {
        let Some(value) = properties.get(header) else { continue };
        let number = (name == "taskDurationMs").then(|| value.parse::<u64>().ok()).flatten();
        described.insert(name.to_owned(), number.map_or_else(|| json!(value), |number| json!(number)));
    }
    Value::Object(described)
}

#[derive(Deserialize)]
struct Event {
    source: String,
    event: String,
}

/// What the client's own cache did is counted, so that a client that hits locally is not taken for one that stopped.
async fn events(caller: Caller, body: Body) -> Response {
    let events = async {
        caller.allow(Role::Read)?;
        let body = receive_small(&caller.state, body, MAX_JSON).await?;
        serde_json::from_slice::<Vec<Event>>(&body).map_err(|error| invalid(&error.to_string()))
    };
    match events.await {
        Ok(events) => {
            for _ in events.iter().filter(|event| event.source == "LOCAL" && event.event == "HIT") {
                caller.count(PROTOCOL, "local_hit", Outcome::Done, 0, 0);
            }
            StatusCode::OK.into_response()
        }
        Err(error) => failure(&error),
    }
}
