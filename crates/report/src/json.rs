//! The JSON report.
//!
//! One object:
//!
//! - `schema`: always `buildnet-report`; `version`: see [`JSON_VERSION`]; `generator`: the program's version.
//! - `build`: `id`, `workspace`, `command`, `task_count`, `started_ms` (Unix epoch), `status` (`success`, `failed`, `cancelled`,
//!   `error`, `running`, `interrupted`), `duration_us`, `counts` (tasks by tier, `failed`, `skipped`), `saved_us`.
//! - `critical_path`: `duration_us`, and `tasks`, the names `package:task` in the order of running.
//! - `parallelism`: `lanes`, the number of parallel slots that were in use at some time.
//! - `tasks`: those that were not instant, in the order in which they ended: `name`, `lane`, `critical`, `busy_us` (wall time without the
//!   wait for a slot), and the fields of a task's
//!   end event (`outcome`, `tier`, `duration_us`, `execution_us`, `key`, `exit_code`, `error`, `hint`, `log_path`, `log_tail`,
//!   `reason`, `usage`, `attempts`, `dependencies`) with `start_us`, `execute_us` and `finish_us` after the build's beginning.
//! - `instant`: names of the tasks for which nothing was read or run.
//! - `notices`: `time_us`, `level`, `text`, `hint`.
//!
//! All times named `_us` are microseconds. Fields without a value are absent.

use buildnet_history::{BuildHead, BuildRecord, NoticeRecord, TaskRecord};
use serde::Serialize;

use crate::ReportError;
use crate::analysis::{Analysis, busy_us};

/// Version of the JSON report. It grows when a field changes its meaning or goes; new fields may come without.
pub const JSON_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: u32,
    generator: &'static str,
    build: &'a BuildHead,
    critical_path: CriticalPath,
    parallelism: Parallelism,
    tasks: Vec<Task<'a>>,
    instant: Vec<String>,
    notices: &'a [NoticeRecord],
}

#[derive(Serialize)]
struct CriticalPath {
    duration_us: u64,
    tasks: Vec<String>,
}

#[derive(Serialize)]
struct Parallelism {
    lanes: usize,
}

#[derive(Serialize)]
struct Task<'a> {
    name: String,
    lane: usize,
    critical: bool,
    busy_us: u64,
    #[serde(flatten)]
    record: &'a TaskRecord,
}

pub(crate) fn render(build: &BuildRecord, analysis: &Analysis) -> Result<Vec<u8>, ReportError> {
    let name = |&index: &usize| build.tasks[index].summary.task.to_string();
    let mut critical = vec![false; build.tasks.len()];
    for &index in &analysis.critical_path {
        critical[index] = true;
    }
    let tasks = build.tasks.iter().zip(&analysis.placements).zip(critical).map(|((record, place), critical)| Task {
        name: record.summary.task.to_string(),
        lane: place.lane,
        critical,
        busy_us: busy_us(record),
        record,
    });
    let document = Document {
        schema: "buildnet-report",
        version: JSON_VERSION,
        generator: env!("CARGO_PKG_VERSION"),
        build: &build.head,
        critical_path: CriticalPath {
            duration_us: analysis.critical_us,
            tasks: analysis.critical_path.iter().map(name).collect(),
        },
        parallelism: Parallelism { lanes: analysis.lanes },
        tasks: tasks.collect(),
        instant: build.instant.iter().map(ToString::to_string).collect(),
        notices: &build.notices,
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}
