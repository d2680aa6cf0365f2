//! Connections: how many, how long, and how they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::guard::Ends;

/// Connections served at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// A client that has not sent a request's header after this long is dropped. Also bounds how long a connection stays idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest header, in bytes.
const MAX_HEADER: usize = 64 << 10;

/// How long clients may take to read what is left when the daemon stops.
const LINGER: Duration = Duration::from_secs(2);

/// Serves until `stop` is cancelled, then lets requests in flight end.
pub async fn serve(mut listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let local = TcpListener::local_addr(&listener)?;
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            // Waits and tries again when file descriptors run out.
            (slot, Listener::accept(&mut listener).await)
        };
        let (slot, (stream, peer)) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        // Answers are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let serving = attend(stream, router.clone(), Ends { local, peer }, graceful.watcher());
        tokio::spawn(async move {
            serving.await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(LINGER, graceful.shutdown()).await;
    Ok(())
}

/// Serves one connection to its end.
async fn attend(stream: TcpStream, router: Router, ends: Ends, watcher: Watcher) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HEADER_TIMEOUT)
        .max_header_list_size(u32::try_from(MAX_HEADER).unwrap_or(u32::MAX));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        router.call(request)
    });
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(peer = %ends.peer, %error, "connection ended");
    }
}
