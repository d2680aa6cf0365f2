//! The result of one task: from its dependencies and inputs to outputs in place.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use buildnet_digest::{Diagnostic, Digest, DigestFunction};
use buildnet_event::{EventKind, InputChange, InputPart, Reason, TaskName, TaskOutcome, TaskSummary, Tier};

pub(super) use super::action::short;
use super::action::{self, Identities, Upstream};
use super::error::BuildError;
use super::keys::{IdentityKey, PlacementKey, SourcesKey, SpecKey, TaskKey, TaskValue, ToolKey, VariableKey};
use super::run::{self, Done};
use super::session::Session;
use super::spec::{ActionSpec, EnvSource};
use super::tools::HostFile;
use crate::graph::{ComputeError, Context, Failure};

/// Computes a task, and tells of its end.
pub(super) async fn compute(task: &TaskName, ctx: &Context) -> Result<Arc<TaskValue>, ComputeError> {
    let session = Arc::clone(ctx.host::<Arc<Session>>());
    let spec = ctx.get(&SpecKey(task.clone())).await?;
    let mut summary = TaskSummary::new(task.clone(), spec.dependencies.clone());
    match settle(task, &spec, ctx, &session, &mut summary).await {
        Ok(value) => {
            let saved = if summary.attempts == 0 { summary.execution_us } else { 0 };
            if !spec.commands.is_empty() {
                session.finish(summary, saved);
            }
            Ok(value)
        }
        // The task is computed once more in this build: nothing is to be told yet.
        Err(BuildError::Rewind) => Err(BuildError::Rewind.into()),
        Err(error) => {
            summary.outcome = match error {
                BuildError::Cancelled => TaskOutcome::Cancelled,
                BuildError::Skipped { .. } | BuildError::Stopped | BuildError::WouldRun => TaskOutcome::Skipped,
                _ => TaskOutcome::Failed,
            };
            summary.error = Some(error.to_string());
            summary.hint = error.hint();
            if summary.outcome == TaskOutcome::Failed {
                session.table.update(task, |state| state.failed = true);
                if !matches!(error, BuildError::Failed { .. }) {
                    session.environment_failed(&error);
                }
            }
            session.finish(summary, 0);
            Err(error.into())
        }
    }
}

async fn settle(
    task: &TaskName,
    spec: &ActionSpec,
    ctx: &Context,
    session: &Arc<Session>,
    summary: &mut TaskSummary,
) -> Result<Arc<TaskValue>, BuildError> {
    let dependencies: Vec<TaskKey> = spec.dependencies.iter().cloned().map(TaskKey).collect();
    let inherited = spec.environment.iter().filter(|(_, source)| **source == EnvSource::Inherit);
    let variables: Vec<VariableKey> = inherited.map(|(name, _)| VariableKey(name.clone())).collect();
    let tools: Vec<ToolKey> = spec.toolchains.iter().cloned().map(ToolKey).collect();
    let files: Vec<IdentityKey> =
        spec.host_inputs.iter().flat_map(|input| &input.identity).cloned().map(IdentityKey).collect();
    let (sources_key, placement_key) = (SourcesKey(task.clone()), PlacementKey(task.clone()));
    let (dependencies, variables, tools, files, sources, _) = tokio::join!(
        ctx.get_all(&dependencies),
        ctx.get_all(&variables),
        ctx.get_all(&tools),
        ctx.get_all(&files),
        ctx.get(&sources_key),
        ctx.get(&placement_key),
    );
    let began = Instant::now();
    let mut shown = Vec::with_capacity(dependencies.len());
    for (name, dependency) in spec.dependencies.iter().zip(dependencies) {
        shown.push(dependency.map_err(|failure| because(name, &failure))?);
    }
    let _ = all(variables)?;
    let (tools, files) = (all(tools)?, all(files)?);
    let sources = sources.map_err(|failure| own(&failure))?;
    let visible = |outputs: &Digest| {
        let mut hasher = DigestFunction::Blake3.hasher();
        hasher.update(outputs.hash());
        if spec.exports {
            for file in &sources.files {
                // Debug names every part of a node, and a path cannot hold the NUL that ends each entry.
                hasher.update(format!("{} {:?}\0", file.path, file.node).as_bytes());
            }
        }
        for value in &shown {
            hasher.update(value.visible.hash());
        }
        hasher.finish()
    };
    if spec.commands.is_empty() {
        let empty = Digest::empty(DigestFunction::Blake3);
        let value =
            TaskValue { action: empty, outputs: Arc::default(), outputs_digest: empty, visible: visible(&empty) };
        return Ok(Arc::new(value));
    }
    let identities = identities(spec, session, tools, files)?;
    let assembled = action::assemble(spec, &sources, upstream(spec, session), &identities)?;
    summary.key = Some(assembled.digest.to_string());
    let seen: Vec<(TaskName, Digest)> =
        spec.dependencies.iter().cloned().zip(shown.iter().map(|value| value.visible)).collect();
    let reason = reason(task, session, &seen);
    summary.reason = Some(reason.clone());
    if !session.options.dry_run {
        let expected_us = session.options.expected_us.get(task).copied();
        session.publish(EventKind::TaskStarted { task: task.clone(), expected_us });
    }
    let action = assembled.digest;
    let Done { outputs, tier, remote, execution_us } =
        run::run(task, spec, session, assembled, identities, ctx.cancellation(), summary).await?;
    // What `run` left there is the wait for its turn, which is not the task's own time.
    summary.duration_us = micros(began).saturating_sub(summary.duration_us);
    summary.execution_us = execution_us;
    summary.tier = Some(tier);
    summary.remote = remote;
    let outputs_digest = outputs.digest()?;
    if !session.options.dry_run {
        session.table.update(task, |state| {
            state.key = Some(action);
            state.execution_us = execution_us;
            state.failed = false;
            state.reason = Some(reason);
            state.dependencies = seen;
            state.pending.clear();
            state.more = 0;
        });
    }
    Ok(Arc::new(TaskValue { action, outputs, outputs_digest, visible: visible(&outputs_digest) }))
}

/// The failure of a dependency as a reason to skip what needs it.
fn because(dependency: &TaskName, failure: &Failure) -> BuildError {
    match failure.error::<BuildError>() {
        Some(BuildError::Skipped { because }) => BuildError::Skipped { because: because.clone() },
        Some(BuildError::Cancelled) => BuildError::Cancelled,
        Some(BuildError::Stopped) => BuildError::Stopped,
        Some(BuildError::Rewind) => BuildError::Rewind,
        Some(BuildError::WouldRun) => BuildError::WouldRun,
        _ if failure.is_cancelled() => BuildError::Cancelled,
        _ => BuildError::Skipped { because: dependency.clone() },
    }
}

/// The failure of one of the task's own inputs.
fn own(failure: &Failure) -> BuildError {
    if failure.is_cancelled() {
        return BuildError::Cancelled;
    }
    BuildError::Failed { message: failure.to_string(), hint: failure.hint() }
}

fn all<T>(values: Vec<Result<T, Failure>>) -> Result<Vec<T>, BuildError> {
    values.into_iter().collect::<Result<_, _>>().map_err(|failure| own(&failure))
}

fn identities<'s>(
    spec: &'s ActionSpec,
    session: &Session,
    tools: Vec<HostFile>,
    files: Vec<HostFile>,
) -> Result<Identities<'s>, BuildError> {
    let tools: Vec<(&str, HostFile)> = spec.toolchains.iter().map(String::as_str).zip(tools).collect();
    if let Some((program, _)) = tools.iter().find(|(_, tool)| tool.digest.is_none()) {
        let searched = session.options.search_path.iter().map(|path| path.display().to_string());
        let searched = searched.collect::<Vec<_>>().join(", ");
        return Err(BuildError::MissingTool { program: (*program).to_owned(), searched });
    }
    let targets = spec
        .host_inputs
        .iter()
        .flat_map(|input| input.identity.iter().map(|_| input.target.to_string_lossy().into_owned()));
    let host = targets.zip(files).collect();
    Ok(Identities { environment: action::environment(spec, &session.options.environment), tools, host })
}

/// What everything that the task depends on, directly or not, shows it.
///
/// It is read from the graph without being recorded as dependencies: the direct dependencies' `visible` digests, which are
/// recorded, cover it.
fn upstream(spec: &ActionSpec, session: &Session) -> Upstream {
    let mut seen: HashSet<&TaskName> = HashSet::new();
    let mut pending: Vec<&TaskName> = spec.dependencies.iter().rev().collect();
    let mut upstream = Upstream::default();
    while let Some(name) = pending.pop() {
        if !seen.insert(name) {
            continue;
        }
        if let Some(value) = session.graph.peek(&TaskKey(name.clone())) {
            upstream.outputs.push(Arc::clone(&value.outputs));
        }
        if let Some(spec) = session.plan.tasks.get(name) {
            pending.extend(spec.dependencies.iter().rev());
            if spec.exports {
                upstream.files.extend(session.graph.peek(&SourcesKey(name.clone())));
                upstream.mounts.extend(spec.host_inputs.iter().map(action::mount));
            }
        }
    }
    upstream
}

/// Why the task is not instant.
fn reason(task: &TaskName, session: &Session, seen: &[(TaskName, Digest)]) -> Reason {
    if session.forced(task) {
        return Reason::Forced;
    }
    session.table.with(task, |state| {
        let Some(state) = state.filter(|state| state.key.is_some()) else {
            return if state.is_some_and(|state| state.failed) { Reason::FailedBefore } else { Reason::FirstRun };
        };
        let mut changes = state.pending.clone();
        for (name, digest) in seen {
            let before = state.dependencies.iter().find(|(before, _)| before == name).map(|(_, digest)| digest);
            if before != Some(digest) {
                changes.push(InputChange {
                    part: InputPart::Dependency,
                    name: name.to_string(),
                    before: before.map(|digest| digest.hex()[..12].to_owned()),
                    after: Some(digest.hex()[..12].to_owned()),
                });
            }
        }
        if changes.is_empty() && state.failed {
            return Reason::FailedBefore;
        }
        Reason::Changed { changes, more: state.more }
    })
}

pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// How much work a command that ran was.
pub(super) const fn ran(had_state: bool) -> Tier {
    if had_state { Tier::Incremental } else { Tier::Full }
}
