//! The Markdown report: GitHub's dialect, short enough for a summary.

use std::fmt::Write as _;

use buildnet_event::{Level, TaskOutcome, Tier};
use buildnet_history::{BuildRecord, BuildStatus, TaskRecord};

use crate::analysis::{Analysis, busy_us};
use crate::text::{describe_reason, human_bytes, human_duration, human_time, plain};

/// Tasks listed in each table.
const LISTED: usize = 10;

/// Failures shown with their log.
const LOGS: usize = 5;

pub(crate) fn render(build: &BuildRecord, analysis: &Analysis) -> String {
    let mut out = String::new();
    // Writing to a string never fails.
    let _ = summary(&mut out, build)
        .and_then(|()| failures(&mut out, build))
        .and_then(|()| critical_path(&mut out, build, analysis))
        .and_then(|()| slowest(&mut out, build))
        .and_then(|()| notices(&mut out, build));
    out
}

fn summary(out: &mut String, build: &BuildRecord) -> std::fmt::Result {
    let head = &build.head;
    let sign = match head.status {
        BuildStatus::Success => "✅",
        BuildStatus::Running => "⏳",
        BuildStatus::Cancelled | BuildStatus::Interrupted => "⚠️",
        BuildStatus::Failed | BuildStatus::Error => "❌",
    };
    let counts = head.counts;
    writeln!(out, "## {sign} {}: {}\n", code(&format!("buildnet {}", head.command)), head.status)?;
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(out, "| Build | {} |", code(&head.id.to_string()))?;
    writeln!(out, "| Workspace | {} |", code(&head.workspace))?;
    writeln!(out, "| Started | {} |", human_time(head.started_ms))?;
    writeln!(out, "| Duration | {} |", human_duration(head.duration_us))?;
    writeln!(
        out,
        "| Tasks | {} instant, {} cached, {} incremental, {} full, {} failed, {} skipped |",
        counts.instant, counts.cached, counts.incremental, counts.full, counts.failed, counts.skipped
    )?;
    writeln!(out, "| Saved by the cache | {} |", human_duration(head.saved_us))
}

fn failures(out: &mut String, build: &BuildRecord) -> std::fmt::Result {
    let failed: Vec<&TaskRecord> =
        build.tasks.iter().filter(|task| task.summary.outcome == TaskOutcome::Failed).collect();
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### Failures")?;
    for task in failed.iter().take(LOGS) {
        let summary = &task.summary;
        let error = summary.error.as_deref().map_or_else(|| "failed".to_owned(), prose);
        writeln!(out, "\n**{}** {error}", code(&summary.task.to_string()))?;
        if let Some(hint) = &summary.hint {
            writeln!(out, "\n_Hint:_ {}", prose(hint))?;
        }
        if let Some(tail) = &summary.log_tail {
            let tail = plain(tail);
            let fence = fence(&tail, 3);
            writeln!(out, "\n{fence}text\n{}\n{fence}", tail.trim_end())?;
        }
        if let Some(path) = &summary.log_path {
            writeln!(out, "\nWhole log: {}", code(path))?;
        }
    }
    if failed.len() > LOGS {
        writeln!(out, "\nAnd {} more.", failed.len() - LOGS)?;
    }
    Ok(())
}

fn critical_path(out: &mut String, build: &BuildRecord, analysis: &Analysis) -> std::fmt::Result {
    if analysis.critical_path.is_empty() {
        return Ok(());
    }
    let length = analysis.critical_path.len();
    writeln!(out, "\n### Critical path: {}\n", human_duration(analysis.critical_us))?;
    table_head(out)?;
    // The longest of a long path, in the order of running.
    let mut shown = analysis.critical_path.clone();
    shown.sort_by_key(|&index| std::cmp::Reverse(busy_us(&build.tasks[index])));
    shown.truncate(LISTED);
    for index in analysis.critical_path.iter().filter(|index| shown.contains(index)) {
        row(out, &build.tasks[*index])?;
    }
    if length > LISTED {
        writeln!(out, "\nThe longest {LISTED} of {length} tasks on the path.")?;
    }
    Ok(())
}

fn slowest(out: &mut String, build: &BuildRecord) -> std::fmt::Result {
    let mut tasks: Vec<&TaskRecord> = build.tasks.iter().filter(|task| busy_us(task) > 0).collect();
    if tasks.is_empty() {
        return Ok(());
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(busy_us(task)));
    writeln!(out, "\n### Slowest tasks\n")?;
    table_head(out)?;
    tasks.iter().take(LISTED).try_for_each(|task| row(out, task))
}

fn notices(out: &mut String, build: &BuildRecord) -> std::fmt::Result {
    let told: Vec<_> = build.notices.iter().filter(|notice| notice.level != Level::Info).collect();
    if told.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### Notices\n")?;
    for notice in told.iter().take(LISTED) {
        let hint = notice.hint.as_deref().map(|hint| format!(" — {}", prose(hint))).unwrap_or_default();
        writeln!(out, "- {}{hint}", prose(&notice.text))?;
    }
    Ok(())
}

fn table_head(out: &mut String) -> std::fmt::Result {
    writeln!(out, "| Task | Time | Tier | Memory | Why |\n|---|--:|---|--:|---|")
}

fn row(out: &mut String, task: &TaskRecord) -> std::fmt::Result {
    let summary = &task.summary;
    let tier = match summary.outcome {
        TaskOutcome::Success => summary.tier.map_or("", Tier::name),
        TaskOutcome::Failed => "failed",
        TaskOutcome::Skipped => "skipped",
        TaskOutcome::Cancelled => "cancelled",
    };
    let memory = match summary.usage.peak_memory {
        0 => String::new(),
        bytes => human_bytes(bytes),
    };
    let why = summary.reason.as_ref().map(|reason| escape(&describe_reason(reason))).unwrap_or_default();
    let (name, time) = (code(&summary.task.to_string()), human_duration(busy_us(task)));
    writeln!(out, "| {name} | {time} | {tier} | {memory} | {why} |")
}

/// Text that Markdown takes as nothing but text, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in plain(text).chars() {
        match c {
            '\n' | '\t' => escaped.push(' '),
            // A mention would call somebody.
            '@' => escaped.push_str("&#64;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '!' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// A message, in which pairs of backticks mean code.
fn prose(text: &str) -> String {
    let pieces: Vec<&str> = text.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return escape(text);
    }
    let marked = pieces.into_iter().enumerate();
    marked
        .map(|(n, piece)| match (n % 2, piece) {
            (0, piece) => escape(piece),
            (_, "") => escape("``"),
            (_, piece) => code(piece),
        })
        .collect()
}

/// A code span, which may stand in a table.
fn code(text: &str) -> String {
    let text = plain(text).replace(['\n', '\t'], " ").replace('|', "\\|");
    let fence = fence(&text, 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// More backticks than the text has in a row, and at least so many.
fn fence(text: &str, least: usize) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(least.max(longest + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out() {
        assert_eq!(escape("a|b <script> @ada [x](y)\n# h"), "a\\|b &lt;script&gt; &#64;ada \\[x\\](y) \\# h");
        assert_eq!(code("a`b``c|d"), "```a`b``c\\|d```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(prose("use `a|b` of *c*"), "use `a\\|b` of \\*c\\*");
        assert_eq!(prose("an `odd one <b>"), "an \\`odd one &lt;b&gt;");
        assert_eq!(fence("```\n````", 3), "`````");
    }
}
