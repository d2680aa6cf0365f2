//! A workspace in a temporary directory, with a cache beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use buildnet_cas::{Store, StoreOptions};
use buildnet_engine::build::{ActionSpec, BuildOptions, BuildReport, Builder, Changes, InputGroup, Plan, SandboxMode};
use buildnet_event::{BuildId, BuildOutcome, Bus, Event, EventKind, Reason, TaskName, TaskSummary, Tier};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The `build` task of a package.
pub(crate) fn task(package: &str) -> TaskName {
    TaskName::new(package, "build")
}

/// Lets the last changes become older than the clock's granularity.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_millis(40));
}

pub(crate) struct Fixture {
    place: Arc<TempDir>,
    checkout: &'static str,
    specs: Arc<Mutex<BTreeMap<TaskName, ActionSpec>>>,
    builder: Builder,
    /// What opening the state said.
    pub(crate) told: Option<String>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), "one", Arc::default())
    }

    fn at(place: Arc<TempDir>, checkout: &'static str, specs: Arc<Mutex<BTreeMap<TaskName, ActionSpec>>>) -> Self {
        let root = place.path().join(checkout);
        fs::create_dir_all(&root).unwrap();
        let root = root.canonicalize().unwrap();
        let store = Store::open(&place.path().join("cache"), StoreOptions::default()).unwrap();
        let (builder, told) = Builder::open(&root, &root.join(".buildnet"), store).unwrap();
        Self { place, checkout, specs, builder, told }
    }

    /// The same workspace in a fresh process.
    pub(crate) fn reopened(&self) -> Self {
        Self::at(Arc::clone(&self.place), self.checkout, Arc::clone(&self.specs))
    }

    /// A copy of the workspace's sources elsewhere, with the same cache.
    pub(crate) fn second_checkout(&self) -> Self {
        let other = Self::at(Arc::clone(&self.place), "two", Arc::clone(&self.specs));
        for spec in self.specs.lock().unwrap().values() {
            let (from, to) = (self.path(&spec.directory), other.path(&spec.directory));
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{}/{}", spec.directory, entry.file_name().to_str().unwrap());
                if entry.file_type().unwrap().is_file() && !spec.outputs.contains(&path) {
                    fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
                }
            }
        }
        other
    }

    /// Strict where the kernel lets us, else off, and loudly.
    pub(crate) fn mode() -> SandboxMode {
        match buildnet_sandbox::probe().strict_supported() {
            Ok(()) => SandboxMode::Strict,
            Err(error) => {
                eprintln!("SKIPPED: the strict sandbox: {error}");
                SandboxMode::Off
            }
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(self.checkout).join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Adds or replaces the `build` task of a package.
    pub(crate) fn task(&self, package: &str, dependencies: &[&str], script: &str, outputs: &[&str]) {
        let all = InputGroup {
            base: package.to_owned(),
            include: vec!["**/*".to_owned()],
            exclude: outputs
                .iter()
                .filter_map(|path| path.strip_prefix(package)?.strip_prefix('/'))
                .chain(["work"])
                .map(str::to_owned)
                .collect(),
            gitignore: true,
        };
        let spec = ActionSpec {
            commands: vec![script.to_owned()],
            inputs: vec![all],
            dependencies: dependencies.iter().map(|&package| task(package)).collect(),
            outputs: outputs.iter().map(|&path| path.to_owned()).collect(),
            sandbox: Self::mode(),
            ..ActionSpec::new(task(package), package)
        };
        self.specs.lock().unwrap().insert(task(package), spec);
    }

    pub(crate) fn change(&self, package: &str, change: impl FnOnce(&mut ActionSpec)) {
        change(self.specs.lock().unwrap().get_mut(&task(package)).unwrap());
    }

    fn plan(&self) -> Plan {
        let tasks = self.specs.lock().unwrap().clone();
        let root = self.path("").canonicalize().unwrap();
        Plan { root, requested: tasks.keys().cloned().collect(), tasks }
    }

    pub(crate) fn options() -> BuildOptions {
        BuildOptions {
            jobs: 2,
            search_path: ["/usr/bin", "/bin"].iter().map(PathBuf::from).collect(),
            ..BuildOptions::default()
        }
    }

    pub(crate) async fn build(&self) -> Built {
        self.build_with(Self::options()).await
    }

    pub(crate) async fn build_with(&self, options: BuildOptions) -> Built {
        self.run(options, CancellationToken::new(), Bus::new(10_000)).await
    }

    /// Builds, and cancels while the first command runs.
    pub(crate) async fn cancelled_when_running(&self) -> Built {
        let cancel = CancellationToken::new();
        let trigger = cancel.clone();
        self.run_and(cancel, |event| matches!(event, EventKind::TaskExecuting { .. }), || trigger.cancel()).await
    }

    /// Builds, and does something while the command of a package runs.
    pub(crate) async fn build_while_running(&self, package: &str, act: impl FnOnce()) -> Built {
        let name = task(package);
        let begins = |event: &EventKind| matches!(event, EventKind::TaskExecuting { task, .. } if *task == name);
        self.run_and(CancellationToken::new(), begins, act).await
    }

    async fn run_and(&self, cancel: CancellationToken, when: impl Fn(&EventKind) -> bool, act: impl FnOnce()) -> Built {
        let bus = Bus::new(10_000);
        let mut events = bus.subscribe();
        let watch = async move {
            while let Some(Ok(event)) = events.next().await {
                if when(&event.kind) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    act();
                    return;
                }
            }
        };
        tokio::join!(self.run(Self::options(), cancel, bus), watch).0
    }

    async fn run(&self, options: BuildOptions, cancel: CancellationToken, bus: Bus) -> Built {
        let id = BuildId::fresh();
        let plan = Arc::new(self.plan());
        let report = self.builder.build(plan, options, Changes::Unknown, &bus, id, cancel).await.unwrap();
        let mut reader = bus.subscribe_after(0);
        let mut events = Vec::new();
        while let Some(event) = reader.try_next() {
            events.push(event.unwrap());
        }
        Built { report, events }
    }

    /// Overwrites every byte that the cache holds of blobs.
    pub(crate) fn damage_cache(&self) {
        let mut pending = vec![self.place.path().join("cache")];
        while let Some(path) = pending.pop() {
            let metadata = fs::metadata(&path).unwrap();
            if metadata.is_dir() {
                pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else if metadata.len() > 0 {
                use std::os::unix::fs::FileExt;
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(&vec![0x55; usize::try_from(metadata.len()).unwrap()], 0).unwrap();
            }
        }
    }

    pub(crate) fn wipe_cache(&self) {
        self.builder.store().clear().unwrap();
    }
}

/// What a build did.
#[derive(Debug)]
pub(crate) struct Built {
    report: BuildReport,
    events: Vec<Arc<Event>>,
}

impl Built {
    pub(crate) fn outcome(&self) -> BuildOutcome {
        self.report.outcome
    }

    fn summaries(&self) -> impl Iterator<Item = &TaskSummary> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::TaskFinished(summary) => Some(&**summary),
            _ => None,
        })
    }

    /// Tasks that succeeded, with their tiers, by package.
    pub(crate) fn tiers(&self) -> Vec<(&str, Tier)> {
        let mut tiers: Vec<(&str, Tier)> =
            self.summaries().filter_map(|summary| Some((&*summary.task.package, summary.tier?))).collect();
        for event in &self.events {
            if let EventKind::TasksUnchanged { tasks } = &event.kind {
                tiers.extend(tasks.iter().map(|task| (&*task.package, Tier::Instant)));
            }
        }
        tiers.sort_unstable();
        tiers
    }

    /// Packages whose command was started, sorted.
    pub(crate) fn executed(&self) -> Vec<String> {
        let started = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::TaskExecuting { task, .. } => Some(task.package.to_string()),
            _ => None,
        });
        let mut started: Vec<String> = started.collect();
        started.sort();
        // A task that is computed again in one build is told again.
        started.dedup();
        started
    }

    pub(crate) fn summary(&self, package: &str) -> &TaskSummary {
        let found = self.summaries().find(|summary| &*summary.task.package == package);
        found.unwrap_or_else(|| panic!("nothing is told of {package}: {self:?}"))
    }

    pub(crate) fn reason(&self, package: &str) -> Option<Reason> {
        self.summary(package).reason.clone()
    }

    pub(crate) fn output(&self, package: &str) -> String {
        let pieces = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::TaskOutput { task, text } if &*task.package == package => Some(text.as_str()),
            _ => None,
        });
        pieces.collect()
    }

    pub(crate) fn notices(&self) -> Vec<&str> {
        let notices = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Notice { text, .. } => Some(text.as_str()),
            _ => None,
        });
        notices.collect()
    }
}
