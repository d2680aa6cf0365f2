//! A daemon on a free port, with a workbench whose builds do what a test says.

#![allow(dead_code, unreachable_pub, reason = "each test file uses another part of it")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use buildnet_cas::Store;
use buildnet_daemon::ErrorReport;
use buildnet_daemon::client::Daemon;
use buildnet_daemon::server::{Access, AccessOptions, App, ConnectionOptions, router, serve};
use buildnet_daemon::service::local::{open_history, open_store};
use buildnet_daemon::service::{BuildRequest, Job, Service, ServiceOptions, Workbench};
use buildnet_engine::build::{ActionSpec, EnvSource, Plan};
use buildnet_event::{BuildId, BuildOutcome, Bus, EventKind, TaskName, TaskSummary, Tier, TierCounts};
use buildnet_history::HistoryStore;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Builds end when `gate` lets them, or when they are cancelled.
#[derive(Clone)]
pub struct Bench {
    pub gate: Arc<Semaphore>,
    pub runs: Arc<AtomicUsize>,
    pub at_once: Arc<AtomicUsize>,
    pub most_at_once: Arc<AtomicUsize>,
    /// Holds the cache and the history.
    pub state: Arc<tempfile::TempDir>,
}

impl Bench {
    /// Lets `builds` builds end at once.
    pub fn open(builds: usize) -> Self {
        Self {
            gate: Arc::new(Semaphore::new(builds)),
            runs: Arc::default(),
            at_once: Arc::default(),
            most_at_once: Arc::default(),
            state: Arc::new(tempfile::tempdir().unwrap()),
        }
    }
}

impl Workbench for Bench {
    fn find_root(&self, directory: &Path) -> Result<PathBuf, ErrorReport> {
        Ok(directory.to_owned())
    }

    fn plan(&self, root: &Path, request: &BuildRequest) -> Result<Arc<Plan>, ErrorReport> {
        if request.packages.contains(&"missing".to_owned()) {
            return Err(ErrorReport::user("there is no package missing").with_hint("Did you mean `api`?"));
        }
        let mut tasks = BTreeMap::new();
        for index in 0..3 {
            let name = TaskName::new(format!("p{index}"), "build");
            let mut spec = ActionSpec::new(name.clone(), "");
            spec.environment.insert("DECLARED".into(), EnvSource::Inherit);
            tasks.insert(name, spec);
        }
        let requested = tasks.keys().cloned().collect();
        Ok(Arc::new(Plan { root: root.to_owned(), tasks, requested }))
    }

    fn store(&self, _root: Option<&Path>) -> Result<Store, ErrorReport> {
        open_store(&self.state.path().join("cache"), 1 << 30)
    }

    fn history(&self, _root: &Path) -> Result<Arc<dyn HistoryStore>, ErrorReport> {
        Ok(Arc::new(open_history(self.state.path())?))
    }

    fn run<'a>(
        &'a self,
        job: Job,
        bus: &'a Bus,
        id: BuildId,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<BuildOutcome, ErrorReport>> {
        Box::pin(async move {
            self.runs.fetch_add(1, Ordering::SeqCst);
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let workspace = job.plan.root.display().to_string();
            let command = job.request.command();
            bus.publish(Some(id), EventKind::BuildStarted { workspace, command, tasks: job.plan.tasks.len() as u64 });
            assert!(!job.request.packages.contains(&"panics".to_owned()), "as the test wants it");
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => BuildOutcome::Cancelled,
                permit = self.gate.acquire() => { permit.unwrap().forget(); BuildOutcome::Success }
            };
            let mut counts = TierCounts::default();
            for task in job.plan.tasks.keys().filter(|_| outcome == BuildOutcome::Success) {
                counts.instant += 1;
                bus.publish(Some(id), EventKind::TaskFinished(Box::new(instant(task))));
            }
            bus.publish(Some(id), EventKind::BuildFinished { outcome, duration_us: 1500, counts, saved_us: 0 });
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(outcome)
        })
    }
}

fn instant(task: &TaskName) -> TaskSummary {
    TaskSummary {
        tier: Some(Tier::Instant),
        duration_us: 10,
        execution_us: 100,
        ..TaskSummary::new(task.clone(), Vec::new())
    }
}

/// A running daemon.
pub struct Running {
    pub address: SocketAddr,
    pub daemon: Daemon,
    pub service: Service,
    pub stop: CancellationToken,
}

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Starts a daemon; with a token if it is to ask for one.
pub async fn start(bench: Bench, token: Option<&str>) -> Running {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = ServiceOptions { event_capacity: 64, default_workspace: Some("/w".into()) };
    let service = Service::new(bench, options);
    let stop = CancellationToken::new();
    let options = AccessOptions { token: token.map(str::to_owned), ..AccessOptions::default() };
    let access = Access::new(address, options).unwrap();
    let app = App::new(service.clone(), access, stop.clone());
    tokio::spawn(app.metrics().clone().follow(service.bus().clone()));
    tokio::spawn(serve(listener, router(app), ConnectionOptions::default(), stop.clone()));
    Running { address, daemon: Daemon::at(address, token.map(str::to_owned)), service, stop }
}

/// Sends bytes as they are and returns what comes back until the daemon closes the connection.
pub async fn raw(address: SocketAddr, request: String) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .unwrap()
}

/// A request of HTTP/1.1 with further header lines.
pub async fn request(address: SocketAddr, line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    raw(address, format!("{line} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"))
        .await
}

/// Waits until something holds; the test's own time limit ends it otherwise.
pub async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
