//! Checks that every request passes before it reaches a route.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::reply::Refusal;
use super::state::App;
use super::{VERSION_HEADER, peer};
use crate::error::ErrorReport;

/// Both ends of the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Our end.
    pub local: SocketAddr,
    /// The client's end.
    pub peer: SocketAddr,
}

/// Lets a request through or says why not.
///
/// - `Host` must be a loopback name on a loopback address: a page whose own name was rebound to 127.0.0.1 sends its own.
/// - `Origin`, which browsers send with what scripts and forms ask for, must be the daemon itself.
/// - The token must be right where there is one; else the peer must be a process of the same user or of root.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let ends = request.extensions().get::<Ends>().copied();
    let mut response = match check(&app, request.uri().path(), request.headers(), ends) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(crate::VERSION));
    response
}

/// Lets a request to one of the cache protocols through or says why not: as [`guard`], but where there are tokens the protocols
/// check them themselves, since each has its own way to carry one.
pub async fn guard_caches(State(app): State<App>, request: Request, next: Next) -> Response {
    let ends = request.extensions().get::<Ends>().copied();
    let passed = keep_browsers_out(&app, request.headers())
        .and_then(|()| if app.access().needs_token() { Ok(()) } else { same_user(&app, ends) });
    match passed {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check(app: &App, path: &str, headers: &HeaderMap, ends: Option<Ends>) -> Result<(), Refusal> {
    keep_browsers_out(app, headers)?;
    let access = app.access();
    if path == "/health" {
        return Ok(());
    }
    // A program of another version might mean something else by its request. `/stop` is how one gets rid of the other.
    if path != "/stop" && headers.get(VERSION_HEADER).is_some_and(|theirs| theirs != crate::VERSION) {
        let report = ErrorReport::environment(format!("this daemon is version {}", crate::VERSION));
        return Err(Refusal::new(StatusCode::CONFLICT, report));
    }
    if access.needs_token() {
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if !access.admits(authorization) {
            let report = ErrorReport::user("a token is needed").with_hint(
                "Send it as \"Authorization: Bearer TOKEN\"; the buildnet program takes it from BUILDNET_TOKEN.",
            );
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, report));
        }
        return Ok(());
    }
    same_user(app, ends)
}

fn keep_browsers_out(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    let access = app.access();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let loopback = access.listen().ip().is_loopback();
    // HTTP/2 has `:authority` instead, which browsers do not speak without TLS.
    if loopback && host.is_some_and(|host| !is_loopback_name(host)) {
        return Err(forbidden("the Host header names another machine"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let own =
            origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")).is_some_and(|o| Some(o) == host);
        if !own {
            return Err(forbidden("requests of other origins are refused"));
        }
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Err(forbidden("requests of other sites are refused"));
    }
    Ok(())
}

fn same_user(app: &App, ends: Option<Ends>) -> Result<(), Refusal> {
    if let Some(Ends { local, peer }) = ends
        && let Some(user) = peer::owner_of_connection(peer, local)
        && user != app.user()
        && user != 0
    {
        return Err(forbidden("this daemon belongs to another user"));
    }
    Ok(())
}

fn forbidden(message: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, ErrorReport::user(message))
}

fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names() {
        for name in ["localhost:9876", "127.0.0.1:9876", "[::1]:9876", "LOCALHOST", "127.0.0.1"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["evil.example", "localhost.evil.example:9876", "10.0.0.1:9876", "", "a b"] {
            assert!(!is_loopback_name(name), "{name}");
        }
    }
}
