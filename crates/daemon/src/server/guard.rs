//! Checks that every request passes before it reaches a route.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use buildnet_reapi::{ClientCertificate, Role};

use super::reply::Refusal;
use super::state::App;
use super::{VERSION_HEADER, peer};
use crate::error::ErrorReport;

/// What every holder of a token may look at.
const OPEN_TO_READERS: [&str; 3] = ["/metrics", "/openapi.json", "/cache/stats"];

/// Both ends of the connection that a request came on.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Our end.
    pub local: SocketAddr,
    /// The client's end.
    pub peer: SocketAddr,
    /// Who has the client's end, once that was asked. It stays the same as long as there is a connection, and finding it means to
    /// read the list of all connections of the machine.
    owner: Arc<OnceLock<Option<u32>>>,
}

impl Ends {
    /// Of a connection that was accepted.
    pub fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        Self { local, peer, owner: Arc::default() }
    }

    /// The user who has the client's end; none where the kernel does not tell.
    fn owner(&self) -> Option<u32> {
        *self.owner.get_or_init(|| peer::owner_of_connection(self.peer, self.local))
    }
}

/// Lets a request through or says why not.
///
/// - `Host` must be a loopback name on a loopback address: a page whose own name was rebound to 127.0.0.1 sends its own.
/// - `Origin`, which browsers send with what scripts and forms ask for, must be the daemon itself.
/// - Where tokens or certificates are asked for, one must be shown whose role allows what is asked; else the peer must be a process of
///   the same user or of root.
pub async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = match check(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(crate::VERSION));
    response
}

/// Lets a request to one of the cache protocols through or says why not: as [`guard`], but where there are tokens the protocols
/// check them themselves, since each has its own way to carry one.
pub async fn guard_caches(State(app): State<App>, request: Request, next: Next) -> Response {
    let ends = request.extensions().get::<Ends>();
    let administers = request.uri().path().starts_with("/cache/");
    let passed = keep_browsers_out(&app, &request)
        .and_then(|()| if app.access().is_local() { same_user(&app, ends) } else { Ok(()) });
    let mut response = match passed {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if administers {
        // Asked by `buildnet`, which looks whom it talks to.
        response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static(crate::VERSION));
    }
    response
}

fn check(app: &App, request: &Request) -> Result<(), Refusal> {
    let (path, headers) = (request.uri().path(), request.headers());
    keep_browsers_out(app, request)?;
    let access = app.access();
    if path == "/health" {
        return Ok(());
    }
    // A program of another version might mean something else by its request. `/stop` is how one gets rid of the other.
    if path != "/stop" && headers.get(VERSION_HEADER).is_some_and(|theirs| theirs != crate::VERSION) {
        let report = ErrorReport::environment(format!("this daemon is version {}", crate::VERSION));
        return Err(Refusal::new(StatusCode::CONFLICT, report));
    }
    if access.is_local() {
        return same_user(app, request.extensions().get::<Ends>());
    }
    let certificate = request.extensions().get::<ClientCertificate>();
    let Some(identity) = access.identify(headers, certificate) else {
        let report = ErrorReport::user("a token is needed").with_hint(
            "Send it as \"Authorization: Bearer TOKEN\"; the buildnet program takes it from BUILDNET_TOKEN.",
        );
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, report));
    };
    // Whoever builds runs commands, and what builds print may be anything: that is for administrators of everything.
    // Whoever needs no token to use the cache learns nothing of what others do.
    let shown = certificate.is_some() || headers.contains_key(header::AUTHORIZATION);
    let open = shown && request.method() == Method::GET && OPEN_TO_READERS.contains(&path);
    if open || (identity.role == Role::Admin && identity.covers_all()) {
        return Ok(());
    }
    let message =
        format!("`{}` has the role {}, and this needs admin for all instances", identity.name, identity.role.name());
    Err(forbidden(&message))
}

fn keep_browsers_out(app: &App, request: &Request) -> Result<(), Refusal> {
    let (access, headers) = (app.access(), request.headers());
    // HTTP/2 has `:authority` instead.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let loopback = access.listen().ip().is_loopback();
    if loopback && host.is_some_and(|host| !is_loopback_name(host)) {
        return Err(forbidden("the Host header names another machine"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        let own = origin.is_some() && origin == host;
        if !own {
            return Err(forbidden("requests of other origins are refused"));
        }
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return Err(forbidden("requests of other sites are refused"));
    }
    Ok(())
}

fn same_user(app: &App, ends: Option<&Ends>) -> Result<(), Refusal> {
    match ends {
        Some(ends) if !is_same_user(app, ends) => Err(forbidden("this daemon belongs to another user")),
        _ => Ok(()),
    }
}

/// Whether a client may connect where no tokens are asked for: not when the kernel says that it belongs to another user than us or
/// root. Where there are tokens they decide.
pub(super) fn is_same_user(app: &App, ends: &Ends) -> bool {
    !app.access().is_local() || ends.owner().is_none_or(|user| user == app.user() || user == 0)
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
