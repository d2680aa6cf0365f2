//! The store against a list in memory.

mod common;

use std::time::Duration;

use buildnet_event::{BuildOutcome, Reason, TaskOutcome, Tier, TierCounts};
use buildnet_history::{BuildRecord, BuildSelector, BuildStatus, HistoryStore, Page, Retention};
use common::{EPOCH_MS, changed, events, id, notice, open, record, summary};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// A build with tasks: package number, tier, microseconds.
    Record(Vec<(u8, usize, u64)>),
    /// As a process that ends and one that begins.
    Reopen,
    Prune(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((any::<u8>(), 0..5usize, 0..5_000_000u64), 0..12).prop_map(Step::Record),
        1 => Just(Step::Reopen),
        1 => (0..8u64).prop_map(Step::Prune),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_what_was_recorded(steps in prop::collection::vec(step(), 1..25)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let mut store = open(&path);
        let mut model: Vec<BuildRecord> = Vec::new();
        for (step, n) in steps.into_iter().zip(0..) {
            match step {
                Step::Reopen => store = open(&path),
                Step::Prune(builds) => {
                    let bounds = Retention { max_builds: builds, max_age: Duration::MAX, max_bytes: u64::MAX };
                    let pruned = store.prune(&bounds, EPOCH_MS).unwrap();
                    let gone = model.len().saturating_sub(usize::try_from(builds).unwrap());
                    prop_assert_eq!(pruned.builds, gone as u64);
                    model.drain(..gone);
                }
                Step::Record(tasks) => {
                    let build = id(EPOCH_MS + n, n);
                    let mut summaries = Vec::new();
                    for (package, tier, duration) in tasks {
                        // Some names hold what text formats trip over.
                        let name = format!("p{package} \"'\t;%_é");
                        let mut task = summary(&name, *Tier::ALL.get(tier).unwrap_or(&Tier::Full), duration);
                        if tier == 4 {
                            (task.outcome, task.tier, task.exit_code) = (TaskOutcome::Failed, None, Some(-9));
                            task.log_tail = Some("a\0b\u{1b}[0m\n".to_owned());
                        }
                        task.reason = match package % 3 {
                            0 => Some(changed(&name)),
                            1 => Some(Reason::Forced),
                            _ => None,
                        };
                        task.dependencies = summaries.iter().map(|other: &buildnet_event::TaskSummary| other.task.clone()).collect();
                        summaries.push(task);
                    }
                    let mut stream = events(build, EPOCH_MS + n, BuildOutcome::Success, summaries);
                    stream.insert(1, notice(build, EPOCH_MS + n, "text"));
                    record(&store, &stream);
                    model.push(store.build(build).unwrap());
                    check(model.last().unwrap(), &stream)?;
                }
            }
            let newest: Vec<_> = model.iter().rev().map(|build| build.head.clone()).collect();
            let mut listed = Vec::new();
            let mut page = Page::newest(3);
            loop {
                let heads = store.builds(page).unwrap();
                let Some(last) = heads.last() else { break };
                page.before = Some(last.id);
                listed.extend(heads);
            }
            prop_assert_eq!(&listed, &newest);
            for build in &model {
                prop_assert_eq!(&store.build(build.head.id).unwrap(), build);
            }
            let last = store.resolve(&BuildSelector::Last(0)).ok();
            prop_assert_eq!(last, newest.first().map(|head| head.id));
            let sums = store.statistics(0).unwrap();
            prop_assert_eq!(sums.builds, model.len() as u64);
            prop_assert_eq!(sums.succeeded, model.iter().filter(|build| build.head.status == BuildStatus::Success).count() as u64);
            let full: u64 = model.iter().map(|build| build.head.counts.full).sum();
            prop_assert_eq!(sums.counts.full, full);
        }
    }
}

/// A record holds what its events told.
fn check(build: &BuildRecord, stream: &[buildnet_event::Event]) -> Result<(), TestCaseError> {
    use buildnet_event::EventKind;
    let mut told = Vec::new();
    let mut instant = Vec::new();
    let mut sums = TierCounts::default();
    for event in stream {
        match &event.kind {
            EventKind::TaskFinished(summary) if summary.tier == Some(Tier::Instant) => {
                instant.push(summary.task.clone());
            }
            EventKind::TaskFinished(summary) => told.push(&**summary),
            EventKind::BuildFinished { counts, .. } => sums = *counts,
            _ => {}
        }
    }
    instant.sort();
    prop_assert_eq!(build.tasks.iter().map(|task| &task.summary).collect::<Vec<_>>(), told);
    prop_assert_eq!(&build.instant, &instant);
    prop_assert_eq!(build.head.counts, sums);
    prop_assert_eq!(build.notices.len(), 1);
    for task in &build.tasks {
        prop_assert!(task.start_us <= task.finish_us);
        prop_assert!(task.execute_us.is_none_or(|at| (task.start_us..=task.finish_us).contains(&at)));
    }
    Ok(())
}
