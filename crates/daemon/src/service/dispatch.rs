//! The service itself.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use buildnet_cas::Store;
use buildnet_engine::build::{EnvSource, Plan};
use buildnet_event::{BuildId, BuildOutcome, Bus, EventKind, Level};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use super::flight::{BuildInfo, Ending, Flight, FlightKey};
use super::request::BuildRequest;
use super::stream::BuildStream;
use super::workbench::{Job, Workbench};
use crate::error::ErrorReport;

/// How a service is set up.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// How many events are held for readers that are slow or come back.
    pub event_capacity: usize,
    /// The workspace of requests that name none.
    pub default_workspace: Option<PathBuf>,
}

/// What came of a wish to cancel a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Cancelled {
    /// Its processes are being ended.
    Cancelling,
    /// Other clients wait for the same build; it goes on for them.
    StillWanted {
        /// How many.
        others: usize,
    },
}

/// Builds workspaces on request. Cloning yields the same service.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    workbench: Box<dyn Workbench>,
    bus: Bus,
    options: ServiceOptions,
    flights: Mutex<BTreeMap<FlightKey, Arc<Flight>>>,
    /// Builds of one workspace run one after the other: they write to the same outputs.
    turns: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    running: TaskTracker,
}

impl Service {
    /// A service that builds with `workbench`.
    pub fn new(workbench: impl Workbench, options: ServiceOptions) -> Self {
        let bus = Bus::new(options.event_capacity);
        Self {
            shared: Arc::new(Shared {
                workbench: Box::new(workbench),
                bus,
                options,
                flights: Mutex::default(),
                turns: Mutex::default(),
                running: TaskTracker::new(),
            }),
        }
    }

    /// Everything that happens.
    pub fn bus(&self) -> &Bus {
        &self.shared.bus
    }

    /// The rooms below.
    pub fn workbench(&self) -> &dyn Workbench {
        &*self.shared.workbench
    }

    /// The root of the workspace that a request is about.
    pub fn root_of(&self, workspace: &str) -> Result<PathBuf, ErrorReport> {
        let directory = match (workspace, &self.shared.options.default_workspace) {
            ("", Some(default)) => default.as_path(),
            ("", None) => {
                return Err(ErrorReport::user("the request names no workspace").with_hint(
                    "Put the workspace's directory under \"workspace\", or start the daemon in a workspace.",
                ));
            }
            (path, _) => Path::new(path),
        };
        if !directory.is_absolute() {
            return Err(ErrorReport::user(format!("workspace {} is not an absolute path", directory.display())));
        }
        self.shared.workbench.find_root(directory)
    }

    /// The cache that builds of a workspace use; of the default workspace, or of none in particular, if it is empty.
    pub fn store_for(&self, workspace: &str) -> Result<Store, ErrorReport> {
        let root = match (workspace, &self.shared.options.default_workspace) {
            ("", Some(default)) => self.shared.workbench.find_root(default).ok(),
            ("", None) => None,
            (path, _) => Some(self.root_of(path)?),
        };
        self.shared.workbench.store(root.as_deref())
    }

    /// Plans a request and starts to build it, or joins a build that does the same already.
    /// Must be called on a tokio runtime; planning blocks.
    pub fn build(&self, request: BuildRequest) -> Result<BuildStream, ErrorReport> {
        if self.shared.running.is_closed() {
            return Err(ErrorReport::environment("the daemon is stopping"));
        }
        let root = self.root_of(&request.workspace)?;
        let plan = self.shared.workbench.plan(&root, &request)?;
        let environment = self.shared.workbench.environment_of(&request);
        let key = FlightKey::new(root.clone(), &request, declared(&plan, &environment));
        let (detached, compact) = (request.detached, request.compact);

        let mut flights = self.shared.flights.lock();
        if let Some(flight) = flights.get(&key).filter(|flight| flight.joinable()) {
            return Ok(BuildStream::new(flight.join(detached), &self.shared.bus, compact));
        }
        let (done, ending) = watch::channel(None);
        let started_ms = now_ms();
        let id = BuildId::fresh();
        let after = self.shared.bus.last_seq();
        let flight = Arc::new(Flight::new(id, root, request.command(), started_ms, after, ending));
        let stream = BuildStream::new(flight.join(detached), &self.shared.bus, compact);
        flights.insert(key.clone(), Arc::clone(&flight));
        drop(flights);

        let service = self.clone();
        self.shared.running.spawn(async move {
            let job = Job { request, plan, environment };
            let flying = tokio::spawn({
                let (service, flight) = (service.clone(), Arc::clone(&flight));
                async move { service.fly(job, &flight).await }
            });
            // A panic must not leave its listeners waiting.
            let result =
                flying.await.unwrap_or_else(|panic| Err(ErrorReport::internal("the build broke off").because(&panic)));
            service.land(&key, &flight, &done, result);
        });
        Ok(stream)
    }

    async fn fly(&self, job: Job, flight: &Arc<Flight>) -> Result<BuildOutcome, ErrorReport> {
        let turn = Arc::clone(self.shared.turns.lock().entry(flight.root.clone()).or_default());
        let _turn = if let Ok(turn) = turn.try_lock() {
            turn
        } else {
            let text = format!("Waiting for another build of {}", flight.root.display());
            let notice = EventKind::Notice { level: Level::Info, text, hint: None };
            self.shared.bus.publish(Some(flight.id), notice);
            tokio::select! {
                turn = turn.lock() => turn,
                () = flight.cancel.cancelled() => return Ok(BuildOutcome::Cancelled),
            }
        };
        self.shared.workbench.run(job, &self.shared.bus, flight.id, flight.cancel.clone()).await
    }

    fn land(
        &self,
        key: &FlightKey,
        flight: &Arc<Flight>,
        done: &watch::Sender<Ending>,
        result: Result<BuildOutcome, ErrorReport>,
    ) {
        let mut flights = self.shared.flights.lock();
        // A request that came after a cancellation may have put its own flight there.
        if flights.get(key).is_some_and(|there| Arc::ptr_eq(there, flight)) {
            flights.remove(key);
        }
        drop(flights);
        done.send_replace(Some(result));
    }

    /// Waits until a file changed that matters to a request.
    pub async fn changed(&self, request: &BuildRequest) -> Result<(), ErrorReport> {
        let root = self.root_of(&request.workspace)?;
        let plan = self.shared.workbench.plan(&root, request)?;
        self.shared.workbench.changed(&plan).await
    }

    /// Builds in flight, oldest first.
    pub fn in_flight(&self) -> Vec<BuildInfo> {
        let mut builds: Vec<_> = self.shared.flights.lock().values().map(|flight| flight.info()).collect();
        builds.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        builds
    }

    /// Listens to a build in flight.
    pub fn listen(&self, id: BuildId, compact: bool) -> Option<BuildStream> {
        let flights = self.shared.flights.lock();
        let flight = flights.values().find(|flight| flight.id == id)?;
        Some(BuildStream::new(flight.join(false), &self.shared.bus, compact))
    }

    /// Cancels a build in flight, unless more than one client listens to it and `all` is false. None if there is no such build.
    pub fn cancel(&self, id: BuildId, all: bool) -> Option<Cancelled> {
        let flights = self.shared.flights.lock();
        let flight = flights.values().find(|flight| flight.id == id)?;
        let others = flight.info().listeners.saturating_sub(1);
        if others > 0 && !all {
            return Some(Cancelled::StillWanted { others });
        }
        flight.cancel.cancel();
        Some(Cancelled::Cancelling)
    }

    /// Takes no further requests and waits until every build has ended. Builds are cancelled first unless `finish`.
    pub async fn shut_down(&self, finish: bool) {
        self.shared.running.close();
        if !finish {
            for flight in self.shared.flights.lock().values() {
                flight.cancel.cancel();
            }
        }
        self.shared.running.wait().await;
        self.shared.workbench.settle().await;
        self.shared.bus.close();
    }
}

/// What of an environment makes a difference to a plan: the variables that its tasks declare, the places of programs, and our own.
fn declared(plan: &Plan, environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = |name: &str| name == "PATH" || name.starts_with("BUILDNET_");
    let mut found: BTreeMap<_, _> =
        environment.iter().filter(|(name, _)| ours(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    for spec in plan.tasks.values() {
        for (name, source) in &spec.environment {
            if *source == EnvSource::Inherit
                && let Some(value) = environment.get(name)
            {
                found.insert(name.clone(), value.clone());
            }
        }
    }
    found
}

fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
