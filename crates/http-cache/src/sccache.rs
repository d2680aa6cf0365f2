//! sccache over WebDAV, below `/sccache`: GET, PUT, DELETE, and as much of PROPFIND and MKCOL (RFC 4918) as its library
//! asks for before it writes. Directories are not kept; each one is there.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use buildnet_reapi::{CacheService, Role};

use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "sccache";
/// When everything was last modified, since nobody asks for the truth.
const MODIFIED: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/sccache", any(serve)).route("/sccache/", any(serve)).route("/sccache/{*key}", any(serve))
}

async fn serve(caller: Caller, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let directory = caller.key.is_empty() || caller.key.ends_with('/');
    match (parts.method.as_str(), directory) {
        ("GET" | "HEAD", false) => load(&caller, &parts.method, &parts.headers).await,
        ("PUT", false) => reply::put(&caller, PROTOCOL, &caller.key, body, StatusCode::CREATED).await,
        ("DELETE", false) => reply::delete(&caller, PROTOCOL, &caller.key).await,
        ("PROPFIND", _) => properties(&caller, &path, directory).await,
        ("MKCOL", _) => match caller.allow(Role::Write) {
            Ok(_) => StatusCode::CREATED.into_response(),
            Err(error) => reply::failure(&error),
        },
        ("OPTIONS", _) => {
            let headers = [("dav", "1"), ("allow", "GET, HEAD, PUT, DELETE, PROPFIND, MKCOL, OPTIONS")];
            (StatusCode::OK, headers).into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

async fn load(caller: &Caller, method: &Method, headers: &HeaderMap) -> Response {
    let response = reply::get(caller, PROTOCOL, &caller.key, headers).await;
    // `any` does not drop the body of a HEAD, as `get` does.
    if *method == Method::HEAD { response.map(|_| Body::empty()) } else { response }
}

async fn properties(caller: &Caller, path: &str, directory: bool) -> Response {
    if let Err(error) = caller.allow(Role::Read) {
        return reply::failure(&error);
    }
    let kind = if directory {
        "<D:resourcetype><D:collection/></D:resourcetype>".to_owned()
    } else {
        let (instance, key) = (caller.instance.clone(), caller.key.clone());
        let wanted = |service: &CacheService| service.wanted_named(PROTOCOL, &caller.instance, &caller.key);
        match caller.state.look(wanted, move |service| service.named(PROTOCOL, &instance, &key)).await {
            Ok(Some(entry)) => {
                format!("<D:resourcetype/><D:getcontentlength>{}</D:getcontentlength>", entry.digest.size())
            }
            Ok(None) => return reply::missing(),
            Err(error) => return reply::failure(&error),
        }
    };
    let path = path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{path}</D:href>\
         <D:propstat><D:prop>{kind}<D:getlastmodified>{MODIFIED}</D:getlastmodified></D:prop>\
         <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>"
    );
    let mut response = (StatusCode::MULTI_STATUS, text).into_response();
    let xml = HeaderValue::from_static("application/xml; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, xml);
    response
}
