//! Downloads over HTTP and HTTPS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use super::rule::parts;
use super::{FetchError, Fetcher};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// Downloads a URI to a file that does not exist yet, and tells its size.
pub(crate) async fn download(fetcher: &Fetcher, uri: &str, headers: &HeaderMap, to: &Path) -> Result<u64, FetchError> {
    let mut uri = uri.to_owned();
    let mut headers = headers.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer = get(fetcher, &uri, &headers).await?;
        let status = answer.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            let next = redirect(&uri, &answer)?;
            // What the client sends to one host is nobody else's business.
            if authority(&next) != authority(&uri) {
                headers.clear();
            }
            uri = next;
            continue;
        }
        check_status(status)?;
        if answer.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(FetchError::new(Code::Aborted, "the origin encoded the content, which nobody asked for"));
        }
        return save(fetcher, answer.into_body(), to).await;
    }
    Err(FetchError::new(Code::Aborted, format!("the origin redirected more than {MAX_REDIRECTS} times")))
}

fn check_status(status: StatusCode) -> Result<(), FetchError> {
    let code = match status {
        StatusCode::OK => return Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => Code::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        status if status.is_server_error() => Code::Unavailable,
        _ => Code::Aborted,
    };
    Err(FetchError::new(code, format!("the origin answered {status}")))
}

fn authority(uri: &str) -> Option<(String, String, u16)> {
    parts(uri).map(|parts| (parts.scheme, parts.host, parts.port))
}

/// Where an answer redirects to: an absolute URI, or one relative to the host or the path.
fn redirect(from: &str, answer: &Response<Incoming>) -> Result<String, FetchError> {
    let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or_else(|| FetchError::new(Code::Aborted, "the origin redirected to nowhere"))?;
    if location.contains("://") {
        return Ok(location.to_owned());
    }
    let (scheme, rest) = from.split_once("://").unwrap_or_default();
    if let Some(host) = location.strip_prefix("//") {
        return Ok(format!("{scheme}://{host}"));
    }
    let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(path_at);
    if location.starts_with('/') {
        return Ok(format!("{scheme}://{host}{location}"));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    Ok(format!("{scheme}://{host}{parent}/{location}"))
}

async fn get(fetcher: &Fetcher, uri: &str, headers: &HeaderMap) -> Result<Response<Incoming>, FetchError> {
    let denied = || FetchError::new(Code::PermissionDenied, format!("`{}` is no allowed origin", uri.escape_debug()));
    let rule = fetcher.origins.rule(uri).ok_or_else(denied)?;
    let parts = parts(uri).filter(|parts| parts.scheme != "git").ok_or_else(denied)?;
    let addresses = addresses(fetcher, rule, &parts.host, parts.port).await?;
    let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| FetchError::io(&error))?;
    let parsed: Uri = uri.parse().map_err(|_| denied())?;
    let target = parsed.path_and_query().map_or("/", |target| target.as_str());
    let host = parsed.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(target)
        .header(HOST, host)
        .header(USER_AGENT, concat!("buildnet/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .body(Empty::new())
        .map_err(|error| FetchError::new(Code::InvalidArgument, error.to_string()))?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    if parts.scheme == "http" {
        return send(stream, request).await;
    }
    let name = ServerName::try_from(parts.host).map_err(|_| denied())?;
    let connector = tokio_rustls::TlsConnector::from(tls(fetcher)?);
    let stream = connector.connect(name, stream).await.map_err(|error| FetchError::io(&error))?;
    send(stream, request).await
}

/// The addresses of a host, of which all must be allowed: a name that also leads elsewhere is a trick.
pub(super) async fn addresses(
    fetcher: &Fetcher,
    rule: &super::OriginRule,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, FetchError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| FetchError::io(&error))?.collect();
    if found.is_empty() || found.iter().any(|address| !fetcher.origins.may_have(rule, address.ip())) {
        return Err(FetchError::new(Code::PermissionDenied, format!("`{host}` leads to no public address")));
    }
    Ok(found)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, FetchError> {
    let broken = |error: hyper::Error| FetchError::new(Code::Unavailable, error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // The connection ends when the answer's body is read or dropped.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(broken)
}

async fn save(fetcher: &Fetcher, mut body: Incoming, to: &Path) -> Result<u64, FetchError> {
    let limit = fetcher.origins.max_bytes;
    let mut file = tokio::fs::File::create_new(to).await.map_err(|error| local(&error))?;
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::new(Code::Unavailable, error.to_string()))?;
        let Ok(bytes) = frame.into_data() else { continue };
        size += bytes.len() as u64;
        if size > limit {
            return Err(FetchError::too_large(limit));
        }
        file.write_all(&bytes).await.map_err(|error| local(&error))?;
    }
    file.flush().await.map_err(|error| local(&error))?;
    Ok(size)
}

fn local(error: &io::Error) -> FetchError {
    FetchError::new(Code::ResourceExhausted, format!("the download cannot be kept: {error}"))
}

fn tls(fetcher: &Fetcher) -> Result<Arc<ClientConfig>, FetchError> {
    if let Some(config) = fetcher.tls.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    if fetcher.origins.authorities.is_empty() {
        // Single certificates that cannot be read are the system's business; without any, no server is trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        roots.add_parsable_certificates(fetcher.origins.authorities.iter().cloned().map(CertificateDer::from));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::new(Code::Internal, error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(fetcher.tls.get_or_init(|| Arc::new(config))))
}

/// A header that a client may ask for; those that frame or route the request are not its business.
pub(crate) fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    const OURS: [&str; 11] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
        "accept-encoding",
        "range",
    ];
    let name: HeaderName = name.parse().ok()?;
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    let theirs = !OURS.contains(&name.as_str()) && !name.as_str().starts_with("proxy-");
    theirs.then_some((name, value))
}
