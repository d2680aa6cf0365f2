//! What is told once, and stays.

use std::fmt::Write as _;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::{Line, Note};
use buildnet_event::{BuildOutcome, EventKind, InputChange, InputPart, Level, Reason, TaskOutcome, TaskSummary, Tier};

use super::progress::{Finish, Progress};
use super::style::{Ink, Style};
use super::text::{clean, count, duration, pad, shorten, width};

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Failures alone.
    Quiet,
    /// Also what ran or came from the cache, and the summary.
    Normal,
    /// Also what was instant, why things ran, and their output.
    Verbose,
}

/// Lines of a failed task's log that are shown.
const TAIL_LINES: usize = 30;

/// Failed tasks named in the summary.
const NAMED: usize = 8;

/// Writes messages in a style.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Teller {
    pub(crate) style: Style,
    pub(crate) verbosity: Verbosity,
    /// Columns that a line should keep to; none where lines may be of any length.
    pub(crate) columns: Option<usize>,
    /// Whether a build in which there was nothing to do is worth a summary.
    pub(crate) tell_idle: bool,
}

impl Teller {
    /// What a line gives to tell, each line of it ended.
    pub(crate) fn tell(self, line: &Line) -> String {
        match line {
            Line::Note(Note::Gap { missed }) => {
                self.notice(Level::Warning, &format!("{} were missed", count(*missed, "event")), None)
            }
            Line::Note(_) => String::new(),
            Line::Event(event) => match &event.kind {
                EventKind::TaskFinished(task) => self.task(task),
                EventKind::TasksUnchanged { tasks } if self.verbosity == Verbosity::Verbose => {
                    tasks.iter().map(|task| self.unchanged(&task.to_string())).collect()
                }
                EventKind::TaskRetry { task, attempt, delay_ms, error } => {
                    let wait = duration(delay_ms * 1000);
                    let text = format!("{task}: attempt {attempt} failed: {error}; trying again in {wait}");
                    self.notice(Level::Warning, &text, None)
                }
                EventKind::TaskOutput { task, text } if self.verbosity == Verbosity::Verbose => {
                    let name = task.to_string();
                    self.block(text.lines(), &name)
                }
                EventKind::Notice { level, text, hint } => self.notice(*level, text, hint.as_deref()),
                _ => String::new(),
            },
        }
    }

    /// Lines under a margin.
    fn block<'a>(self, lines: impl Iterator<Item = &'a str>, margin: &str) -> String {
        let mut out = String::new();
        let margin = self.style.paint(Ink::Dim, format!("{} {}", clean(margin, false), self.style.bar()));
        for line in lines {
            let _ = writeln!(out, "{margin} {}", clean(line, self.style.color));
        }
        out
    }

    fn notice(self, level: Level, text: &str, hint: Option<&str>) -> String {
        let (ink, word) = match level {
            Level::Info if self.verbosity == Verbosity::Quiet => return String::new(),
            Level::Info => (Ink::Info, "note"),
            Level::Warning => (Ink::Warn, "warning"),
            Level::Error => (Ink::Bad, "error"),
        };
        let mut out = String::new();
        let mut lines = text.lines();
        let first = clean(lines.next().unwrap_or_default(), false);
        let _ = writeln!(out, "{}: {first}", self.style.paint(ink, word));
        for line in lines {
            let _ = writeln!(out, "  {}", clean(line, false));
        }
        if let Some(hint) = hint {
            out.push_str(&self.hint(hint));
        }
        out
    }

    fn hint(self, hint: &str) -> String {
        format!("{}: {}\n", self.style.paint(Ink::Info, "hint"), clean(hint, false))
    }

    fn task(self, task: &TaskSummary) -> String {
        let quiet = self.verbosity == Verbosity::Quiet;
        match (task.outcome, task.tier) {
            (TaskOutcome::Failed, _) => self.failure(task),
            _ if quiet => String::new(),
            (TaskOutcome::Success, tier) => {
                let tier = tier.unwrap_or(Tier::Full);
                if tier == Tier::Instant && self.verbosity < Verbosity::Verbose {
                    return String::new();
                }
                let mark = self.style.paint(Ink::Good, self.style.check());
                let why = why(task);
                let note = match (task.remote, why.is_empty()) {
                    (false, _) => why,
                    (true, true) => "remote".to_owned(),
                    (true, false) => format!("remote; {why}"),
                };
                self.row(task, &mark.to_string(), tier.name(), Style::tier_ink(tier), &note)
            }
            (TaskOutcome::Skipped | TaskOutcome::Cancelled, _) if self.verbosity < Verbosity::Verbose => String::new(),
            (TaskOutcome::Skipped, _) => self.row(task, " ", "skipped", Ink::Dim, ""),
            (TaskOutcome::Cancelled, _) => self.row(task, " ", "cancelled", Ink::Dim, ""),
        }
    }

    fn row(self, task: &TaskSummary, mark: &str, word: &str, ink: Ink, note: &str) -> String {
        let columns = self.columns.unwrap_or(usize::MAX);
        let name_columns = if columns < 72 { columns.saturating_sub(24).max(8) } else { 28 };
        let name = clean(&task.task.to_string(), false);
        let name = if columns < 72 { shorten(&name, name_columns, self.style.ellipsis()) } else { name };
        let (name, word) = (pad(&name, name_columns), pad(word, 11));
        let time = format!("{:>7}", duration(task.duration_us));
        let used = 2 + width(&name) + 1 + width(&word) + 1 + width(&time) + 2;
        // A failure is told whole, whatever the width.
        let note = if ink == Ink::Bad {
            note.to_owned()
        } else {
            shorten(note, columns.saturating_sub(used), self.style.ellipsis())
        };
        let word = self.style.paint(ink, word);
        if note.is_empty() {
            return format!("{mark} {name} {word} {time}\n");
        }
        format!("{mark} {name} {word} {time}  {}\n", self.style.paint(Ink::Dim, note))
    }

    fn unchanged(self, task: &str) -> String {
        let (mark, name) = (self.style.paint(Ink::Good, self.style.check()), pad(&clean(task, false), 28));
        format!("{mark} {name} {}\n", self.style.paint(Ink::Good, Tier::Instant.name()))
    }

    fn failure(self, task: &TaskSummary) -> String {
        let note = match (&task.error, task.exit_code) {
            (Some(error), _) => clean(error, false),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => String::new(),
        };
        let mark = self.style.paint(Ink::Bad, self.style.cross());
        let mut out = self.row(task, &mark.to_string(), "failed", Ink::Bad, &note);
        if let Some(tail) = &task.log_tail {
            let lines: Vec<_> = tail.lines().collect();
            out.push_str(&self.block(lines[lines.len().saturating_sub(TAIL_LINES)..].iter().copied(), " "));
        }
        if let Some(path) = &task.log_path {
            let _ = writeln!(out, "  {}: {}", self.style.paint(Ink::Info, "log"), clean(path, false));
        }
        if let Some(hint) = &task.hint {
            let _ = write!(out, "  {}", self.hint(hint));
        }
        out
    }

    /// The last lines of a build.
    pub(crate) fn summary(self, progress: &Progress) -> String {
        let mut out = String::new();
        if let Some(error) = &progress.error {
            out.push_str(&self.error(error));
        }
        let Some(finish) = &progress.finish else { return out };
        let good = finish.outcome == BuildOutcome::Success;
        let idle = good && !self.tell_idle && progress.is_idle();
        if idle || (good && self.verbosity == Verbosity::Quiet) {
            return out;
        }
        let (ink, word) = match finish.outcome {
            BuildOutcome::Success => (Ink::Good, "Done"),
            BuildOutcome::Failed => (Ink::Bad, "Failed"),
            BuildOutcome::Cancelled => (Ink::Warn, "Stopped"),
            BuildOutcome::Error => (Ink::Bad, "Error"),
        };
        let _ = write!(out, "{}: ", self.style.paint(ink, self.style.paint(Ink::Bold, word)));
        let _ = write!(out, "{} in {}", count(progress.total, "task"), duration(finish.duration_us));
        let tiers = self.tiers(finish);
        if !tiers.is_empty() {
            let _ = write!(out, ": {tiers}");
        }
        if finish.saved_us >= 1000 {
            let _ = write!(out, " {} {} saved", self.style.dot(), duration(finish.saved_us));
        }
        out.push('\n');
        if !progress.failed.is_empty() {
            let named: Vec<_> =
                progress.failed.iter().take(NAMED).map(|task| clean(&task.to_string(), false)).collect();
            let more = match progress.failed.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let _ = writeln!(out, "failed: {}{more}", named.join(", "));
        }
        out
    }

    fn tiers(self, finish: &Finish) -> String {
        let counts = &finish.counts;
        let named = [
            (counts.failed, "failed", Some(Ink::Bad)),
            (counts.skipped, "skipped", None),
            (counts.instant, "instant", None),
            (counts.cached, "cached", None),
            (counts.incremental, "incremental", None),
            (counts.full, "full", None),
        ];
        let mut pieces = Vec::new();
        for (count, name, ink) in named.into_iter().filter(|(count, ..)| *count > 0) {
            let piece = format!("{count} {name}");
            pieces.push(ink.map_or_else(|| piece.clone(), |ink| self.style.paint(ink, &piece).to_string()));
        }
        pieces.join(", ")
    }

    /// Something that is not as it should be, while the work goes on.
    pub(crate) fn warning(self, report: &ErrorReport) -> String {
        self.notice(Level::Warning, &report.message, report.hint.as_deref())
    }

    /// An error: the message, then the causes, then what to do.
    pub(crate) fn error(self, error: &ErrorReport) -> String {
        let mut out = format!("{}: {}\n", self.style.paint(Ink::Bad, "error"), lines_clean(&error.message));
        for cause in &error.causes {
            let _ = writeln!(out, "  {}: {}", self.style.paint(Ink::Dim, "cause"), lines_clean(cause));
        }
        if let Some(hint) = &error.hint {
            out.push_str(&self.hint(hint));
        }
        out
    }
}

/// Cleans a text of several lines, which are set out by themselves.
fn lines_clean(text: &str) -> String {
    text.lines().map(|line| clean(line, false)).collect::<Vec<_>>().join("\n")
}

/// Why a task was not instant, in a few words.
fn why(task: &TaskSummary) -> String {
    match &task.reason {
        None | Some(Reason::FirstRun) => String::new(),
        Some(reason) => clean(&reason_in_short(reason), false),
    }
}

/// A reason in a few words, for the end of a line.
pub(crate) fn reason_in_short(reason: &Reason) -> String {
    match reason {
        Reason::FirstRun => "first run".to_owned(),
        Reason::Forced => "forced".to_owned(),
        Reason::FailedBefore => "failed last time".to_owned(),
        Reason::Changed { changes, more } => match changes.as_slice() {
            [] => "changed".to_owned(),
            [first, rest @ ..] => match rest.len() + more {
                0 => change_in_words(first),
                others => format!("{} and {others} more", change_in_words(first)),
            },
        },
    }
}

/// A change in words: `src/a.c changed`, `variable CC is new`.
pub(crate) fn change_in_words(change: &InputChange) -> String {
    let name = &change.name;
    let thing = match change.part {
        InputPart::File => name.clone(),
        InputPart::Variable => format!("variable {name}"),
        InputPart::Command if name == "settings" => "a setting".to_owned(),
        InputPart::Command => "the command".to_owned(),
        InputPart::Toolchain => format!("the program {name}"),
        InputPart::Dependency => format!("the outputs of {name}"),
        InputPart::Output => format!("output {name}"),
    };
    let verb = match (change.part, &change.before, &change.after) {
        (InputPart::Output, _, None) => "is missing",
        (_, None, Some(_)) => "is new",
        (_, Some(_), None) => "is gone",
        (InputPart::Dependency, ..) => "differ",
        _ => "changed",
    };
    format!("{thing} {verb}")
}
