//! The lines that change while a build runs.

use super::progress::{Phase, Progress, Running};
use super::style::{Ink, Style};
use super::text::{duration, pad, shorten, width};

/// Size of a terminal in columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// A line and the columns that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveLine {
    pub(crate) text: String,
    pub(crate) columns: usize,
}

/// Puts together pieces that fit into a line, in their inks.
struct LineBuilder {
    style: Style,
    text: String,
    used: usize,
    room: usize,
}

impl LineBuilder {
    /// The last column stays free: a character there makes some terminals wrap.
    fn new(style: Style, size: Size) -> Self {
        Self { style, text: String::new(), used: 0, room: size.columns.saturating_sub(1) }
    }

    fn left(&self) -> usize {
        self.room - self.used
    }

    /// Adds a piece, shortened to what is left.
    fn push(&mut self, ink: Option<Ink>, piece: &str) -> &mut Self {
        let piece = shorten(piece, self.left(), self.style.ellipsis());
        self.used += width(&piece);
        match ink {
            Some(ink) if !piece.is_empty() => self.text.push_str(&self.style.paint(ink, piece).to_string()),
            _ => self.text.push_str(&piece),
        }
        self
    }

    /// Adds a piece if it fits whole.
    fn push_if_fits(&mut self, ink: Option<Ink>, piece: &str) -> &mut Self {
        if width(piece) <= self.left() {
            self.push(ink, piece);
        }
        self
    }

    fn finish(self) -> LiveLine {
        LiveLine { text: self.text, columns: self.used }
    }
}

/// What to show at a moment: the running tasks, longest first, and the bar.
pub(crate) fn frame(progress: &Progress, size: Size, now_ms: u64, style: Style) -> Vec<LiveLine> {
    if size.columns < 8 || size.rows < 2 {
        return Vec::new();
    }
    let room = (size.rows - 1).min(size.rows * 2 / 3 + 1).saturating_sub(1).max(1);
    let mut lines = Vec::new();
    let hidden = if progress.running.len() > room { progress.running.len() - (room - 1) } else { 0 };
    let shown = progress.running.len() - hidden;
    let name_columns = progress.running.iter().take(shown).map(|r| width(&r.task.to_string())).max().unwrap_or(0);
    for task in progress.running.iter().take(shown) {
        lines.push(task_line(task, name_columns, size, now_ms, style));
    }
    if hidden > 0 {
        let mut line = LineBuilder::new(style, size);
        line.push(Some(Ink::Dim), &format!("  and {hidden} more"));
        lines.push(line.finish());
    }
    lines.push(bar_line(progress, size, now_ms, style));
    lines
}

fn task_line(task: &Running, name_columns: usize, size: Size, now_ms: u64, style: Style) -> LiveLine {
    let elapsed = now_ms.saturating_sub(task.started_ms) * 1000;
    let mut line = LineBuilder::new(style, size);
    line.push(Some(Ink::Info), style.spinner(now_ms)).push(None, " ");
    // The time is what people look for: the name gives way to it.
    let name_room = size.columns.saturating_sub(12).clamp(4, 48);
    let name = shorten(&task.task.to_string(), name_room, style.ellipsis());
    line.push(None, &pad(&name, name_columns.min(name_room)));
    line.push(None, &format!("  {:>6}", seconds(elapsed)));
    if let Some(expected) = task.expected_us {
        let over = elapsed > expected * 3 / 2 + 1_000_000;
        line.push_if_fits(Some(if over { Ink::Warn } else { Ink::Dim }), &format!(" of ~{}", about(expected)));
    }
    match task.phase {
        Phase::Checking => line.push_if_fits(Some(Ink::Dim), "  checking"),
        Phase::Executing => &mut line,
        Phase::Retrying { at_ms, attempt } => {
            let wait = at_ms.saturating_sub(now_ms) * 1000;
            line.push_if_fits(Some(Ink::Warn), &format!("  attempt {attempt} in {}", seconds(wait)))
        }
    };
    line.finish()
}

/// Elapsed time: changes ten times a second, not a thousand.
fn seconds(micros: u64) -> String {
    if micros < 60_000_000 { format!("{}.{}s", micros / 1_000_000, micros / 100_000 % 10) } else { duration(micros) }
}

/// An expected time: nobody needs its milliseconds.
fn about(micros: u64) -> String {
    if micros < 10_000_000 { seconds(micros) } else { whole_seconds(micros) }
}

fn whole_seconds(micros: u64) -> String {
    let seconds = micros.div_ceil(1_000_000);
    if seconds < 60 { format!("{seconds}s") } else { duration(micros) }
}

fn bar_line(progress: &Progress, size: Size, now_ms: u64, style: Style) -> LiveLine {
    let mut line = LineBuilder::new(style, size);
    let (done, total) = (progress.done(), progress.total.max(progress.done()));
    if size.columns >= 40 {
        let columns = (size.columns / 4).clamp(10, 30);
        let filled = usize::try_from(done * columns as u64 / total.max(1)).unwrap_or(columns).min(columns);
        let (full, empty) = if style.unicode { ("█", "░") } else { ("#", ".") };
        let ink = if progress.counts.failed > 0 { Ink::Bad } else { Ink::Good };
        line.push(Some(ink), &full.repeat(filled));
        line.push(Some(Ink::Dim), &empty.repeat(columns - filled)).push(None, " ");
    }
    line.push(Some(Ink::Bold), &format!("{done}/{total}"));
    if progress.cancelling {
        line.push(Some(Ink::Warn), "  stopping; Ctrl-C again to kill");
        return line.finish();
    }
    if let Some(eta) = progress.eta_us(now_ms).filter(|eta| *eta >= 1_000_000) {
        line.push_if_fits(None, &format!("  ~{} left", whole_seconds(eta)));
    }
    let counts = &progress.counts;
    let named = [
        (counts.failed, "failed", Some(Ink::Bad)),
        (counts.instant, "instant", Some(Ink::Dim)),
        (counts.cached, "cached", Some(Ink::Dim)),
        (counts.incremental, "incremental", Some(Ink::Dim)),
        (counts.full, "full", Some(Ink::Dim)),
        (counts.skipped, "skipped", Some(Ink::Dim)),
    ];
    let mut separator = "  ".to_owned();
    for (count, name, ink) in named.into_iter().filter(|(count, ..)| *count > 0) {
        line.push_if_fits(ink, &format!("{separator}{count} {name}"));
        separator = format!(" {} ", style.dot());
    }
    line.finish()
}
