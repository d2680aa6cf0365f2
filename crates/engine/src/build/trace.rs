//! Which inputs a command missed.

use std::collections::BTreeSet;
use std::sync::Arc;

use buildnet_event::TaskName;
use buildnet_executor::{CancelHandle, Executed, Execution, Mode};

use super::session::Session;

/// Most files that are named.
const MAX_NAMED: usize = 20;

/// Words in a log after which it is worth running a failed command again to see which files it looks for.
const SIGNS: [&str; 14] = [
    "no such file",
    "not found",
    "enoent",
    "cannot find",
    "can't find",
    "could not find",
    "couldn't find",
    "cannot open",
    "can't open",
    "cannot resolve",
    "can't resolve",
    "could not resolve",
    "does not exist",
    "unable to",
];

/// The workspace's files that the command looked for and that are not declared, with what to do, in words.
///
/// A confined command that failed and whose log speaks of missing files is run again with a trace: tracing every run would
/// cost every run.
pub(super) async fn examine(
    task: &TaskName,
    session: &Arc<Session>,
    execution: &Execution,
    executed: &Executed,
    tail: &str,
) -> Option<String> {
    let looked_for = if execution.trace {
        executed.sought.iter().chain(&executed.opened).cloned().collect()
    } else if execution.mode == Mode::Strict && !executed.status.success() && speaks_of_missing_files(tail) {
        again(session, execution).await?
    } else {
        return None;
    };
    let named = undeclared(session, execution, looked_for);
    if named.is_empty() {
        return None;
    }
    let mut lines = String::from("it looked for files of the workspace that are not declared; add to its `inputs`:");
    for path in named.iter().take(MAX_NAMED) {
        lines.push_str("\n  - ");
        lines.push_str(&pattern(path, &session.spec(task).ok()?.directory));
    }
    match named.len().saturating_sub(MAX_NAMED) {
        0 => Some(lines),
        more => Some(format!("{lines}\n  ({more} more)")),
    }
}

fn speaks_of_missing_files(tail: &str) -> bool {
    let tail = tail.to_lowercase();
    tail.is_empty() || SIGNS.iter().any(|sign| tail.contains(sign))
}

/// What the command looks for in vain when it runs once more.
async fn again(session: &Arc<Session>, execution: &Execution) -> Option<Vec<String>> {
    let (session, execution) = (Arc::clone(session), Execution { trace: true, ..execution.clone() });
    let job = tokio::task::spawn_blocking(move || {
        // Its failure was told already, and this run is for the trace alone.
        session.executor.execute(&execution, &mut |_| {}, &CancelHandle::new()).ok().map(|executed| executed.sought)
    });
    job.await.ok()?
}

/// Those of the paths that are files of the workspace and no declared inputs.
fn undeclared(session: &Session, execution: &Execution, paths: Vec<String>) -> BTreeSet<String> {
    let declared: BTreeSet<&str> = execution.inputs.iter().map(|input| input.path.as_str()).collect();
    let apart = |path: &str, place: &str| {
        path.strip_prefix(place).is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/'))
    };
    let elsewhere = |path: &String| {
        execution.outputs.iter().all(|output| apart(path, output))
            && execution.state.iter().all(|state| apart(path, &state.path))
            && execution.host_mounts.iter().filter_map(|mount| mount.target.to_str()).all(|target| apart(path, target))
            && apart(path, ".buildnet")
            && apart(path, ".git")
    };
    let is_file = |path: &String| session.root().stamp(path).is_ok_and(|stamp| stamp.is_file() || stamp.is_symlink());
    paths.into_iter().filter(|path| !declared.contains(path.as_str()) && elsewhere(path) && is_file(path)).collect()
}

/// How `inputs` names a file: relative to the package, or from the workspace root with `//`.
fn pattern(path: &str, directory: &str) -> String {
    if directory.is_empty() {
        return path.to_owned();
    }
    match path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => rest.to_owned(),
        None => format!("//{path}"),
    }
}
