//! What goes in comes out.

mod common;

use std::sync::Arc;
use std::time::Duration;

use buildnet_event::{BuildOutcome, Event, EventKind, TaskName, TaskOutcome, Tier};
use buildnet_history::{BuildSelector, BuildStatus, HistoryError, HistoryStore, Page, Recorder, Retention};
use common::{EPOCH_MS, changed, events, id, notice, open, record, summary};

#[test]
fn a_build_is_kept_with_all_that_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("state/history.db"));
    let mut failing = summary("api", Tier::Full, 7_500);
    failing.outcome = TaskOutcome::Failed;
    failing.tier = None;
    failing.exit_code = Some(101);
    failing.error = Some("command exited with 101".to_owned());
    failing.hint = Some("Look at the log.".to_owned());
    failing.log_path = Some("/tmp/log".to_owned());
    failing.log_tail = Some("error: \u{1b}[31mno\u{1b}[0m".to_owned());
    failing.dependencies = vec![TaskName::new("@shop/core", "build"), TaskName::new("ui", "build")];
    let mut core = summary("@shop/core", Tier::Full, 12_345);
    core.reason = Some(changed("src/lib.rs"));
    let tasks = vec![summary("zeta", Tier::Instant, 3), summary("ui", Tier::Instant, 2), core, failing];
    let build = id(EPOCH_MS, 1);
    let mut stream = events(build, EPOCH_MS, BuildOutcome::Failed, tasks);
    stream.insert(2, notice(build, EPOCH_MS + 4, "watches ran out"));
    let kind = EventKind::TasksUnchanged { tasks: vec![TaskName::new("docs", "lint"), TaskName::new("docs", "build")] };
    stream.insert(3, Event { seq: 0, time_ms: EPOCH_MS + 5, build: Some(build), kind });
    record(&store, &stream);

    let kept = store.build(build).unwrap();
    insta::assert_json_snapshot!(kept);
    assert_eq!(store.builds(Page::newest(10)).unwrap(), [kept.head]);

    let last = store.last_run(&TaskName::new("@shop/core", "build")).unwrap().unwrap();
    assert_eq!((last.build, last.tier, last.reason), (build, Some(Tier::Full), Some(changed("src/lib.rs"))));
    assert_eq!(last.key.as_deref(), Some("blake3:@shop/core/1"));
    assert_eq!(last.finished_ms, EPOCH_MS + 15);
    assert_eq!(store.last_run(&TaskName::new("nobody", "build")).unwrap(), None);
}

#[test]
fn builds_are_listed_newest_first_and_found_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("history.db"));
    let none = store.resolve(&BuildSelector::Last(0)).unwrap_err();
    assert_eq!(none.to_string(), "no build `last` in the history");
    let ids: Vec<_> = (0..5).map(|n| id(EPOCH_MS + n * 100_000, n)).collect();
    for (&build, n) in ids.iter().zip(0..) {
        record(&store, &events(build, EPOCH_MS + n * 100_000, BuildOutcome::Success, Vec::new()));
    }

    let first = store.builds(Page::newest(2)).unwrap();
    assert_eq!(first.iter().map(|head| head.id).collect::<Vec<_>>(), [ids[4], ids[3]]);
    let second = store.builds(Page { limit: 2, before: Some(ids[3]) }).unwrap();
    assert_eq!(second.iter().map(|head| head.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    let unknown = store.builds(Page { limit: 2, before: Some(id(1, 1)) }).unwrap();
    assert_eq!(unknown, []);

    let resolve = |text: &str| store.resolve(&text.parse()?);
    assert_eq!(resolve("last").unwrap(), ids[4]);
    assert_eq!(resolve("last~2").unwrap(), ids[2]);
    assert_eq!(resolve(&ids[1].to_string()).unwrap(), ids[1]);
    assert_eq!(resolve(&first[0].short_id()).unwrap(), ids[4]);
    assert_eq!(resolve(&first[0].short_id().to_uppercase()).unwrap(), ids[4]);
    let errors: Vec<String> = ["last~5", "lastly", "019", "zz", "", "0000"]
        .into_iter()
        .map(|text| format!("{text}: {}", resolve(text).unwrap_err()))
        .collect();
    insta::assert_json_snapshot!(errors);
}

#[test]
fn expectations_follow_the_runs_and_not_the_hits() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("history.db"));
    let runs = [
        (Tier::Cached, 900),
        (Tier::Full, 100),
        (Tier::Full, 104),
        (Tier::Cached, 7),
        (Tier::Incremental, 102),
        (Tier::Full, 50_000),
    ];
    for ((tier, duration), n) in runs.into_iter().zip(0..) {
        let tasks = vec![summary("slow", tier, duration), summary("quick", Tier::Full, 10)];
        record(&store, &events(id(EPOCH_MS + n, n), EPOCH_MS + n, BuildOutcome::Success, tasks));
    }
    let expected = store.expectations().unwrap();
    assert_eq!(expected.len(), 2);
    let slow = expected[&TaskName::new("slow", "build")];
    // The first hit taught what the command takes elsewhere; the second taught nothing.
    assert_eq!((slow.execution_us, slow.cpu_us, slow.peak_memory), (104, 208, 1 << 20));

    let slowest = store.slowest(1).unwrap();
    assert_eq!((slowest[0].task.to_string(), slowest[0].runs), ("slow:build".to_owned(), 5));
    let runs = store.runs(&slowest[0].task, 2).unwrap();
    assert_eq!(runs.iter().map(|run| run.duration_us).collect::<Vec<_>>(), [50_000, 102]);

    let sums = store.statistics(EPOCH_MS + 1).unwrap();
    assert_eq!((sums.builds, sums.succeeded, sums.counts.full, sums.counts.cached), (5, 5, 8, 1));
    assert_eq!(sums.saved_us, 5 * 42);
    assert_eq!(sums.hit_rate(), Some(0.1));
    assert_eq!(store.statistics(u64::MAX).unwrap().hit_rate(), None);
}

#[test]
fn a_build_without_an_end_is_running_and_then_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("history.db"));
    let build = id(EPOCH_MS, 1);
    record(&store, &events(build, EPOCH_MS, BuildOutcome::Success, Vec::new())[..1]);
    assert_eq!(store.build(build).unwrap().head.status, BuildStatus::Running);

    // The same row, as a process left it that is gone.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let other = id(EPOCH_MS, 2);
    let start = buildnet_history::BuildStart {
        id: other,
        workspace: "/w".to_owned(),
        command: "build".to_owned(),
        task_count: 1,
        started_ms: EPOCH_MS,
        process: buildnet_history::ProcessMark { pid: child.id(), born: "some boot/1".to_owned() },
    };
    child.wait().unwrap();
    store.begin(&start).unwrap();
    assert_eq!(store.build(other).unwrap().head.status, BuildStatus::Interrupted);
    assert_eq!(store.statistics(0).unwrap().builds, 0, "only builds that ended are counted");
}

#[test]
fn builds_at_the_same_time_do_not_mix() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("history.db"));
    let (a, b) = (id(EPOCH_MS, 1), id(EPOCH_MS, 2));
    let first = events(a, EPOCH_MS, BuildOutcome::Success, vec![summary("a", Tier::Full, 9)]);
    let second = events(b, EPOCH_MS, BuildOutcome::Failed, vec![summary("b", Tier::Cached, 5)]);
    let mut recorder = Recorder::new(Arc::clone(&store) as Arc<dyn HistoryStore>, Retention::default());
    for (n, (one, other)) in first.iter().zip(&second).enumerate() {
        if n == 2 {
            recorder.missed(7);
        }
        recorder.record(one).unwrap();
        recorder.record(other).unwrap();
    }
    for (build, package) in [(a, "a"), (b, "b")] {
        let build = store.build(build).unwrap();
        assert_eq!(build.tasks.iter().map(|task| &*task.summary.task.package).collect::<Vec<_>>(), [package]);
        assert_eq!(build.notices.len(), 1);
        assert_eq!(build.notices[0].text, "7 events were not recorded; figures of this build are incomplete");
    }
}

#[test]
fn the_history_stays_within_its_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("history.db"));
    let day = 24 * 3600 * 1000;
    for n in 0..40 {
        // Each build has a set of instant tasks of its own, so that sets must go too.
        let mut tasks: Vec<_> = (0..50).map(|task| summary(&format!("p{n}-{task}"), Tier::Instant, 1)).collect();
        tasks.extend((0..20).map(|task| summary(&format!("q{task}"), Tier::Full, 1)));
        let started = EPOCH_MS + n * day;
        record(&store, &events(id(started, 2 * n + 1), started, BuildOutcome::Success, tasks));
    }
    let now = EPOCH_MS + 40 * day;
    let count = || store.builds(Page::newest(100)).unwrap().len();
    let month = Duration::from_hours(30 * 24);
    let bounds = Retention { max_age: month, ..Retention::default() };
    assert_eq!(store.prune(&bounds, now).unwrap().builds, 10);
    let bounds = Retention { max_builds: 7, ..Retention::default() };
    assert_eq!(store.prune(&bounds, now).unwrap().builds, 23);
    assert_eq!(count(), 7);
    let newest = store.builds(Page::newest(1)).unwrap()[0].id;
    let kept = store.build(newest).unwrap();
    assert_eq!((kept.tasks.len(), kept.instant.len()), (20, 50));

    let bounds = Retention { max_bytes: 1, ..Retention::default() };
    store.prune(&bounds, now).unwrap();
    assert_eq!(count(), 0);
    assert!(!store.expectations().unwrap().is_empty(), "what was learned outlives the builds");
    assert!(matches!(store.build(newest), Err(HistoryError::NotFound { .. })));
}
