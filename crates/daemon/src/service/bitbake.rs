//! Build directories of BitBake metadata that stay in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use buildnet_bitbake::config::Options;
use buildnet_bitbake::persist::CacheOptions;
use buildnet_bitbake::workbench::{Answer, Changed, Followed, Live, Question};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ErrorReport;
use crate::watch::{Coverage, Watcher};

/// Evaluation recurses as deep as variables refer to each other.
const STACK: usize = 64 << 20;
/// Build directories that are kept in memory.
const KEPT: usize = 3;
/// How long one is kept that nobody asks about.
pub const IDLE: Duration = Duration::from_mins(30);
/// How long nobody asks before what is known is written to disk.
pub const PAUSE: Duration = Duration::from_secs(2);

/// A question about a build directory.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BitbakeRequest {
    /// The build directory: absolute.
    pub build_dir: String,
    /// The environment of whoever asks.
    pub environment: BTreeMap<String, String>,
    /// The Python interpreter.
    pub python: String,
    /// Seconds that Python code may compute without a word.
    pub python_seconds: u64,
    /// How many threads read recipes.
    pub threads: usize,
    /// The build of the program that asks: another one's answers may differ.
    pub program: String,
    /// The question.
    #[schema(value_type = Object)]
    pub question: Question,
    /// Whether the answer is for programs.
    pub machine: bool,
}

impl BitbakeRequest {
    /// How to open the build directory.
    pub fn options(&self, temporary: PathBuf) -> Options {
        Options {
            build_dir: self.build_dir.clone().into(),
            environment: self.environment.clone().into_iter().collect(),
            python: self.python.clone().into(),
            python_path: Vec::new(),
            temporary,
            history: false,
            time_limit: Duration::from_secs(self.python_seconds),
        }
    }

    /// Where what is read is kept.
    pub fn cache(&self) -> CacheOptions {
        CacheOptions { directory: Path::new(&self.build_dir).join(".buildnet/bitbake"), program: self.program.clone() }
    }
}

/// One build directory.
struct Bench {
    live: Live,
    watcher: Option<Watcher>,
    /// `None` while not everything is watched.
    followed: Option<Followed>,
}

/// Which bench: build directory, interpreter and how long it may take.
type Key = (PathBuf, String, u64);

fn key(request: &BitbakeRequest) -> Key {
    (PathBuf::from(&request.build_dir), request.python.clone(), request.python_seconds)
}

/// A bench, and when it was asked last.
type Kept = (Arc<Mutex<Bench>>, Instant);

/// Build directories in memory, and their watches.
#[derive(Default)]
pub struct Bitbake {
    benches: Mutex<HashMap<Key, Kept>>,
}

impl Bitbake {
    /// Answers a question. Blocks while recipes are read.
    pub fn ask(&self, request: &BitbakeRequest) -> Result<Answer, ErrorReport> {
        if !Path::new(&request.build_dir).is_absolute() {
            return Err(ErrorReport::user(format!("the build directory {} is not absolute", request.build_dir)));
        }
        let bench = self.bench(request);
        on_deep_stack(|| bench.lock().ask(request))
    }

    /// Begins to watch what the last answer was made from, if that is not done.
    pub fn settle(&self, request: &BitbakeRequest) {
        let Some(bench) = self.known(request) else { return };
        // It fails for want of a thread alone; then the next question looks at every file.
        let _ = on_deep_stack(|| bench.lock().settle());
    }

    /// Writes what is known of recipes to disk, unless there was a question since [`PAUSE`].
    pub fn save(&self, request: &BitbakeRequest) {
        let paused = self.benches.lock().get(&key(request)).is_some_and(|(_, asked)| asked.elapsed() >= PAUSE);
        if let Some(bench) = self.known(request).filter(|_| paused)
            && let Some(failure) = bench.lock().live.save()
        {
            tracing::warn!("{failure}");
        }
    }

    fn known(&self, request: &BitbakeRequest) -> Option<Arc<Mutex<Bench>>> {
        self.benches.lock().get(&key(request)).map(|(bench, _)| Arc::clone(bench))
    }

    fn bench(&self, request: &BitbakeRequest) -> Arc<Mutex<Bench>> {
        let key = key(request);
        let mut benches = self.benches.lock();
        if !benches.contains_key(&key)
            && benches.len() >= KEPT
            && let Some(oldest) = benches.iter().min_by_key(|(_, (_, asked))| *asked).map(|(key, _)| key.clone())
        {
            benches.remove(&oldest);
        }
        let (bench, asked) = benches.entry(key).or_insert_with(|| {
            let live = Live::new(request.options(std::env::temp_dir()), request.threads, request.cache());
            (Arc::new(Mutex::new(Bench { live, watcher: None, followed: None })), Instant::now())
        });
        *asked = Instant::now();
        Arc::clone(bench)
    }

    /// Drops what nobody asked about for as long as [`IDLE`].
    pub fn drop_idle(&self) {
        self.benches.lock().retain(|_, (_, asked)| asked.elapsed() < IDLE);
    }

    /// How many directories are watched.
    pub fn watched_directories(&self) -> usize {
        let benches: Vec<_> = self.benches.lock().values().map(|(bench, _)| Arc::clone(bench)).collect();
        let watched =
            |bench: Arc<Mutex<Bench>>| bench.try_lock().and_then(|b| b.watcher.as_ref().map(Watcher::watched));
        benches.into_iter().filter_map(watched).sum()
    }
}

impl Bench {
    fn ask(&mut self, request: &BitbakeRequest) -> Answer {
        let changed = self.changes();
        let environment = request.environment.clone().into_iter().collect();
        let answer = self.live.ask(&request.question, request.machine, environment, &changed);
        self.follow_more(&changed);
        answer
    }

    /// What changed of all that matters since the last look.
    fn changes(&mut self) -> Changed {
        let (Some(watcher), Some(followed)) = (&mut self.watcher, &self.followed) else { return Changed::Anything };
        match watcher.drain() {
            Ok(changes) if !changes.everything => followed.relevant(&changes.paths),
            _ => Changed::Anything,
        }
    }

    /// Watches what the last answer looked at, too. What changed there before is found by the next question: a directory that is watched
    /// from now on counts as changed.
    fn follow_more(&mut self, changed: &Changed) {
        let Some(mut followed) = self.followed.take() else { return };
        let Some(new) = self.live.follow_more(&mut followed, changed) else { return };
        let Some(watcher) = &mut self.watcher else { return };
        if let Coverage::Complete = watcher.more(new.iter().map(PathBuf::as_path)) {
            self.followed = Some(followed);
        }
    }

    fn settle(&mut self) {
        if self.followed.is_some() {
            return;
        }
        let Some(followed) = self.live.followed() else { return };
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => match Watcher::new() {
                Ok(watcher) => self.watcher.insert(watcher),
                Err(error) => {
                    tracing::warn!(%error, "metadata is not watched");
                    return;
                }
            },
        };
        if let Coverage::Partial(error) = watcher.set(followed.directories.iter().map(PathBuf::as_path)) {
            tracing::warn!(%error, "metadata is not watched");
            return;
        }
        // What changed before the watches began is found by looking; what changes from here on is told.
        let drained = watcher.drain().is_ok();
        if drained && self.live.look() {
            self.followed = Some(followed);
        }
    }
}

fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ErrorReport> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| ErrorReport::environment("no thread is to be had").because(&error))?;
        thread.join().map_err(|_| ErrorReport::internal("reading the metadata broke off"))
    })
}
