//! The renderer on a virtual terminal: events in, screens out, with a clock that stands still.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::{Line, Note};
use buildnet_event::{
    BuildOutcome, Event, EventKind, InputChange, InputPart, Level, Reason, TaskName, TaskOutcome, TaskSummary,
    TaskUsage, Tier, TierCounts,
};

use super::live::{Size, frame};
use super::messages::{Teller, Verbosity};
use super::progress::Progress;
use super::screen::Screen;
use super::style::Style;

/// A terminal that a [`Screen`] writes to.
#[derive(Clone)]
struct Terminal(Arc<Mutex<vt100::Parser>>);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().process(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what was written.
struct Counter(Arc<Mutex<Vec<u8>>>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A build in front of a terminal.
struct Stage {
    terminal: Terminal,
    screen: Screen<Terminal>,
    progress: Progress,
    teller: Teller,
    told: String,
    now_ms: u64,
    seq: u64,
}

impl Stage {
    fn new(columns: u16, rows: u16) -> Self {
        Self::with(
            columns,
            rows,
            Teller { style: Style::PLAIN, verbosity: Verbosity::Normal, columns: None, tell_idle: true },
        )
    }

    fn with(columns: u16, rows: u16, teller: Teller) -> Self {
        let teller = Teller { columns: Some(columns.into()), ..teller };
        let terminal = Terminal(Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0))));
        let size = Size { columns: columns.into(), rows: rows.into() };
        let screen = Screen::new(terminal.clone(), size);
        Self { terminal, screen, progress: Progress::default(), teller, told: String::new(), now_ms: 1_000_000, seq: 0 }
    }

    fn at(&mut self, milliseconds: u64) -> &mut Self {
        self.now_ms = 1_000_000 + milliseconds;
        self
    }

    fn line(&mut self, line: &Line) -> &mut Self {
        self.progress.take(line);
        self.told.push_str(&self.teller.tell(line));
        self
    }

    fn event(&mut self, kind: EventKind) -> &mut Self {
        self.seq += 1;
        let event = Event { seq: self.seq, time_ms: self.now_ms, build: None, kind };
        self.line(&Line::Event(Arc::new(event)))
    }

    fn start(&mut self, tasks: u64) -> &mut Self {
        self.event(EventKind::BuildStarted { workspace: "/w".into(), command: "build".into(), tasks })
    }

    fn task(&mut self, name: &str, expected_s: Option<u64>) -> &mut Self {
        let task = TaskName::new(name, "build");
        self.event(EventKind::TaskStarted { task: task.clone(), expected_us: expected_s.map(|s| s * 1_000_000) });
        self.event(EventKind::TaskExecuting { task, attempt: 1 })
    }

    fn draw(&mut self) -> &mut Self {
        let live = frame(&self.progress, self.screen.size(), self.now_ms, self.teller.style);
        self.screen.update(&std::mem::take(&mut self.told), live).unwrap();
        self
    }

    fn end(&mut self) -> &mut Self {
        self.told.push_str(&self.teller.summary(&self.progress));
        self.screen.update(&std::mem::take(&mut self.told), Vec::new()).unwrap();
        self
    }

    fn picture(&self) -> String {
        let parser = self.terminal.0.lock().unwrap();
        let screen = parser.screen();
        let mut rows: Vec<String> = screen.rows(0, screen.size().1).map(|row| row.trim_end().to_owned()).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows.join("\n")
    }
}

fn summary(name: &str, tier: Tier, duration_ms: u64) -> TaskSummary {
    TaskSummary {
        task: TaskName::new(name, "build"),
        outcome: TaskOutcome::Success,
        tier: Some(tier),
        duration_us: duration_ms * 1000,
        execution_us: duration_ms * 1000,
        key: None,
        exit_code: None,
        error: None,
        hint: None,
        log_path: None,
        log_tail: None,
        reason: None,
        usage: TaskUsage::default(),
        attempts: 1,
        remote: false,
        dependencies: Vec::new(),
    }
}

fn done(name: &str, tier: Tier, duration_ms: u64) -> EventKind {
    EventKind::TaskFinished(Box::new(summary(name, tier, duration_ms)))
}

fn failure(name: &str) -> EventKind {
    EventKind::TaskFinished(Box::new(TaskSummary {
        outcome: TaskOutcome::Failed,
        tier: None,
        exit_code: Some(2),
        log_path: Some("/w/.buildnet/logs/ui.log".into()),
        log_tail: Some("compiling ui\nsrc/a.ts:3:1 - error TS2304: Cannot find name 'x'.\n".into()),
        hint: Some("The command looked for src/b.ts, which is no input; add it to `inputs`.".into()),
        ..summary(name, Tier::Full, 3100)
    }))
}

/// The first half of a build, with a bit of everything.
fn midway(stage: &mut Stage) -> &mut Stage {
    stage.start(8).line(&Line::Note(Note::Instant { count: 2 }));
    stage.task("core", None).task("plugin-sdk", Some(2)).at(300).event(done("shared", Tier::Cached, 12));
    let changed = Reason::Changed {
        changes: vec![InputChange {
            part: InputPart::File,
            name: "core/src/lib.rs".into(),
            before: Some("ab".into()),
            after: Some("cd".into()),
        }],
        more: 2,
    };
    let core = TaskSummary { reason: Some(changed), ..summary("core", Tier::Incremental, 1240) };
    stage.at(1240).event(EventKind::TaskFinished(Box::new(core))).task("ui", Some(4)).task("client", None).at(2500)
}

#[test]
fn running_tasks_and_the_bar() {
    insta::assert_snapshot!(midway(&mut Stage::new(80, 12)).draw().picture());
}

#[test]
fn a_failure_is_told_at_once_and_what_runs_stays_below() {
    let mut stage = Stage::new(80, 16);
    midway(&mut stage).draw().at(4300).event(failure("ui")).draw();
    insta::assert_snapshot!(stage.picture());
}

#[test]
fn the_summary_takes_the_place_of_the_live_lines() {
    let mut stage = Stage::new(80, 20);
    midway(&mut stage).draw().at(4300).event(failure("ui")).draw();
    let skipped = TaskSummary { outcome: TaskOutcome::Skipped, tier: None, ..summary("api", Tier::Full, 0) };
    stage.event(EventKind::TaskFinished(Box::new(skipped)));
    let counts = TierCounts { instant: 2, cached: 1, incremental: 1, full: 2, failed: 1, skipped: 1 };
    let finished =
        EventKind::BuildFinished { outcome: BuildOutcome::Failed, duration_us: 5_230_000, counts, saved_us: 9_400_000 };
    stage.at(5200).event(finished).end();
    insta::assert_snapshot!(stage.picture());
    assert!(!stage.terminal.0.lock().unwrap().screen().hide_cursor());
}

#[test]
fn narrow_terminals_shorten_and_never_wrap() {
    let mut stage = Stage::new(24, 10);
    midway(&mut stage).draw();
    insta::assert_snapshot!(stage.picture());
    for columns in 1..60 {
        let size = Size { columns, rows: 10 };
        for line in frame(&stage.progress, size, stage.now_ms, Style { color: true, unicode: true }) {
            assert!(line.columns < columns, "{columns}: {line:?}");
            assert_eq!(line.columns, super::text::width(&super::text::clean(&line.text, false)), "{columns}: {line:?}");
        }
    }
}

#[test]
fn low_terminals_show_some_tasks_and_how_many_more() {
    let mut stage = Stage::new(60, 6);
    stage.start(40);
    for index in 0..12 {
        stage.task(&format!("package-{index}"), None);
    }
    insta::assert_snapshot!(stage.at(1000).draw().picture());
}

#[test]
fn wide_characters_keep_the_columns() {
    let mut stage = Stage::new(50, 8);
    stage.start(3).task("画面", Some(3)).task("naïve-Ünïcode", None).at(1500).draw();
    insta::assert_snapshot!(stage.picture());
}

#[test]
fn a_smaller_window_leaves_nothing_behind() {
    let mut stage = Stage::new(80, 12);
    midway(&mut stage).draw();
    // The terminal cuts lines off where it does not fold them.
    stage.terminal.0.lock().unwrap().screen_mut().set_size(12, 40);
    stage.screen.resize(Size { columns: 40, rows: 12 });
    stage.at(2600).draw().at(2700).draw();
    let picture = stage.picture();
    assert_eq!(picture.matches("client:build").count(), 1, "{picture}");
}

#[test]
fn a_picture_that_did_not_change_is_not_drawn_again() {
    let mut stage = Stage::new(80, 12);
    midway(&mut stage).draw();
    let written = Arc::new(Mutex::new(Vec::new()));
    let mut screen = Screen::new(Counter(Arc::clone(&written)), stage.screen.size());
    let live = frame(&stage.progress, screen.size(), stage.now_ms, Style::PLAIN);
    screen.update("", live.clone()).unwrap();
    let once = written.lock().unwrap().len();
    screen.update("", live).unwrap();
    assert_eq!(written.lock().unwrap().len(), once);
}

#[test]
fn what_names_and_logs_hide_does_not_reach_the_terminal() {
    let mut stage = Stage::new(80, 12);
    let wild = TaskSummary {
        task: TaskName::new("a\x1b[2Jb\u{202e}", "build"),
        outcome: TaskOutcome::Failed,
        log_tail: Some("\x1b]0;title\x07\x1b[10Ahello\rworld".into()),
        ..summary("x", Tier::Full, 5)
    };
    stage.start(1).event(EventKind::TaskFinished(Box::new(wild))).draw();
    insta::assert_snapshot!(stage.picture());
}

#[test]
fn plain_lines_of_a_whole_build() {
    let mut stage = Stage::new(80, 30);
    stage.teller.columns = None;
    midway(&mut stage).event(failure("ui"));
    stage.event(EventKind::Notice {
        level: Level::Warning,
        text: "core:build wrote `x` without declaring it".into(),
        hint: Some("Declare it under `outputs`.".into()),
    });
    let counts = TierCounts { instant: 2, cached: 1, incremental: 1, full: 0, failed: 1, skipped: 3 };
    let finished =
        EventKind::BuildFinished { outcome: BuildOutcome::Failed, duration_us: 2_500_000, counts, saved_us: 0 };
    stage.event(finished);
    insta::assert_snapshot!(format!("{}{}", stage.told, stage.teller.summary(&stage.progress)));
}

#[test]
fn colours_where_they_are_wanted() {
    let teller = Teller {
        style: Style { color: true, unicode: true },
        verbosity: Verbosity::Normal,
        columns: None,
        tell_idle: true,
    };
    let mut stage = Stage::with(80, 12, teller);
    stage.start(1).event(done("core", Tier::Full, 1200));
    insta::assert_debug_snapshot!(stage.told);
}

#[test]
fn quiet_tells_failures_alone() {
    let mut stage = Stage::with(
        80,
        20,
        Teller { style: Style::PLAIN, verbosity: Verbosity::Quiet, columns: None, tell_idle: true },
    );
    midway(&mut stage);
    assert_eq!(stage.told, "");
    stage.event(failure("ui"));
    assert!(stage.told.contains("ui:build"));
}

#[test]
fn an_error_names_its_cause_and_what_to_do() {
    let report = ErrorReport {
        causes: vec!["permission denied".into()],
        ..ErrorReport::environment("cannot open the store /c").with_hint("Name another with --cache-dir.")
    };
    insta::assert_snapshot!(
        Teller { style: Style::PLAIN, verbosity: Verbosity::Normal, columns: None, tell_idle: true }.error(&report)
    );
}

#[test]
fn the_estimate_counts_what_runs_and_what_waits() {
    let mut stage = Stage::new(80, 12);
    stage.start(6).task("a", Some(10)).task("b", None);
    assert_eq!(stage.progress.eta_us(stage.now_ms), None, "nothing is known of b yet");
    stage.at(2000).event(done("b", Tier::Full, 2000));
    // a has 8 s left, four tasks of 2 s wait, one lane.
    assert_eq!(stage.progress.eta_us(stage.now_ms), Some(16_000_000));
    stage.task("c", None);
    // Two lanes: a 8 s, c 2 s, three wait.
    assert_eq!(stage.progress.eta_us(stage.now_ms), Some(8_000_000));
}
