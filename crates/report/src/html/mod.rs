//! The HTML report: one file that needs no network.
//!
//! The page is fixed; what belongs to the build is one JSON document inside it, in which no character can end the element it stands
//! in. The script puts text into the page as text only, never as markup, and a content security policy forbids all else, network
//! included.

use buildnet_event::{InputChange, Reason};
use buildnet_history::{BuildRecord, TaskRecord};
use serde::Serialize;

use crate::ReportError;
use crate::analysis::{Analysis, Placement, busy_us};
use crate::text::{describe_change, describe_reason, human_time, plain};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the script reads: short names, since a page may hold ten thousand tasks.
#[derive(Serialize)]
struct Data<'a> {
    generator: &'static str,
    head: &'a buildnet_history::BuildHead,
    started: String,
    lanes: usize,
    critical_us: u64,
    critical: &'a [usize],
    tasks: Vec<Task<'a>>,
    instant: Vec<String>,
    notices: &'a [buildnet_history::NoticeRecord],
}

#[derive(Serialize)]
struct Task<'a> {
    name: String,
    outcome: buildnet_event::TaskOutcome,
    tier: Option<buildnet_event::Tier>,
    lane: usize,
    start: u64,
    finish: u64,
    /// Busy time.
    duration: u64,
    waited: u64,
    execution: u64,
    cpu: u64,
    memory: u64,
    attempts: u32,
    key: &'a Option<String>,
    exit_code: Option<i32>,
    error: Option<String>,
    hint: &'a Option<String>,
    log_path: &'a Option<String>,
    log: Option<String>,
    why: Option<String>,
    /// Every recorded change in words.
    changes: Vec<String>,
    more: usize,
    /// Indices of recorded dependencies.
    needs: &'a [usize],
    /// Names of those that were instant.
    needs_instant: Vec<String>,
}

pub(crate) fn render(build: &BuildRecord, analysis: &Analysis) -> Result<Vec<u8>, ReportError> {
    let recorded: std::collections::HashSet<_> = build.tasks.iter().map(|task| &task.summary.task).collect();
    let tasks = build.tasks.iter().zip(&analysis.placements).zip(&analysis.dependencies);
    let data = Data {
        generator: concat!("BuildNet ", env!("CARGO_PKG_VERSION")),
        head: &build.head,
        started: human_time(build.head.started_ms),
        lanes: analysis.lanes,
        critical_us: analysis.critical_us,
        critical: &analysis.critical_path,
        tasks: tasks
            .map(|((record, place), needs)| {
                let mut task = task(record, place, needs);
                let others = record.summary.dependencies.iter().filter(|name| !recorded.contains(name));
                task.needs_instant = others.map(ToString::to_string).collect();
                task
            })
            .collect(),
        instant: build.instant.iter().map(ToString::to_string).collect(),
        notices: &build.notices,
    };
    let json = inert(&serde_json::to_string(&data)?);
    // The data comes last: nothing in it is looked at for placeholders.
    let page = PAGE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
    let (before, after) = page.split_once("/*DATA*/").expect("the page has a place for its data");
    Ok([before, &json, after].concat().into_bytes())
}

fn task<'a>(record: &'a TaskRecord, place: &Placement, needs: &'a [usize]) -> Task<'a> {
    let summary = &record.summary;
    let (changes, more) = match &summary.reason {
        Some(Reason::Changed { changes, more }) => (changes.iter().map(change).collect(), *more),
        _ => (Vec::new(), 0),
    };
    Task {
        name: summary.task.to_string(),
        outcome: summary.outcome,
        tier: summary.tier,
        lane: place.lane,
        start: place.start_us,
        finish: place.finish_us,
        duration: busy_us(record),
        waited: summary.duration_us - busy_us(record),
        execution: summary.execution_us,
        cpu: summary.usage.cpu_us,
        memory: summary.usage.peak_memory,
        attempts: summary.attempts,
        key: &summary.key,
        exit_code: summary.exit_code,
        error: summary.error.as_deref().map(|text| plain(text).into_owned()),
        hint: &summary.hint,
        log_path: &summary.log_path,
        log: summary.log_tail.as_deref().map(|text| plain(text).into_owned()),
        why: summary.reason.as_ref().map(describe_reason),
        changes,
        more,
        needs,
        needs_instant: Vec::new(),
    }
}

/// A change in words, with what was and what is.
fn change(change: &InputChange) -> String {
    let words = describe_change(change);
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{words}: {before} → {after}"),
        (Some(only), None) | (None, Some(only)) => format!("{words}: {only}"),
        (None, None) => words,
    }
}

/// JSON that cannot end a script element or begin a comment in it (HTML, section 13.2.5.4 and on: the script data states).
fn inert(json: &str) -> String {
    // In JSON these characters stand in strings only, where the escape means the same.
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_leave_its_element() {
        let json = serde_json::to_string("</script><!-- <script> &amp;").unwrap();
        let inert = inert(&json);
        assert!(!inert.contains(['<', '>', '&']));
        assert_eq!(serde_json::from_str::<String>(&inert).unwrap(), "</script><!-- <script> &amp;");
    }
}
