//! The trace in Chrome's JSON format, as Perfetto and `chrome://tracing` read it.
//!
//! Format: "Trace Event Format" of the Chromium project. One process is the build; each parallel slot is a thread; a task is a
//! complete event (`X`) from its command's start to its end; arrows (`s`, `f`) follow dependencies; counters (`C`) show how many commands run
//! and the memory that the running ones reached at most. Times are microseconds.

use buildnet_event::TaskOutcome;
use buildnet_history::{BuildRecord, TaskRecord};
use serde_json::{Value, json};

use crate::ReportError;
use crate::analysis::{Analysis, Placement, busy_us};
use crate::text::describe_reason;

const PROCESS: u32 = 1;

pub(crate) fn render(build: &BuildRecord, analysis: &Analysis) -> Result<Vec<u8>, ReportError> {
    let mut events = metadata(build, analysis.lanes);
    for (task, place) in build.tasks.iter().zip(&analysis.placements) {
        events.push(slice(task, place));
    }
    flows(&mut events, analysis);
    counters(&mut events, build, &analysis.placements);
    for notice in &build.notices {
        events.push(json!({
            "ph": "i", "s": "p", "pid": PROCESS, "tid": 0, "ts": notice.time_us, "cat": "notice", "name": notice.text,
        }));
    }
    let head = &build.head;
    let trace = json!({
        "displayTimeUnit": "ms",
        "otherData": {
            "generator": concat!("BuildNet ", env!("CARGO_PKG_VERSION")),
            "build": head.id, "workspace": head.workspace, "command": head.command, "status": head.status,
            "started_ms": head.started_ms,
        },
        "traceEvents": events,
    });
    Ok(serde_json::to_vec(&trace)?)
}

fn metadata(build: &BuildRecord, lanes: usize) -> Vec<Value> {
    let name = format!("buildnet {}", build.head.command);
    let mut events = vec![
        json!({"ph": "M", "pid": PROCESS, "tid": 0, "name": "process_name", "args": {"name": name}}),
        json!({"ph": "M", "pid": PROCESS, "tid": 0, "name": "thread_name", "args": {"name": "build"}}),
        json!({
            "ph": "X", "pid": PROCESS, "tid": 0, "ts": 0, "dur": build.head.duration_us.max(1), "cat": "build",
            "name": name, "args": {"status": build.head.status, "counts": build.head.counts},
        }),
    ];
    for lane in 1..=lanes {
        events.push(json!({
            "ph": "M", "pid": PROCESS, "tid": lane, "name": "thread_name", "args": {"name": format!("slot {lane}")},
        }));
        events.push(json!({
            "ph": "M", "pid": PROCESS, "tid": lane, "name": "thread_sort_index", "args": {"sort_index": lane},
        }));
    }
    events
}

/// Slots are threads from 1; thread 0 is the build itself.
fn thread(place: &Placement) -> usize {
    place.lane + 1
}

fn slice(task: &TaskRecord, place: &Placement) -> Value {
    let summary = &task.summary;
    let tier = summary.tier.map(buildnet_event::Tier::name);
    let color = match (summary.outcome, tier) {
        (TaskOutcome::Failed, _) => "terrible",
        (TaskOutcome::Skipped | TaskOutcome::Cancelled, _) => "grey",
        (TaskOutcome::Success, Some("cached")) => "good",
        (TaskOutcome::Success, _) => "thread_state_running",
    };
    json!({
        "ph": "X", "pid": PROCESS, "tid": thread(place), "ts": place.start_us,
        "dur": place.finish_us - place.start_us, "cat": tier.unwrap_or("none"), "name": summary.task.to_string(),
        "cname": color,
        "args": {
            "outcome": summary.outcome, "tier": tier, "why": summary.reason.as_ref().map(describe_reason),
            "key": summary.key, "execution_us": summary.execution_us,
            "waited_us": summary.duration_us - busy_us(task), "cpu_us": summary.usage.cpu_us,
            "peak_memory": summary.usage.peak_memory, "attempts": summary.attempts, "exit_code": summary.exit_code,
            "error": summary.error,
        },
    })
}

/// An arrow from the end of each dependency to the beginning of what waited for it.
fn flows(events: &mut Vec<Value>, analysis: &Analysis) {
    let mut id = 0;
    for (task, needed) in analysis.dependencies.iter().enumerate() {
        for &dependency in needed {
            let (from, to) = (&analysis.placements[dependency], &analysis.placements[task]);
            id += 1;
            // An arrow belongs to the slice around its time: the last microsecond of the one, the first of the other.
            let end = from.finish_us.saturating_sub(1).max(from.start_us);
            events.push(json!({
                "ph": "s", "pid": PROCESS, "tid": thread(from), "ts": end, "id": id, "cat": "dependency",
                "name": "dependency",
            }));
            events.push(json!({
                "ph": "f", "bp": "e", "pid": PROCESS, "tid": thread(to), "ts": to.start_us.max(end), "id": id,
                "cat": "dependency", "name": "dependency",
            }));
        }
    }
}

fn counters(events: &mut Vec<Value>, build: &BuildRecord, placements: &[Placement]) {
    let mut changes: Vec<(u64, i64, i64)> = Vec::with_capacity(placements.len() * 2);
    for (task, place) in build.tasks.iter().zip(placements).filter(|(_, place)| place.finish_us > place.start_us) {
        let memory = i64::try_from(task.summary.usage.peak_memory).unwrap_or(i64::MAX);
        changes.push((place.start_us, 1, memory));
        changes.push((place.finish_us, -1, -memory));
    }
    changes.sort_unstable();
    let (mut running, mut memory) = (0, 0_i64);
    let mut index = 0;
    while index < changes.len() {
        let now = changes[index].0;
        while index < changes.len() && changes[index].0 == now {
            running += changes[index].1;
            memory = memory.saturating_add(changes[index].2);
            index += 1;
        }
        events.push(json!({
            "ph": "C", "pid": PROCESS, "ts": now, "name": "running tasks", "args": {"tasks": running},
        }));
        events.push(json!({
            "ph": "C", "pid": PROCESS, "ts": now, "name": "peak memory of running tasks",
            "args": {"bytes": memory.max(0)},
        }));
    }
}
