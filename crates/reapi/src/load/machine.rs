//! What the machine allows, so that a measurement can say how near it comes: one core hashing, the disk writing durably, and
//! HTTP/2 over loopback with messages of the same sizes and nothing done with them. The last shares the machine between
//! client and server as a cache on it does.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, Response};
use buildnet_digest::DigestFunction;
use bytes::Bytes;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;

use super::content::noise;
use super::link::Link;
use super::{LoadOptions, Measurement, wire};
use crate::client::{MAX_FRAME, RemoteError};

/// How long hashing and small syncs are measured.
const MOMENT: Duration = Duration::from_secs(1);
/// Bytes that are written in one call.
const BLOCK: usize = 256 << 10;
/// Files of the size of a large blob that are written.
const FILES: usize = 8;
/// Bytes of one message of a large request.
const MESSAGE: usize = 1 << 20;

/// Limits that do not depend on a workload.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Machine {
    /// MiB that one core hashes in a second, with SHA-256.
    pub sha256: f64,
    /// MiB written in a second, as files of the size of a large blob, each synced once.
    pub disk: f64,
    /// Writes of a small blob in a second, each synced.
    pub syncs: f64,
}

/// How near one measurement comes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Nearness {
    /// Requests in a second that HTTP/2 over loopback allows at these sizes.
    pub echo: f64,
    /// Percent of that.
    pub of_echo: f64,
    /// Percent of one core hashing, where content is stored.
    pub of_sha256: Option<f64>,
    /// Percent of the disk, where content is stored.
    pub of_disk: Option<f64>,
}

impl Machine {
    /// Measures. `directory` lies on the disk that counts.
    pub(super) fn measure(options: &LoadOptions, directory: &Path) -> Result<Self, RemoteError> {
        let content = noise(1, options.large);
        let started = Instant::now();
        let mut hashed = 0;
        while started.elapsed() < MOMENT {
            std::hint::black_box(DigestFunction::Sha256.digest(std::hint::black_box(&content)));
            hashed += content.len();
        }
        let sha256 = mebibytes(hashed, started.elapsed());
        let path = directory.join(format!("buildnet-bench-{}", std::process::id()));
        let disk = write(&path, &content, options.small);
        let removed = std::fs::remove_file(&path);
        let failed = |source| RemoteError::File { path: path.clone(), source };
        let (disk, syncs) = disk.map_err(failed)?;
        removed.map_err(failed)?;
        Ok(Self { sha256, disk, syncs })
    }

    /// How near a measurement comes.
    pub(super) async fn near(&self, options: &LoadOptions, measurement: &Measurement) -> Result<Nearness, RemoteError> {
        let requests = measurement.requests.max(1);
        let each = |bytes: u64| usize::try_from(bytes / requests).unwrap_or(usize::MAX);
        let lanes = if measurement.workload.is_large() { options.connections } else { options.in_flight };
        let echo = Echo { request: each(measurement.sent), answer: each(measurement.received), lanes: lanes.max(1) };
        let echo = echo.run(options).await.map_err(|status| RemoteError::Call {
            action: "measure loopback with",
            target: "this machine".into(),
            status: Box::new(status),
        })?;
        let stores = measurement.workload.stores();
        let percent = |rate: f64, limit: f64| if limit > 0.0 { rate / limit * 100.0 } else { 0.0 };
        Ok(Nearness {
            echo,
            of_echo: percent(measurement.requests_a_second(), echo),
            of_sha256: stores.then(|| percent(measurement.mebibytes(), self.sha256)),
            of_disk: stores.then(|| percent(measurement.mebibytes(), self.disk)),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sha256, disk, syncs } = self;
        write!(
            f,
            "this machine: SHA-256 {sha256:.0} MiB/s on one core, disk {disk:.0} MiB/s with syncs, {syncs:.0} syncs/s"
        )
    }
}

impl fmt::Display for Nearness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>19} {:.0} % of {:.0} requests/s over loopback", "", self.of_echo, self.echo)?;
        if let (Some(sha256), Some(disk)) = (self.of_sha256, self.of_disk) {
            write!(f, ", {sha256:.0} % of a core hashing, {disk:.0} % of the disk")?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
fn mebibytes(bytes: usize, elapsed: Duration) -> f64 {
    bytes as f64 / f64::from(1 << 20) / elapsed.as_secs_f64().max(1e-9)
}

/// MiB in a second for large files, and synced small writes in a second.
fn write(path: &Path, content: &[u8], small: usize) -> std::io::Result<(f64, f64)> {
    let started = Instant::now();
    for _ in 0..FILES {
        let mut file = File::create(path)?;
        for block in content.chunks(BLOCK) {
            file.write_all(block)?;
        }
        file.sync_data()?;
    }
    let large = mebibytes(content.len() * FILES, started.elapsed());
    let mut file = File::create(path)?;
    let (started, mut syncs) = (Instant::now(), 0);
    while started.elapsed() < MOMENT {
        file.write_all(&content[..small.min(content.len())])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok((large, f64::from(syncs) / started.elapsed().as_secs_f64()))
}

/// Requests and answers of these sizes that nobody looks at.
struct Echo {
    request: usize,
    answer: usize,
    lanes: usize,
}

impl Echo {
    /// Requests in a second.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    async fn run(&self, options: &LoadOptions) -> Result<f64, Status> {
        let failed = |error: std::io::Error| Status::unavailable(error.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let authority = listener.local_addr().map_err(failed)?.to_string();
        let answer = Bytes::from(vec![0; self.answer]);
        let serving = tokio::spawn(serve(listener, answer));
        let mut links = Vec::new();
        for _ in 0..options.connections.max(1) {
            links.push(Arc::new(Link::open(&authority, false, None).await?));
        }
        let whole = Bytes::from(vec![0; self.request]);
        let frames: Vec<Bytes> = (0..self.request.max(1))
            .step_by(MESSAGE)
            .map(|start| whole.slice(start..self.request.min(start + MESSAGE)))
            .collect();
        let count = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let deadline = started + options.duration.min(MOMENT * 2);
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..self.lanes {
            let link = Arc::clone(&links[lane % links.len()]);
            let (frames, count) = (frames.clone(), Arc::clone(&count));
            let runtime = link.runtime().clone();
            let work = async move {
                while Instant::now() < deadline {
                    wire::call(&link, "/echo", frames.iter().cloned(), drop).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Status>(())
            };
            tasks.spawn_on(work, &runtime);
        }
        while let Some(task) = tasks.join_next().await {
            // A task neither panics nor is cancelled while the set lives.
            task.unwrap_or(Ok(()))?;
        }
        serving.abort();
        Ok(count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
    }
}

async fn serve(listener: TcpListener, answer: Bytes) {
    // Aborted with its connections.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        // Whether it broke off is seen by the client.
        connections.spawn(async move { drop(converse(stream, answer).await) });
    }
}

async fn converse(stream: TcpStream, answer: Bytes) -> Result<(), Status> {
    let broken = |error: h2::Error| Status::from_error(error.into());
    stream.set_nodelay(true).map_err(|error| Status::unavailable(error.to_string()))?;
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(4 << 20).initial_connection_window_size(16 << 20).max_frame_size(MAX_FRAME);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.map_err(broken)?;
    let mut requests = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(accepted) => {
                    let (request, respond) = accepted.map_err(broken)?;
                    requests.push(reply(request.into_body(), respond, answer.clone()));
                }
                None => return Ok(()),
            },
            Some(done) = futures::StreamExt::next(&mut requests) => done.map_err(broken)?,
        }
    }
}

async fn reply(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    answer: Bytes,
) -> Result<(), h2::Error> {
    while let Some(bytes) = body.data().await {
        body.flow_control().release_capacity(bytes?.len())?;
    }
    let mut stream = respond.send_response(Response::new(()), false)?;
    stream.send_data(answer, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
