//! Connections: how many, how long, with or without TLS, and how they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::serve::Listener;
use buildnet_reapi::ClientCertificate;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::crowd::{Crowd, Seat};
use super::drain;
use super::guard::Ends;
use super::tls::{self, Tls};

/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// First byte of a TLS connection: the content type of a handshake (RFC 8446, section 5.1). No method of HTTP begins with it.
const TLS_HANDSHAKE: u8 = 22;

/// Largest header, in bytes.
const MAX_HEADER: usize = 64 << 10;

/// How long clients may take to read what is left when the daemon stops.
const LINGER: Duration = Duration::from_secs(2);

/// Bounds and encryption of connections.
#[derive(Clone)]
pub struct ConnectionOptions {
    /// Connections served at once; a further one takes the place of the one without a request that has been quiet for longest, and
    /// waits in the kernel's queue where all have requests.
    pub connections: usize,
    /// Requests served at once on one connection (HTTP/2); further ones wait at the client.
    pub requests_per_connection: u32,
    /// TLS, which every client must use that is not on this machine.
    pub tls: Option<Tls>,
    /// A client that has not sent a request's header after this long is dropped. Also bounds how long a connection stays idle.
    pub quiet: Duration,
    /// A client that acknowledges nothing for this long, when the kernel asks it, is gone: its machine or the way to it is dead.
    pub vanished: Duration,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests_per_connection: 256,
            tls: None,
            quiet: Duration::from_secs(30),
            vanished: Duration::from_mins(1),
        }
    }
}

/// Has the kernel end connections whose clients vanished without a word. What a listener is told goes for all that it accepts.
///
/// # Errors
/// The kernel refuses.
pub(super) fn notice_the_vanished(listener: &TcpListener, after: Duration) -> io::Result<()> {
    let milliseconds = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
    // Half of it in silence, and then a question now and then (tcp(7)).
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, (after / 2).max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepintvl(listener, (after / 8).max(Duration::from_secs(1)))?;
    // For what was sent and for questions alike: it counts in place of their number.
    sockopt::set_tcp_user_timeout(listener, milliseconds)?;
    Ok(())
}

/// Serves until `stop` is cancelled, then lets requests in flight end.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    options: ConnectionOptions,
    stop: CancellationToken,
) -> io::Result<()> {
    let local = TcpListener::local_addr(&listener)?;
    notice_the_vanished(&listener, options.vanished)?;
    if options.tls.is_none() && !is_loopback(local) {
        tracing::warn!("without TLS tokens can be read on the network; --tls-cert and --tls-key turn it on");
    }
    let crowd = Crowd::new(options.connections.max(1));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            // Waits and tries again when file descriptors run out.
            let accepted = Listener::accept(&mut listener).await;
            (crowd.enter().await, accepted)
        };
        let (seat, (stream, peer)) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let seat = Arc::new(seat);
        let (router, options, watcher, quiet) = (router.clone(), options.clone(), graceful.watcher(), options.quiet);
        let serving = attend(stream, router, Ends::new(local, peer), options, Arc::clone(&seat), watcher);
        tokio::spawn(async move {
            tokio::select! {
                () = serving => {}
                () = seat.ended(quiet) => tracing::debug!(%peer, "a connection that is quiet or slow is closed"),
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(LINGER, graceful.shutdown()).await;
    Ok(())
}

/// Serves one connection to its end.
async fn attend(
    stream: TcpStream,
    router: Router,
    ends: Ends,
    options: ConnectionOptions,
    seat: Arc<Seat>,
    watcher: Watcher,
) {
    let Some(tls) = &options.tls else {
        return converse(stream, router, ends, None, &options, seat, watcher).await;
    };
    match speaks_tls(&stream, options.quiet).await {
        Some(true) => {}
        // What passes between processes of one machine needs no secrecy from it; tokens are asked for all the same.
        Some(false) if is_loopback(ends.peer) => {
            return converse(stream, router, ends, None, &options, seat, watcher).await;
        }
        Some(false) => {
            tracing::debug!(peer = %ends.peer, "connection without TLS refused");
            return;
        }
        None => return,
    }
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = tls::shown(stream.get_ref().1);
            converse(stream, router, ends, certificate, &options, seat, watcher).await;
        }
        Ok(Err(error)) => tracing::debug!(peer = %ends.peer, %error, "no TLS agreed on"),
        Err(_) => tracing::debug!(peer = %ends.peer, "no TLS agreed on in time"),
    }
}

/// Whether a client begins with TLS, without taking anything from its stream; none when it is gone or says nothing.
async fn speaks_tls(stream: &TcpStream, quiet: Duration) -> Option<bool> {
    let mut first = [0];
    match tokio::time::timeout(quiet, stream.peek(&mut first)).await {
        Ok(Ok(1)) => Some(first[0] == TLS_HANDSHAKE),
        _ => None,
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Speaks HTTP/1.1 or HTTP/2 over a connection.
async fn converse<S>(
    stream: S,
    router: Router,
    ends: Ends,
    certificate: Option<ClientCertificate>,
    options: &ConnectionOptions,
    seat: Arc<Seat>,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(options.quiet).max_buf_size(MAX_HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(options.quiet)
        .keep_alive_timeout(options.quiet)
        .max_concurrent_streams(options.requests_per_connection)
        // Large uploads in fewer frames than with the default of 16 KiB.
        .max_frame_size(256 << 10)
        .max_header_list_size(u32::try_from(MAX_HEADER).unwrap_or(u32::MAX));
    let router = TowerToHyperService::new(router);
    let peer = ends.peer;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends.clone());
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        request.extensions_mut().insert(seat.hangup().clone());
        let underway = seat.request();
        let (request, watched) = drain::watch(request);
        let answer = router.call(request);
        async move {
            let answer = answer.await;
            answer.map(|response| {
                watched.answered(&response);
                underway.until_sent(response)
            })
        }
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
