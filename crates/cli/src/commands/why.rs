//! `buildnet why`.

mod actions;

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::local::{history_path, read_history};
use buildnet_daemon::service::{BuildRequest, Line};
use buildnet_event::{EventKind, InputChange, Reason, TaskName, TaskOutcome, TaskSummary};
use buildnet_history::HistoryStore as _;
use buildnet_workspace::Request;
use clap::Args;
use serde::Serialize;

use super::build::{TaskOptions, request};
use crate::context::Context;
use crate::output::{print, print_json};
use crate::terminal::messages::change_in_words;
use crate::terminal::style::Ink;
use crate::terminal::text::clean;
use crate::time::{ago, now_ms};
use crate::{run, workspace};

/// Say why a task would run, or why it ran last, or how two actions differ
///
/// Names what differs from the last run: files, variables, the command, programs, the outputs of dependencies. For a client of the Remote
/// Execution API it names what differs between two of its actions: arguments, variables, platform, outputs, input files.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  buildnet why api             why `api:build` would run, or ran\n  buildnet why api:test\n  \
                  buildnet why --action 4f2a…/142 --other 9bc0…/142 --remote grpc://cache:9876/main"
)]
pub(crate) struct WhyArgs {
    /// The package, or `package:task`
    #[arg(value_name = "PACKAGE[:TASK]", required_unless_present = "action", conflicts_with = "action")]
    package: Option<String>,
    #[command(flatten)]
    actions: actions::ActionArgs,
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Nothing differs from the last run.
    UpToDate,
    /// Its command would run.
    WouldRun,
    /// Its result would come from the cache.
    WouldRestore,
    /// Something that it needs would run first; whether it runs depends on what comes out.
    AfterDependencies,
    /// Something keeps it from running.
    Blocked,
}

/// A task that is not up to date.
#[derive(Debug, Serialize)]
struct Pending {
    task: TaskName,
    state: State,
    reason: Option<Reason>,
    error: Option<String>,
}

/// The last time that the task was not instant.
#[derive(Debug, Serialize)]
struct LastRun {
    finished_ms: u64,
    outcome: TaskOutcome,
    tier: Option<buildnet_event::Tier>,
    reason: Option<Reason>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    task: TaskName,
    state: State,
    /// The task, if it is not up to date, and what it waits for that is not.
    pending: Vec<Pending>,
    last_run: Option<LastRun>,
}

pub(crate) fn run(args: &WhyArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let Some(package) = &args.package else { return actions::run(&args.actions, context) };
    let workspace = workspace::load(context)?;
    let wanted = Request { task: "build".to_owned(), packages: vec![package.clone()] };
    let task = workspace.requested(&wanted).map_err(|errors| ErrorReport::of(&errors))?;
    let task = task.into_iter().next().ok_or_else(|| ErrorReport::internal("no task was found"))?;
    let options = TaskOptions { keep_going: true, dry_run: true, ..TaskOptions::default() };
    let request =
        BuildRequest { compact: true, ..request("build".to_owned(), vec![task.to_string()], &options, context) };
    let mut pending = pending(&run::gather(request, context)?)?;
    let last_run = if history_path(&workspace.root).exists() {
        read_history(&workspace.root)?.last_run(&task).map_err(|error| ErrorReport::of(&error))?
    } else {
        None
    };
    let last_run = last_run.map(|last| LastRun {
        finished_ms: last.finished_ms,
        outcome: last.outcome,
        tier: last.tier,
        reason: last.reason,
    });
    pending.sort_by_key(|entry| (entry.task != task, entry.task.clone()));
    let state = pending.first().filter(|entry| entry.task == task).map_or(State::UpToDate, |entry| entry.state);
    let answer = Answer { task, state, pending, last_run };
    if context.json {
        print_json(&answer)?;
    } else {
        print(&describe(&answer, context))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a dry run told of tasks that are not up to date.
fn pending(lines: &[Line]) -> Result<Vec<Pending>, ErrorReport> {
    let mut pending = Vec::new();
    for line in lines {
        match line {
            Line::Note(buildnet_daemon::service::Note::Error { error }) => return Err(error.clone()),
            Line::Event(event) => {
                if let EventKind::TaskFinished(task) = &event.kind {
                    pending.push(entry(task));
                }
            }
            Line::Note(_) => {}
        }
    }
    Ok(pending)
}

fn entry(task: &TaskSummary) -> Pending {
    let state = match (task.outcome, &task.reason) {
        (TaskOutcome::Success, None) => State::UpToDate,
        (TaskOutcome::Success, Some(_)) => State::WouldRestore,
        (TaskOutcome::Skipped, Some(_)) => State::WouldRun,
        (TaskOutcome::Skipped, None) => State::AfterDependencies,
        (TaskOutcome::Failed | TaskOutcome::Cancelled, _) => State::Blocked,
    };
    Pending { task: task.task.clone(), state, reason: task.reason.clone(), error: task.error.clone() }
}

fn describe(answer: &Answer, context: &Context) -> String {
    let name = clean(&answer.task.to_string(), false);
    let name = context.style.paint(Ink::Bold, name);
    let mut text = match answer.state {
        State::UpToDate => format!("{name} is up to date.\n"),
        State::WouldRun => format!("{name} would run:\n"),
        State::WouldRestore => format!("{name} would be restored from the cache:\n"),
        State::AfterDependencies => {
            format!("{name} waits for what it needs, and runs if the outputs of that differ:\n")
        }
        State::Blocked => format!("{name} cannot run:\n"),
    };
    for entry in &answer.pending {
        if entry.task == answer.task {
            text += &reasons(entry, "  ");
        } else if matches!(entry.state, State::WouldRun | State::WouldRestore | State::Blocked) {
            let what = match entry.state {
                State::WouldRun => "would run",
                State::WouldRestore => "would be restored from the cache",
                _ => "cannot run",
            };
            text += &format!("  {} {what}:\n{}", clean(&entry.task.to_string(), false), reasons(entry, "    "));
        }
    }
    if let Some(last) = &answer.last_run {
        let when = ago(last.finished_ms, now_ms());
        let how = match (last.outcome, last.tier) {
            (TaskOutcome::Success, Some(tier)) => tier.name(),
            (TaskOutcome::Success, None) => "done",
            (TaskOutcome::Failed, _) => "failed",
            (TaskOutcome::Skipped, _) => "skipped",
            (TaskOutcome::Cancelled, _) => "cancelled",
        };
        text += &format!("The last time that there was something to do was {when} ({how})");
        text += match &last.reason {
            Some(_) => ":\n",
            None => ".\n",
        };
        text += &last.reason.as_ref().map(|reason| reason_lines(reason, "  ")).unwrap_or_default();
    }
    text
}

fn reasons(entry: &Pending, indent: &str) -> String {
    match (&entry.reason, &entry.error) {
        (Some(reason), _) => reason_lines(reason, indent),
        (None, Some(error)) if entry.state == State::Blocked => format!("{indent}{}\n", clean(error, false)),
        _ => String::new(),
    }
}

fn reason_lines(reason: &Reason, indent: &str) -> String {
    match reason {
        Reason::FirstRun => format!("{indent}it never ran in this workspace\n"),
        Reason::Forced => format!("{indent}it was forced\n"),
        Reason::FailedBefore => format!("{indent}it failed the last time\n"),
        Reason::Changed { changes, .. } if changes.is_empty() => format!("{indent}its key differs from the last run\n"),
        Reason::Changed { changes, more } => {
            let mut text: String = changes.iter().map(|change| change_line(change, indent)).collect();
            if *more > 0 {
                text += &format!("{indent}and {more} more\n");
            }
            text
        }
    }
}

fn change_line(change: &InputChange, indent: &str) -> String {
    let words = clean(&change_in_words(change), false);
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            format!("{indent}{words}: {} -> {}\n", clean(before, false), clean(after, false))
        }
        _ => format!("{indent}{words}\n"),
    }
}
