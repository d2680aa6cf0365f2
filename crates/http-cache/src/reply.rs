//! Answers that the adapters have in common: look a named entry up, store one.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use buildnet_cas::CasError;
use buildnet_digest::{Diagnostic, DigestFunction};
use buildnet_reapi::metrics::Outcome;
use buildnet_reapi::{CacheError, CacheService, NamedEntry, Role};

use crate::body;
use crate::caller::Caller;

/// Longest key in bytes.
const MAX_KEY: usize = 1024;

/// The status of an error.
pub(crate) fn status_of(error: &CacheError) -> StatusCode {
    match error {
        CacheError::Cas(CasError::Mismatch { .. }) | CacheError::Instance(_) | CacheError::Invalid { .. } => {
            StatusCode::BAD_REQUEST
        }
        CacheError::Cas(CasError::DiskFull { .. }) => StatusCode::INSUFFICIENT_STORAGE,
        CacheError::Cas(CasError::ReadOnly { .. }) | CacheError::Denied { .. } => StatusCode::FORBIDDEN,
        CacheError::Cas(CasError::Latched { .. }) | CacheError::Gone => StatusCode::SERVICE_UNAVAILABLE,
        CacheError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        CacheError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error as an answer in plain text. What went wrong on the server is logged there, too.
pub(crate) fn failure(error: &CacheError) -> Response {
    let status = status_of(error);
    if status.is_server_error() {
        tracing::error!(%error, hint = error.hint(), "the cache failed");
    }
    (status, error.to_string()).into_response()
}

pub(crate) fn missing() -> Response {
    (StatusCode::NOT_FOUND, "not in the cache").into_response()
}

/// Refuses keys that no client sends.
pub(crate) fn check_key(key: &str) -> Result<(), CacheError> {
    let bad = key.is_empty()
        || key.len() > MAX_KEY
        || key.chars().any(char::is_control)
        || key.split('/').any(|segment| matches!(segment, "" | "." | ".."));
    if bad { Err(body::invalid("this key cannot be")) } else { Ok(()) }
}

/// The entry of the caller's key and its content as an answer.
pub(crate) async fn lookup(
    caller: &Caller,
    protocol: &'static str,
    key: &str,
    request: &HeaderMap,
) -> Result<Option<(NamedEntry, Response)>, CacheError> {
    caller.allow(Role::Read)?;
    check_key(key)?;
    let (instance, name) = (caller.instance.clone(), key.to_owned());
    let wanted = |service: &CacheService| service.wanted_named(protocol, &caller.instance, key);
    let entry = caller.state.look(wanted, move |service| service.named(protocol, &instance, &name)).await?;
    let Some(entry) = entry else { return Ok(None) };
    Ok(body::send(&caller.state, entry.digest, request).await?.map(|response| (entry, response)))
}

/// GET and HEAD of a protocol that has nothing beside the content.
pub(crate) async fn get(caller: &Caller, protocol: &'static str, key: &str, request: &HeaderMap) -> Response {
    match lookup(caller, protocol, key, request).await {
        Ok(Some((entry, response))) => {
            caller.count(protocol, "get", Outcome::Hit, 0, entry.digest.size());
            response
        }
        Ok(None) => {
            caller.count(protocol, "get", Outcome::Miss, 0, 0);
            missing()
        }
        Err(error) => {
            caller.count(protocol, "get", Outcome::Failed, 0, 0);
            failure(&error)
        }
    }
}

/// Stores a body under the caller's key. Returns its size.
pub(crate) async fn store(
    caller: &Caller,
    protocol: &'static str,
    key: &str,
    properties: Vec<(String, String)>,
    content: Body,
) -> Result<u64, CacheError> {
    let writer = caller.allow(Role::Write)?;
    check_key(key)?;
    let digest = body::receive(&caller.state, DigestFunction::Sha256, content).await?;
    let (instance, name) = (caller.instance.clone(), key.to_owned());
    let entry = NamedEntry { digest, properties };
    caller.state.run(move |service| service.put_named(protocol, &writer, &instance, &name, &entry)).await?;
    Ok(digest.size())
}

/// PUT of a protocol that has nothing beside the content, answered with `success`.
pub(crate) async fn put(
    caller: &Caller,
    protocol: &'static str,
    key: &str,
    content: Body,
    success: StatusCode,
) -> Response {
    let stored = store(caller, protocol, key, Vec::new(), content).await;
    counted(caller, protocol, stored).map_or_else(|error| failure(&error), |_| success.into_response())
}

/// Counts a PUT.
pub(crate) fn counted(
    caller: &Caller,
    protocol: &'static str,
    stored: Result<u64, CacheError>,
) -> Result<u64, CacheError> {
    match &stored {
        Ok(size) => caller.count(protocol, "put", Outcome::Stored, *size, 0),
        Err(_) => caller.count(protocol, "put", Outcome::Failed, 0, 0),
    }
    stored
}

/// DELETE: gone or never there is the same to the clients that ask.
pub(crate) async fn delete(caller: &Caller, protocol: &'static str, key: &str) -> Response {
    let removed = async {
        caller.allow(Role::Write)?;
        check_key(key)?;
        let (instance, name) = (caller.instance.clone(), key.to_owned());
        caller.state.run(move |service| service.remove_named(protocol, &instance, &name)).await
    };
    match removed.await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => missing(),
        Err(error) => failure(&error),
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = (status, value.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
