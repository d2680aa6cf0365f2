//! The service: what shares a build, what waits, what is cancelled.

mod support;

use std::sync::atomic::Ordering;

use buildnet_daemon::service::{BuildRequest, BuildStream, Cancelled, Line, Note, Service, ServiceOptions};
use buildnet_event::{BuildOutcome, EventKind};
use support::{Bench, until};

fn service(bench: &Bench) -> Service {
    Service::new(bench.clone(), ServiceOptions { event_capacity: 64, default_workspace: None })
}

fn request(workspace: &str) -> BuildRequest {
    BuildRequest { workspace: workspace.to_owned(), ..BuildRequest::default() }
}

async fn outcome(mut stream: BuildStream) -> Option<BuildOutcome> {
    let mut outcome = None;
    while let Some(line) = stream.next().await {
        if let Line::Event(event) = line
            && let EventKind::BuildFinished { outcome: end, .. } = event.kind
        {
            outcome = Some(end);
        }
    }
    outcome
}

#[tokio::test]
async fn the_same_request_in_flight_is_one_build() {
    let bench = Bench::open(0);
    let service = service(&bench);
    let with = |name: &str, value: &str| {
        let environment = [(name.to_owned(), value.to_owned())].into();
        BuildRequest { environment, ..request("/w") }
    };
    let first = service.build(with("SHLVL", "1")).unwrap();
    let second = service.build(with("SHLVL", "2")).unwrap();
    assert_eq!(first.id(), second.id(), "what no task declares makes no difference");
    let other = service.build(with("DECLARED", "x")).unwrap();
    assert_ne!(first.id(), other.id());
    bench.gate.add_permits(2);
    let ends = futures::join!(outcome(first), outcome(second), outcome(other));
    assert_eq!(ends, (Some(BuildOutcome::Success), Some(BuildOutcome::Success), Some(BuildOutcome::Success)));
    assert_eq!(bench.runs.load(Ordering::SeqCst), 2);
    assert!(service.in_flight().is_empty());
}

#[tokio::test]
async fn who_joins_late_hears_everything_from_the_start() {
    let bench = Bench::open(0);
    let service = service(&bench);
    let mut first = service.build(request("/w")).unwrap();
    assert!(
        matches!(first.next().await, Some(Line::Event(event)) if matches!(event.kind, EventKind::BuildStarted { .. }))
    );
    let mut late = service.build(request("/w")).unwrap();
    assert!(
        matches!(late.next().await, Some(Line::Event(event)) if matches!(event.kind, EventKind::BuildStarted { .. }))
    );
    bench.gate.add_permits(1);
    assert_eq!(outcome(late).await, Some(BuildOutcome::Success));
}

#[tokio::test]
async fn builds_of_one_workspace_take_turns_and_others_do_not_wait() {
    let bench = Bench::open(0);
    let service = service(&bench);
    let one = service.build(request("/w")).unwrap();
    let two = service.build(BuildRequest { force: true, ..request("/w") }).unwrap();
    let elsewhere = service.build(request("/v")).unwrap();
    until(|| bench.at_once.load(Ordering::SeqCst) == 2).await;
    assert_eq!(service.in_flight().len(), 3);
    bench.gate.add_permits(3);
    let ends = futures::join!(outcome(one), outcome(two), outcome(elsewhere));
    assert_eq!(ends.1, Some(BuildOutcome::Success));
    assert_eq!(bench.runs.load(Ordering::SeqCst), 3);
    assert_eq!(bench.most_at_once.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_build_that_nobody_listens_to_any_more_is_cancelled() {
    let bench = Bench::open(0);
    let service = service(&bench);
    let one = service.build(request("/w")).unwrap();
    let two = service.build(request("/w")).unwrap();
    until(|| bench.at_once.load(Ordering::SeqCst) == 1).await;
    drop(one);
    assert_eq!(service.in_flight()[0].listeners, 1);
    drop(two);
    until(|| service.in_flight().is_empty()).await;

    let detached = service.build(BuildRequest { detached: true, ..request("/w") }).unwrap();
    let id = detached.id();
    drop(detached);
    let listening = service.listen(id, false).unwrap();
    bench.gate.add_permits(1);
    assert_eq!(outcome(listening).await, Some(BuildOutcome::Success));
}

#[tokio::test]
async fn cancelling_spares_what_others_wait_for() {
    let bench = Bench::open(0);
    let service = service(&bench);
    let one = service.build(request("/w")).unwrap();
    let two = service.build(request("/w")).unwrap();
    assert_eq!(service.cancel(one.id(), false), Some(Cancelled::StillWanted { others: 1 }));
    assert_eq!(service.cancel(one.id(), true), Some(Cancelled::Cancelling));
    // What is being cancelled is no answer to a new request.
    let three = service.build(request("/w")).unwrap();
    assert_ne!(three.id(), one.id());
    bench.gate.add_permits(1);
    assert_eq!(outcome(two).await, Some(BuildOutcome::Cancelled));
    assert_eq!(outcome(three).await, Some(BuildOutcome::Success));
}

#[tokio::test]
async fn a_panic_ends_the_stream_with_an_error_and_the_next_build_runs() {
    let bench = Bench::open(1);
    let service = service(&bench);
    let mut stream = service.build(BuildRequest { packages: vec!["panics".into()], ..request("/w") }).unwrap();
    let mut last = None;
    while let Some(line) = stream.next().await {
        last = Some(line);
    }
    assert!(matches!(last, Some(Line::Note(Note::Error { .. }))), "{last:?}");
    assert_eq!(outcome(service.build(request("/w")).unwrap()).await, Some(BuildOutcome::Success));
}

#[tokio::test]
async fn compact_streams_count_what_was_instant() {
    let bench = Bench::open(1);
    let service = service(&bench);
    let mut stream = service.build(BuildRequest { compact: true, ..request("/w") }).unwrap();
    let mut instants = 0;
    while let Some(line) = stream.next().await {
        match line {
            Line::Note(Note::Instant { count }) => instants += count,
            Line::Event(event) => assert!(!matches!(event.kind, EventKind::TaskFinished(_))),
            Line::Note(note) => panic!("{note:?}"),
        }
    }
    assert_eq!(instants, 3);
}

#[tokio::test]
async fn shutting_down_cancels_or_finishes() {
    let bench = Bench::open(0);
    let service = service(&bench);
    let stream = service.build(request("/w")).unwrap();
    let (end, ()) = futures::join!(outcome(stream), service.shut_down(false));
    assert_eq!(end, Some(BuildOutcome::Cancelled));
    assert!(service.build(request("/w")).is_err(), "a service that is shut down takes no requests");
}

#[tokio::test]
async fn a_request_needs_a_workspace() {
    let service = service(&Bench::open(0));
    assert!(service.build(request("")).unwrap_err().message.contains("names no workspace"));
    assert!(service.build(request("relative/path")).unwrap_err().message.contains("not an absolute path"));
}
