//! An action whose inputs are known: from the cache if it is there, else by running its command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use buildnet_digest::{Diagnostic, Digest, DigestFunction, ErrorCategory, protobuf, reapi};
use buildnet_event::{EventKind, Level, TaskName, TaskSummary, TaskUsage, Tier};
use buildnet_executor::{
    CancelHandle, Executed, Execution, ExecutorError, HostMount, Limits, Mode, Outputs, StateDir, Status, place,
};
use buildnet_scheduler::{Outcome, RetryPolicy};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::action::{Assembled, Identities};
use super::error::BuildError;
use super::log::TaskLog;
use super::session::Session;
use super::spec::{ActionSpec, SandboxMode};
use super::task::{micros, ran};
use super::trace;

/// Longest piece of output in one event.
const PIECE: usize = 64 * 1024;

/// An action that has a result.
pub(super) struct Done {
    pub(super) outputs: Arc<Outputs>,
    pub(super) tier: Tier,
    /// Whether the result came from the remote cache.
    pub(super) remote: bool,
    /// How long the command ran, now or when the cache was filled, in microseconds.
    pub(super) execution_us: u64,
}

/// Takes the result from the cache or runs the command; the outputs are in place afterwards. Leaves in the summary's duration how
/// long the command waited for its turn.
pub(super) async fn run(
    task: &TaskName,
    spec: &ActionSpec,
    session: &Arc<Session>,
    assembled: Assembled,
    identities: Identities<'_>,
    cancel: CancellationToken,
    summary: &mut TaskSummary,
) -> Result<Done, BuildError> {
    if spec.cache
        && !session.forced(task)
        && let Some((done, log_path)) = look(task, spec, session, &assembled.digest, &cancel).await?
    {
        summary.log_path = log_path;
        return Ok(done);
    }
    if session.options.dry_run {
        return Err(BuildError::WouldRun);
    }
    if session.is_stopped() {
        return Err(BuildError::Stopped);
    }
    let queued = Instant::now();
    let permit = tokio::select! {
        permit = session.limit.admit(task, spec) => permit,
        () = cancel.cancelled() => return Err(BuildError::Cancelled),
    };
    if session.is_stopped() {
        return Err(BuildError::Stopped);
    }
    let mut locks = Vec::new();
    for state in &spec.state {
        locks.push(session.state_lock(state).lock_owned().await);
    }
    summary.duration_us = micros(queued);
    let execution = execution(task, spec, session, &assembled, identities);
    let mut told = 0;
    loop {
        summary.attempts += 1;
        let attempt = summary.attempts;
        if told < attempt {
            session.publish(EventKind::TaskExecuting { task: task.clone(), attempt });
            told = attempt;
        }
        match attempt_once(task, session, &execution, &assembled, &cancel, summary, spec.cache).await {
            Err(BuildError::Executor(error)) if matches!(*error, ExecutorError::Lost { .. }) => {
                let ExecutorError::Lost { digest, path } = *error else { continue };
                if !session.heal(&path, &digest)? {
                    return Err(BuildError::Rewind);
                }
                // The command was not started yet.
                summary.attempts -= 1;
            }
            Err(error) if !cancel.is_cancelled() => {
                let outcome = match error.category() {
                    ErrorCategory::Environment => Outcome::EnvironmentFailed,
                    _ => Outcome::Failed,
                };
                let Some(delay) = RetryPolicy::default().retry(outcome, attempt, spec.retries, salt(task)) else {
                    return Err(error);
                };
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                let error = error.to_string();
                session.publish(EventKind::TaskRetry { task: task.clone(), attempt, delay_ms, error });
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = cancel.cancelled() => return Err(BuildError::Cancelled),
                }
            }
            result => {
                drop((permit, locks));
                return result;
            }
        }
    }
}

/// Tells tasks apart, so that several that fail together do not start again together.
fn salt(task: &TaskName) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    task.hash(&mut hasher);
    hasher.finish()
}

/// A result with the path of its log.
type Restored = (Done, Option<String>);

/// Asks the local cache, then the remote one.
async fn look(
    task: &TaskName,
    spec: &ActionSpec,
    session: &Arc<Session>,
    action: &Digest,
    cancel: &CancellationToken,
) -> Result<Option<Restored>, BuildError> {
    let lookup = || {
        let (session, task, action, declared) = (Arc::clone(session), task.clone(), *action, spec.outputs.clone());
        async move {
            let lookup = tokio::task::spawn_blocking(move || restore(&session, &task, &action, &declared));
            lookup.await.map_err(|_| BuildError::Interrupted)?
        }
    };
    let found = lookup().await?;
    let Some(remote) = session.options.remote.as_ref().filter(|_| found.is_none() && !session.options.dry_run) else {
        return Ok(found);
    };
    let fetched = tokio::select! {
        fetched = remote.fetch(session.executor.store(), action) => fetched,
        () = cancel.cancelled() => return Err(BuildError::Cancelled),
    };
    if !fetched {
        return Ok(None);
    }
    let found = lookup().await?;
    Ok(found.map(|(done, log_path)| (Done { remote: true, ..done }, log_path)))
}

/// The result of the action if the cache has it, with its outputs placed and its log replayed.
fn restore(
    session: &Session,
    task: &TaskName,
    action: &Digest,
    declared: &[String],
) -> Result<Option<Restored>, BuildError> {
    let store = session.executor.store();
    let Some(result) = store.action_result(action)? else { return Ok(None) };
    let Some(outputs) = Outputs::from_result(store, &result)? else { return Ok(None) };
    // Others write to a cache as well: what they say must not reach beyond what this task may write.
    if let Some(path) = outputs.undeclared(declared)? {
        let text = format!("the cached result of {task} names `{path}`, which is none of its outputs; it is not used");
        let hint = "find out who wrote it to the cache: `buildnet cache verify` shows whether the cache is damaged";
        session.notice(Level::Warning, text, Some(hint.to_owned()));
        return Ok(None);
    }
    if session.options.dry_run {
        let execution_us = execution_time(&result);
        let done = Done { outputs: Arc::new(outputs), tier: Tier::Cached, remote: false, execution_us };
        return Ok(Some((done, None)));
    }
    let previous = session.table.with(task, |state| state.and_then(|state| state.placed.clone()));
    let placed = match place(store, session.root(), &outputs, previous.as_ref(), &|_| None) {
        // Evicted between the look-up and here: as if it had not been there.
        Err(ExecutorError::Lost { .. }) => return Ok(None),
        placed => placed?,
    };
    session.table.update(task, |state| state.placed = Some(placed));
    let mut log_path = None;
    if let Some(digest) = &result.stdout_digest
        && let Ok(digest) = Digest::from_reapi(DigestFunction::Blake3, digest)
        && digest.size() > 0
        && let Some(text) = store.read(&digest)?
    {
        let mut log = TaskLog::create(&session.logs, task);
        for piece in text.chunks(PIECE) {
            let text = log.add(piece);
            session.publish(EventKind::TaskOutput { task: task.clone(), text });
        }
        log_path = Some(log.path().display().to_string());
    }
    let execution_us = execution_time(&result);
    let done = Done { outputs: Arc::new(outputs), tier: Tier::Cached, remote: false, execution_us };
    Ok(Some((done, log_path)))
}

fn execution(
    task: &TaskName,
    spec: &ActionSpec,
    session: &Session,
    assembled: &Assembled,
    identities: Identities<'_>,
) -> Execution {
    let environment = identities.environment;
    let mut variables: BTreeMap<String, String> =
        [("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8"), ("BUILDNET", "1")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    variables.insert("BUILDNET_TASK".to_owned(), task.to_string());
    let given_path = environment.get("PATH").cloned();
    variables.extend(environment);
    variables.remove("PATH");
    let mut path = spec.path.clone();
    let mut host_mounts = assembled.mounts.clone();
    for (_, tool) in &identities.tools {
        for place in &tool.mounts {
            if !host_mounts.iter().any(|mount| place.starts_with(&mount.target)) {
                host_mounts.push(HostMount { source: place.clone(), target: place.clone() });
            }
        }
        let directory = tool.directory.iter().map(|directory| directory.display().to_string());
        path.extend(directory.filter(|_| !tool.mounts.is_empty()));
    }
    match given_path {
        Some(given) => path.extend(given.split(':').map(str::to_owned)),
        None => path.extend(session.options.search_path.iter().map(|entry| entry.display().to_string())),
    }
    Execution {
        argv: assembled.argv.clone(),
        environment: variables.into_iter().collect(),
        path,
        directories: vec![spec.directory.clone()],
        inputs: assembled.inputs.clone(),
        host_mounts,
        outputs: spec.outputs.clone(),
        state: spec.state.iter().map(|path| StateDir { path: path.clone(), host: session.state.join(path) }).collect(),
        mode: match spec.sandbox {
            SandboxMode::Strict => Mode::Strict,
            SandboxMode::Warn => Mode::Warn,
            SandboxMode::Off => Mode::Off,
        },
        network: spec.network,
        limits: Limits { wall: spec.timeout, memory: spec.memory, ..Limits::default() },
        trace: session.options.trace_inputs || spec.sandbox == SandboxMode::Warn,
    }
}

async fn attempt_once(
    task: &TaskName,
    session: &Arc<Session>,
    execution: &Execution,
    assembled: &Assembled,
    cancel: &CancellationToken,
    summary: &mut TaskSummary,
    cache: bool,
) -> Result<Done, BuildError> {
    let handle = CancelHandle::new();
    let watcher = {
        let (handle, cancel) = (handle.clone(), cancel.clone());
        tokio::spawn(async move {
            cancel.cancelled().await;
            handle.cancel();
        })
    };
    let job = {
        let (session, task, execution) = (Arc::clone(session), task.clone(), execution.clone());
        let (action, blobs) = (assembled.digest, assembled.blobs.clone());
        let described = assembled.description();
        tokio::task::spawn_blocking(move || {
            let mut log = TaskLog::create(&session.logs, &task);
            let started = SystemTime::now();
            let mut show = |bytes: &[u8]| {
                for piece in bytes.chunks(PIECE) {
                    let text = log.add(piece);
                    session.publish(EventKind::TaskOutput { task: task.clone(), text });
                }
            };
            if execution.mode != Mode::Strict {
                forget_outputs(&session, &task)?;
            }
            let executed = session.executor.execute(&execution, &mut show, &handle)?;
            let tail = log.tail();
            let path = log.path().to_owned();
            if executed.status.success() {
                let result = record(&session, &executed, &log, started)?;
                if cache {
                    let items: Vec<_> = blobs.into_iter().map(|(digest, bytes)| (digest, Bytes::from(bytes))).collect();
                    for stored in session.executor.store().put_batch(&items) {
                        stored?;
                    }
                    session.executor.store().put_action_result(&action, &result)?;
                    if let Some(remote) = &session.options.remote {
                        remote.publish(session.executor.store(), &action, &result, described);
                    }
                }
                let previous = session.table.with(&task, |state| state.and_then(|state| state.placed.clone()));
                let placed = executed.place(&session.executor, previous.as_ref())?;
                session.table.update(&task, |state| state.placed = Some(placed));
            }
            Ok::<_, BuildError>((Report { executed, tail, path }, log.len()))
        })
    };
    let joined = job.await;
    watcher.abort();
    let (Report { mut executed, tail, path }, length) = joined.map_err(|_| BuildError::Interrupted)??;
    summary.usage = TaskUsage { cpu_us: executed.usage.cpu_us, peak_memory: executed.usage.peak_memory };
    if length > 0 {
        summary.log_path = Some(path.display().to_string());
    }
    if executed.status == Status::Cancelled {
        return Err(BuildError::Cancelled);
    }
    let findings = trace::examine(task, session, execution, &executed, &tail).await;
    if executed.status.success() {
        tell(task, session, &executed, findings);
        let tier = ran(executed.had_state);
        let (outputs, execution_us) = (Arc::new(std::mem::take(&mut executed.outputs)), executed.usage.wall_us);
        // Removing the execution root takes as long as making it; the next command need not wait for that.
        tokio::task::spawn_blocking(move || drop(executed));
        return Ok(Done { outputs, tier, remote: false, execution_us });
    }
    summary.log_tail = Some(tail);
    if let Status::Exited(code) = executed.status {
        summary.exit_code = Some(code);
    }
    summary.execution_us = executed.usage.wall_us;
    summary.duration_us = executed.usage.wall_us;
    Err(BuildError::Failed { message: describe(executed.status, &execution.limits), hint: findings })
}

/// Removes a task's outputs from the workspace, where its command is about to run: it must not find what it made before.
fn forget_outputs(session: &Session, task: &TaskName) -> Result<(), BuildError> {
    let placed = session.table.with(task, |state| state.and_then(|state| state.placed.clone()));
    if let Some(placed) = placed {
        buildnet_executor::remove(session.root(), &placed.outputs)?;
        session.table.update(task, |state| state.placed = None);
    }
    Ok(())
}

/// What comes back from the thread that ran the command.
struct Report {
    executed: Executed,
    tail: String,
    path: PathBuf,
}

/// Tells what is not an error but not as it should be either.
fn tell(task: &TaskName, session: &Session, executed: &Executed, findings: Option<String>) {
    if !executed.missing.is_empty() {
        let text = format!("{task} did not make its declared output {}", quoted(&executed.missing));
        let hint = "correct `outputs`, or the command".to_owned();
        session.notice(Level::Warning, text, Some(hint));
    }
    if !executed.undeclared.is_empty() {
        let text = format!("{task} wrote {} without declaring it; it was discarded", quoted(&executed.undeclared));
        session.notice(
            Level::Warning,
            text,
            Some("declare it under `outputs` (or `state`) if it is needed".to_owned()),
        );
    }
    if let Some(findings) = findings {
        session.notice(Level::Warning, format!("{task}: undeclared inputs"), Some(findings));
    }
}

fn quoted(paths: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = paths.iter().take(SHOWN).map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN {
        text.push_str(" and more");
    }
    text
}

/// The `ActionResult` of a success.
fn record(
    session: &Session,
    executed: &Executed,
    log: &TaskLog,
    started: SystemTime,
) -> Result<reapi::ActionResult, BuildError> {
    let store = session.executor.store();
    let mut result = reapi::ActionResult::default();
    executed.outputs.to_result(store, &mut result)?;
    if log.len() > 0 {
        result.stdout_digest = Some(store.put_file(DigestFunction::Blake3, log.path())?.to_reapi());
    }
    let ended = started + Duration::from_micros(executed.usage.wall_us);
    result.execution_metadata = Some(reapi::ExecutedActionMetadata {
        execution_start_timestamp: Some(timestamp(started)),
        execution_completed_timestamp: Some(timestamp(ended)),
        ..Default::default()
    });
    Ok(result)
}

fn timestamp(time: SystemTime) -> protobuf::Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    protobuf::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

/// How long the command ran when it really ran, in microseconds.
fn execution_time(result: &reapi::ActionResult) -> u64 {
    let Some(metadata) = &result.execution_metadata else { return 0 };
    let micros = |time: &Option<protobuf::Timestamp>| {
        time.as_ref().map(|time| time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1000))
    };
    let span = micros(&metadata.execution_completed_timestamp).zip(micros(&metadata.execution_start_timestamp));
    span.and_then(|(end, start)| u64::try_from(end - start).ok()).unwrap_or(0)
}

fn describe(status: Status, limits: &Limits) -> String {
    match status {
        Status::Exited(code) => format!("the command exited with code {code}"),
        Status::Signaled(signal) => format!("the command was killed by signal {signal}"),
        Status::TimedOut => match limits.wall {
            Some(wall) => format!("the command ran longer than its timeout of {wall:?} and was killed"),
            None => "the command ran too long and was killed".to_owned(),
        },
        Status::OutOfMemory => match limits.memory {
            Some(memory) => format!("the command needed more than its {} MiB of memory and was killed", memory >> 20),
            None => "the command ran out of memory and was killed".to_owned(),
        },
        Status::Cancelled => "cancelled".to_owned(),
    }
}
