//! Figures and reasons in words.

use std::borrow::Cow;

use buildnet_event::{InputChange, InputPart, Reason};

/// A time as people read it: `340 ms`, `1.25 s`, `2 min 05 s`, `1 h 02 min`.
pub fn human_duration(us: u64) -> String {
    let ms = us / 1000;
    match ms {
        0 if us == 0 => "0 ms".to_owned(),
        0..10 => format!("{}.{} ms", ms, us % 1000 / 100),
        10..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        60_000..3_600_000 => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {:02} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A size as people read it, in units of 1,024: `512 B`, `1.5 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A time of day in UTC, `2026-01-02 03:04:05 UTC`.
pub(crate) fn human_time(ms: u64) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| "unknown time".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Why a task ran, in one line: names the first change and counts the others.
pub fn describe_reason(reason: &Reason) -> String {
    match reason {
        Reason::FirstRun => "first run".to_owned(),
        Reason::Forced => "forced".to_owned(),
        Reason::FailedBefore => "failed last time".to_owned(),
        Reason::Changed { changes, more } => {
            let Some(first) = changes.first() else { return "inputs changed".to_owned() };
            let others = changes.len() - 1 + more;
            let change = describe_change(first);
            if others == 0 { change } else { format!("{change} (and {others} more)") }
        }
    }
}

/// One change in words.
pub(crate) fn describe_change(change: &InputChange) -> String {
    let InputChange { part, name, before, after } = change;
    let what = match part {
        InputPart::File => "file",
        InputPart::Variable => "variable",
        InputPart::Command => "command",
        InputPart::Toolchain => "toolchain",
        InputPart::Dependency => "dependency",
        InputPart::Output => "output",
    };
    let how = match (before, after) {
        (None, Some(_)) => "added",
        (Some(_), None) if *part == InputPart::Output => "missing",
        (Some(_), None) => "removed",
        _ => "changed",
    };
    format!("{what} {name} {how}")
}

/// Without the escape sequences of terminals (ECMA-48 control sequences and operating system commands), and without control
/// characters other than line feed and tab.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
pub(crate) mod tests {
    use buildnet_event::{TaskName, TaskOutcome, TaskSummary, TaskUsage, Tier};
    use buildnet_history::TaskRecord;

    use super::*;

    /// A task `PACKAGE:build` that ran from `start_us` to `finish_us`.
    pub(crate) fn task(package: &str, start_us: u64, finish_us: u64, dependencies: &[&str]) -> TaskRecord {
        let summary = TaskSummary {
            task: TaskName::new(package, "build"),
            outcome: TaskOutcome::Success,
            tier: Some(Tier::Full),
            duration_us: finish_us - start_us,
            execution_us: finish_us - start_us,
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
            dependencies: dependencies.iter().map(|&name| TaskName::new(name, "build")).collect(),
        };
        TaskRecord { summary, start_us, execute_us: None, finish_us }
    }

    #[test]
    fn figures_in_words() {
        let durations = [0, 640, 9_990, 45_000, 1_254_000, 59_999_999, 125_000_000, 3_725_000_000];
        let words: Vec<String> = durations.into_iter().map(human_duration).collect();
        assert_eq!(words, ["0 ms", "0.6 ms", "9.9 ms", "45 ms", "1.25 s", "59.99 s", "2 min 05 s", "1 h 02 min"]);
        let sizes = [0, 1023, 1536, 10 << 20, 3 << 30, u64::MAX];
        let words: Vec<String> = sizes.into_iter().map(human_bytes).collect();
        assert_eq!(words[..5], ["0 B", "1023 B", "1.5 KiB", "10.0 MiB", "3.0 GiB"]);
        assert_eq!(human_time(1_767_323_045_000), "2026-01-02 03:04:05 UTC");
        assert_eq!(human_time(u64::MAX), "unknown time");
    }

    #[test]
    fn escape_sequences_go() {
        assert_eq!(plain("a\u{1b}[1;31mred\u{1b}[0m\tb\r\nc\u{0}"), "ared\tb\nc");
        assert_eq!(plain("\u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{1b}\\ end"), "link end");
        assert_eq!(plain("cut \u{1b}[3"), "cut ");
    }
}
