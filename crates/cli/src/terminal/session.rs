//! A build in front of a person (or a file, or a program).

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::Line;

use super::input::{Input, terminal_size};
use super::live::frame;
use super::messages::{Teller, Verbosity};
use super::progress::Progress;
use super::screen::Screen;
use super::text::duration;
use crate::time::now_ms;

/// Time between two pictures. What ends sooner shows none, and does not flicker.
const TICK: Duration = Duration::from_millis(80);

/// Without a terminal, a task that runs this long is told, and again each time as much more has passed.
const STILL_RUNNING_MS: u64 = 60_000;

/// How a build is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Live lines on a terminal.
    Live,
    /// Plain lines.
    Plain,
    /// Each line of the stream as JSON.
    Json,
}

/// Shows a build until it ends. `interrupt` is called when the user wants it to stop: the first time with false, then with true.
pub(crate) fn run(
    inputs: &Receiver<Input>,
    show: Show,
    teller: Teller,
    mut interrupt: impl FnMut(bool),
) -> Result<Progress, ErrorReport> {
    let mut view = View::new(show, teller);
    let mut progress = Progress::default();
    let mut next_draw = Instant::now() + TICK;
    loop {
        match inputs.recv_timeout(next_draw.saturating_duration_since(Instant::now())) {
            Ok(Input::Line(line)) => {
                progress.take(&line);
                view.line(&line)?;
            }
            Ok(Input::Ended(result)) => {
                view.finish(&progress)?;
                return result.map(|()| progress);
            }
            Ok(Input::Interrupt) => {
                interrupt(progress.cancelling);
                progress.cancelling = true;
            }
            Ok(Input::Resized) => view.resized(),
            // A change that comes while something is built is found by the next build.
            Ok(Input::Changed) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(ErrorReport::internal("the build told no end")),
        }
        if Instant::now() >= next_draw {
            view.draw(&progress, now_ms())?;
            next_draw = Instant::now() + TICK;
        }
    }
}

struct View {
    show: Show,
    teller: Teller,
    screen: Screen<io::Stderr>,
    /// Told, and not on the screen yet.
    told: String,
    /// When the running tasks were told last, where they are not shown.
    reminded_ms: u64,
}

impl View {
    fn new(show: Show, teller: Teller) -> Self {
        let size = terminal_size(io::stderr()).unwrap_or(super::live::Size { columns: 80, rows: 24 });
        let teller = Teller { columns: (show == Show::Live).then_some(size.columns), ..teller };
        Self { show, teller, screen: Screen::new(io::stderr(), size), told: String::new(), reminded_ms: now_ms() }
    }

    /// Takes in a line. Without live lines it is told at once, with them at the next picture.
    fn line(&mut self, line: &Line) -> Result<(), ErrorReport> {
        if self.show == Show::Json {
            let text = serde_json::to_string(line).unwrap_or_default();
            return writeln!(io::stdout().lock(), "{text}").map_err(|error| broken(&error));
        }
        self.told.push_str(&self.teller.tell(line));
        if self.show == Show::Plain { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ErrorReport> {
        if self.told.is_empty() {
            return Ok(());
        }
        let told = std::mem::take(&mut self.told);
        io::stderr().lock().write_all(told.as_bytes()).map_err(|error| broken(&error))
    }

    fn draw(&mut self, progress: &Progress, now_ms: u64) -> Result<(), ErrorReport> {
        match self.show {
            Show::Json => Ok(()),
            Show::Live => {
                let quiet = self.teller.verbosity == Verbosity::Quiet || progress.total == 0;
                let size = self.screen.size();
                let live = if quiet { Vec::new() } else { frame(progress, size, now_ms, self.teller.style) };
                self.screen.update(&std::mem::take(&mut self.told), live).map_err(|error| broken(&error))
            }
            Show::Plain => {
                if self.teller.verbosity > Verbosity::Quiet
                    && now_ms.saturating_sub(self.reminded_ms) >= STILL_RUNNING_MS
                {
                    self.reminded_ms = now_ms;
                    self.told.push_str(&still_running(progress, now_ms));
                }
                self.flush()
            }
        }
    }

    fn finish(&mut self, progress: &Progress) -> Result<(), ErrorReport> {
        if self.show == Show::Json {
            return Ok(());
        }
        self.told.push_str(&self.teller.summary(progress));
        if self.show == Show::Plain {
            return self.flush();
        }
        self.screen.update(&std::mem::take(&mut self.told), Vec::new()).map_err(|error| broken(&error))
    }

    fn resized(&mut self) {
        if let Some(size) = terminal_size(io::stderr()) {
            self.screen.resize(size);
            self.teller.columns = self.teller.columns.map(|_| size.columns);
        }
    }
}

impl Drop for View {
    /// Whatever happens, the cursor comes back.
    fn drop(&mut self) {
        let _ = self.screen.close();
    }
}

/// A line for each task that has run for long.
fn still_running(progress: &Progress, now_ms: u64) -> String {
    let mut told = String::new();
    for task in &progress.running {
        let elapsed = now_ms.saturating_sub(task.started_ms);
        if elapsed >= STILL_RUNNING_MS {
            told.push_str(&format!("  {} still running after {}\n", task.task, duration(elapsed * 1000)));
        }
    }
    told
}

fn broken(error: &io::Error) -> ErrorReport {
    ErrorReport::environment("cannot write the output").because(error)
}
