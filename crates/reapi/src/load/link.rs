//! A connection of the load generator: HTTP/2 and nothing above it, in a thread of its own. The requests on it are made, sent
//! and answered in that thread, so that none is handed from one core to another on the client's side.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use axum::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use axum::http::{Request, Uri};
use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;

use crate::client::MAX_FRAME;

/// How much of an answer may be underway, in bytes: of one, and of all on a connection.
const WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// One connection. Its thread ends when it is dropped.
pub(super) struct Link {
    runtime: Handle,
    sender: SendRequest<Bytes>,
    scheme: Scheme,
    authority: Authority,
    headers: HeaderMap,
    _stop: oneshot::Sender<()>,
}

impl Link {
    /// Connects to `host:port`.
    pub(super) async fn open(authority: &str, secure: bool, token: Option<&str>) -> Result<Self, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("buildnet-bench/", env!("CARGO_PKG_VERSION"))));
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| Status::internal("the token cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, opened) = oneshot::channel();
        let address = authority.to_owned();
        let serve = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.to_string()))),
            };
            let handle = runtime.handle().clone();
            runtime.block_on(async move {
                let connected = connect(&address, secure).await.map(|sender| (handle, sender));
                // Who waits for it may be gone.
                drop(ready.send(connected.map_err(|error| error.to_string())));
                // Ends with an error when the link is dropped.
                drop(stopped.await);
            });
        };
        let thread = std::thread::Builder::new().name("load".into()).spawn(serve);
        thread.map_err(|error| Status::unavailable(error.to_string()))?;
        let opened = opened.await.map_err(|_| Status::unavailable("the connection's thread ended"))?;
        let (runtime, sender) = opened.map_err(Status::unavailable)?;
        Ok(Self {
            runtime,
            sender,
            scheme: if secure { Scheme::HTTPS } else { Scheme::HTTP },
            authority: authority.parse().map_err(|_| Status::internal("no authority"))?,
            headers,
            _stop: stop,
        })
    }

    /// Where what is done on this connection runs.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// The head of a request for a method.
    pub(super) fn request(&self, path: &'static str) -> Request<()> {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        let mut request = Request::new(());
        *request.method_mut() = axum::http::Method::POST;
        // With all three parts it is whole.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connect(authority: &str, secure: bool) -> Result<SendRequest<Bytes>, Failure> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    if !secure {
        return shake_hands(stream).await;
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned())?;
    shake_hands(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?).await
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Bytes>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .enable_push(false);
    let (sender, connection) = builder.handshake(stream).await?;
    // Whoever has a request on it sees the same error.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
