//! Requests to object stores, over HTTP/1.1.

use std::time::Duration;

use buildnet_reapi::TlsOptions;
use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::mpsc::Receiver;

use crate::error::{BackendError, Failure};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of an error's description that are read.
const MAX_ERROR: usize = 16 << 10;

/// What is sent.
pub(super) type Content = UnsyncBoxBody<Bytes, std::io::Error>;

/// Nothing.
pub(super) fn empty() -> Content {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Bytes in memory.
pub(super) fn whole(content: Bytes) -> Content {
    Full::new(content).map_err(|never| match never {}).boxed_unsync()
}

/// Pieces as they come.
pub(super) fn streamed(pieces: Receiver<Bytes>) -> Content {
    let pieces = futures::stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

/// A client with its connections, which clones share.
#[derive(Clone)]
pub(super) enum Http {
    Plain(Client<HttpConnector, Content>),
    Encrypted(Client<HttpsConnector<HttpConnector>, Content>),
}

impl Http {
    /// Trusts whom the options say, if anything is to be encrypted.
    pub(super) fn new(encrypted: bool, tls: &TlsOptions) -> Result<Self, BackendError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(IDLE).pool_max_idle_per_host(64).pool_timer(TokioTimer::new());
        if !encrypted {
            return Ok(Self::Plain(client.build(connector)));
        }
        let config = tls.client_config().map_err(|error| {
            BackendError::new(Failure::Denied, format!("no TLS towards the object store: {error}"))
                .with_hint("name readable PEM files; without --tls-ca install the package `ca-certificates`")
        })?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        Ok(Self::Encrypted(client.build(builder.https_only().enable_http1().wrap_connector(connector))))
    }

    /// Sends a request; none when the object is not there. Other failures are told with what the store says of them.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &(impl AsRef<str> + Sync),
        content: Content,
        length: Option<u64>,
    ) -> Result<Option<Response<Incoming>>, BackendError> {
        let mut request = Request::builder().method(method).uri(url.as_ref());
        if let Some(length) = length {
            request = request.header(hyper::header::CONTENT_LENGTH, length);
        }
        let request = request.body(content).map_err(|error| BackendError::new(Failure::Refused, error.to_string()))?;
        let answer = match self {
            Self::Plain(client) => client.request(request),
            Self::Encrypted(client) => client.request(request),
        };
        let answer = answer.await.map_err(|error| broken(url, &error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Some(answer));
        }
        let body = Limited::new(answer.into_body(), MAX_ERROR).collect().await;
        let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let told = told(&text).unwrap_or_default();
        let failure = match status.as_u16() {
            401 | 403 | 301 | 307 | 405 => Failure::Denied,
            400 | 411 | 413 => Failure::Refused,
            _ => Failure::Unreachable,
        };
        let mut error = BackendError::new(failure, format!("{} answers {status}{told}", place(url)));
        if failure == Failure::Denied {
            error = error.with_hint(
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the region, and the clock; the keys must allow s3:GetObject, \
                 s3:PutObject, s3:DeleteObject and s3:ListBucket",
            );
        }
        Err(error)
    }
}

/// A connection that broke.
pub(super) fn broken(url: &impl AsRef<str>, error: &(dyn std::error::Error + 'static)) -> BackendError {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    BackendError::new(Failure::Unreachable, format!("no connection to {}: {cause}", place(url)))
        .with_hint("check that the object store runs and that no firewall is between")
}

/// The address without the object and without the signature, which is a secret for as long as it is good.
fn place(url: &impl AsRef<str>) -> String {
    let url = url.as_ref();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap_or_default())
}

/// The code and the message of an error's XML.
fn told(text: &str) -> Option<String> {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once('<')?;
        Some(content.chars().filter(|c| !c.is_control()).take(200).collect::<String>())
    };
    let code = element("Code")?;
    Some(element("Message").map_or_else(|| format!(": {code}"), |message| format!(": {code}: {message}")))
}
