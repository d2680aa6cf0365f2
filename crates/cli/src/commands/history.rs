//! `buildnet history`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::local::{history_path, read_history};
use buildnet_event::{TaskOutcome, TierCounts};
use buildnet_history::{BuildHead, BuildRecord, BuildSelector, BuildStatus, HistoryStore as _, Page, SqliteHistory};
use clap::{Args, Subcommand};

use crate::context::Context;
use crate::output::{print, print_json};
use crate::terminal::messages::reason_in_short;
use crate::terminal::style::{Ink, Style};
use crate::terminal::text::{clean, duration, pad};
use crate::time::{ago, now_ms};
use crate::workspace;

/// Show past builds
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet history             the last builds\n  buildnet history show last~1")]
pub(crate) struct HistoryArgs {
    #[command(subcommand)]
    command: Option<HistoryCommand>,
}

#[derive(Clone, Debug, Subcommand)]
enum HistoryCommand {
    /// List builds, newest first
    #[command(after_help = "Example:\n  buildnet history list --limit 50 --json")]
    List {
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Show one build with its tasks
    #[command(after_help = "Example:\n  buildnet history show last")]
    Show {
        /// Its identifier or the beginning of it, `last`, or `last~1` for the one before
        id: BuildSelector,
    },
}

/// The history of the workspace that the user stands in.
pub(crate) fn open(context: &Context) -> Result<SqliteHistory, ErrorReport> {
    let root = workspace::root(context)?;
    if !history_path(&root).exists() {
        return Err(ErrorReport::user(format!("nothing was built in {} yet", root.display()))
            .with_hint("Run `buildnet build`."));
    }
    read_history(&root)
}

pub(crate) fn run(args: HistoryArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let history = open(context)?;
    match args.command.unwrap_or(HistoryCommand::List { limit: 20 }) {
        HistoryCommand::List { limit } => {
            let builds = history.builds(Page::newest(limit)).map_err(|error| ErrorReport::of(&error))?;
            if context.json { print_json(&builds)? } else { print(&list(&builds, now_ms(), context.style))? }
        }
        HistoryCommand::Show { id } => {
            let build =
                history.resolve(&id).and_then(|id| history.build(id)).map_err(|error| ErrorReport::of(&error))?;
            if context.json { print_json(&build)? } else { print(&show(&build, now_ms(), context.style))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn status_ink(status: BuildStatus) -> Ink {
    match status {
        BuildStatus::Success => Ink::Good,
        BuildStatus::Failed | BuildStatus::Error => Ink::Bad,
        BuildStatus::Running => Ink::Info,
        BuildStatus::Interrupted | BuildStatus::Cancelled => Ink::Warn,
    }
}

/// Counts in a few words: `2 full, 1 failed`.
pub(crate) fn counts_in_words(counts: &TierCounts) -> String {
    let named = [
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.instant, "instant"),
        (counts.cached, "cached"),
        (counts.incremental, "incremental"),
        (counts.full, "full"),
    ];
    let words = named.into_iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}"));
    words.collect::<Vec<_>>().join(", ")
}

fn list(builds: &[BuildHead], now_ms: u64, style: Style) -> String {
    let mut text = String::new();
    for build in builds {
        let status = style.paint(status_ink(build.status), format!("{:<11}", build.status.name()));
        let (id, command) = (build.short_id(), clean(&build.command, false));
        let (when, took) = (ago(build.started_ms, now_ms), duration(build.duration_us));
        let counts = counts_in_words(&build.counts);
        text +=
            &format!("{id}  {when:>8}  {status} {took:>7}  {}  {}\n", pad(&command, 20), style.paint(Ink::Dim, counts));
    }
    text
}

fn show(build: &BuildRecord, now_ms: u64, style: Style) -> String {
    let head = &build.head;
    let status = style.paint(status_ink(head.status), head.status.name());
    let mut text = format!("{}  {status}\n", head.id);
    let rows = [
        ("command", format!("buildnet {}", clean(&head.command, false))),
        ("started", ago(head.started_ms, now_ms)),
        ("took", format!("{}, saved {}", duration(head.duration_us), duration(head.saved_us))),
        ("tasks", counts_in_words(&head.counts)),
    ];
    text += &rows.map(|(name, value)| format!("{name:<10} {value}\n")).concat();
    for task in &build.tasks {
        let summary = &task.summary;
        let (word, ink) = match (summary.outcome, summary.tier) {
            (TaskOutcome::Success, Some(tier)) => (tier.name(), Style::tier_ink(tier)),
            (TaskOutcome::Success, None) => ("done", Ink::Good),
            (TaskOutcome::Failed, _) => ("failed", Ink::Bad),
            (TaskOutcome::Skipped, _) => ("skipped", Ink::Dim),
            (TaskOutcome::Cancelled, _) => ("cancelled", Ink::Dim),
        };
        let name = pad(&clean(&summary.task.to_string(), false), 28);
        let reason = summary.error.clone().or_else(|| summary.reason.as_ref().map(reason_in_short)).unwrap_or_default();
        let reason = style.paint(Ink::Dim, clean(&reason, false)).to_string();
        let took = duration(summary.duration_us);
        text += format!("  {name} {} {took:>7}  {reason}", style.paint(ink, pad(word, 11))).trim_end();
        text.push('\n');
    }
    for notice in &build.notices {
        text += &format!("  note: {}\n", clean(&notice.text, false));
    }
    text
}
