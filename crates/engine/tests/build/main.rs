//! Builds of small workspaces with real commands.

mod exports;
mod fixture;

use std::fs;

use buildnet_engine::build::{BuildOptions, EnvSource, SandboxMode};
use buildnet_event::{BuildOutcome, InputPart, Reason, Tier};

use crate::fixture::{Fixture, settle};

/// `lib` makes a file of its source; `app` adds its own to it.
fn two_tasks() -> Fixture {
    let fixture = Fixture::new();
    fixture.write("lib/a.txt", "one\n");
    fixture.write("app/b.txt", "two\n");
    fixture.task("lib", &[], "mkdir -p out && grep -v '^#' a.txt > out/lib.txt", &["lib/out"]);
    fixture.task("app", &["lib"], "cat ../lib/out/lib.txt b.txt > app.txt && echo made", &["app/app.txt"]);
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_in_dependency_order_and_then_answers_at_once() {
    let fixture = two_tasks();
    let first = fixture.build().await;
    assert_eq!(first.outcome(), BuildOutcome::Success, "{first:?}");
    assert_eq!(first.tiers(), [("app", Tier::Full), ("lib", Tier::Full)]);
    assert_eq!(fixture.read("app/app.txt"), "one\ntwo\n");
    settle();
    assert_eq!(fixture.build().await.tiers(), [("app", Tier::Instant), ("lib", Tier::Instant)]);
    let cold = fixture.reopened().build().await;
    assert_eq!(cold.tiers(), [("app", Tier::Instant), ("lib", Tier::Instant)], "{cold:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_only_what_a_change_affects_and_says_why() {
    let fixture = two_tasks();
    fixture.build().await;
    settle();
    fixture.write("app/b.txt", "three\n");
    let second = fixture.build().await;
    assert_eq!(second.tiers(), [("app", Tier::Full), ("lib", Tier::Instant)]);
    assert_eq!(fixture.read("app/app.txt"), "one\nthree\n");
    let Some(Reason::Changed { changes, more: 0 }) = second.reason("app") else { panic!("{second:?}") };
    assert_eq!((changes[0].part, changes[0].name.as_str()), (InputPart::File, "app/b.txt"));
    settle();
    fixture.write("lib/a.txt", "uno\n");
    let third = fixture.build().await;
    assert_eq!(third.tiers(), [("app", Tier::Full), ("lib", Tier::Full)]);
    let Some(Reason::Changed { changes, .. }) = third.reason("app") else { panic!("{third:?}") };
    assert_eq!((changes[0].part, changes[0].name.as_str()), (InputPart::Dependency, "lib:build"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_output_does_not_run_what_depends_on_it() {
    let fixture = two_tasks();
    fixture.build().await;
    settle();
    fixture.write("lib/a.txt", "# a comment\none\n");
    let second = fixture.build().await;
    assert_eq!(second.tiers(), [("app", Tier::Cached), ("lib", Tier::Full)], "{second:?}");
    assert_eq!(second.executed(), ["lib"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touched_file_runs_nothing() {
    let fixture = two_tasks();
    fixture.build().await;
    settle();
    fixture.write("lib/a.txt", "one\n");
    let second = fixture.build().await;
    assert_eq!(second.executed(), [""; 0]);
    settle();
    assert_eq!(fixture.build().await.tiers(), [("app", Tier::Instant), ("lib", Tier::Instant)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_is_a_hit_and_the_log_is_replayed() {
    let fixture = two_tasks();
    fixture.build().await;
    settle();
    fixture.write("app/b.txt", "three\n");
    fixture.build().await;
    settle();
    fixture.write("app/b.txt", "two\n");
    let third = fixture.build().await;
    assert_eq!(third.tiers(), [("app", Tier::Cached), ("lib", Tier::Instant)]);
    assert_eq!(third.output("app"), "made\n");
    assert_eq!(fixture.read("app/app.txt"), "one\ntwo\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_were_removed_or_changed_come_back() {
    let fixture = two_tasks();
    fixture.build().await;
    for spoil in [
        (&|fixture: &Fixture| fs::remove_dir_all(fixture.path("lib/out")).unwrap()) as &dyn Fn(&Fixture),
        &|fixture| fixture.write("lib/out/lib.txt", "forged\n"),
        &|fixture| fs::remove_file(fixture.path("app/app.txt")).unwrap(),
    ] {
        settle();
        spoil(&fixture);
        let build = fixture.build().await;
        assert_eq!(build.executed(), [""; 0], "{build:?}");
        assert_eq!(fixture.read("lib/out/lib.txt"), "one\n");
        assert_eq!(fixture.read("app/app.txt"), "one\ntwo\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_checkouts_share_hits() {
    let fixture = two_tasks();
    fixture.build().await;
    let other = fixture.second_checkout();
    let build = other.build().await;
    assert_eq!(build.tiers(), [("app", Tier::Cached), ("lib", Tier::Cached)], "{build:?}");
    assert_eq!(other.read("app/app.txt"), "one\ntwo\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_made_before_and_makes_no_more_is_removed() {
    let fixture = Fixture::new();
    fixture.write("p/names", "a b");
    fixture.task("p", &[], "mkdir -p out; for name in $(cat names); do echo $name > out/$name; done", &["p/out"]);
    fixture.build().await;
    settle();
    fixture.write("p/names", "b c");
    fixture.write("p/out/own.txt", "a user's file");
    fixture.build().await;
    let mut left: Vec<String> = fs::read_dir(fixture.path("p/out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["b", "c", "own.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_with_its_log_and_stops_what_needs_it() {
    let fixture = two_tasks();
    fixture.task("lib", &[], "echo before; echo the cause >&2; exit 7", &["lib/out"]);
    fixture.task("other", &[], "echo fine > x", &["other/x"]);
    let build = fixture.build_with(BuildOptions { keep_going: true, ..Fixture::options() }).await;
    assert_eq!(build.outcome(), BuildOutcome::Failed);
    let failed = build.summary("lib");
    assert_eq!(failed.exit_code, Some(7));
    assert_eq!(failed.log_tail.as_deref(), Some("before\nthe cause\n"));
    assert_eq!(fs::read_to_string(failed.log_path.as_ref().unwrap()).unwrap(), "before\nthe cause\n");
    assert_eq!(build.summary("app").error.as_deref(), Some("skipped, since `lib:build` failed"));
    assert_eq!(fixture.read("other/x"), "fine\n");
    let again = fixture.build().await;
    assert!(again.executed().contains(&"lib".to_owned()), "a failure is not remembered as a result: {again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_symlinks_and_empty_directories_come_back_from_the_cache() {
    let fixture = Fixture::new();
    fixture.write("p/a", "x");
    let script = "mkdir -p out/empty out/sub; printf '#!/bin/sh\\necho hi\\n' > out/tool; chmod 755 out/tool; \
                  echo data > out/sub/data; ln -s sub/data out/link";
    fixture.task("p", &[], script, &["p/out"]);
    fixture.build().await;
    let other = fixture.second_checkout();
    assert_eq!(other.build().await.tiers(), [("p", Tier::Cached)]);
    for checkout in [&fixture, &other] {
        let tool = std::process::Command::new(checkout.path("p/out/tool")).output().unwrap();
        assert_eq!(tool.stdout, b"hi\n");
        assert_eq!(fs::read_link(checkout.path("p/out/link")).unwrap(), std::path::Path::new("sub/data"));
        assert!(fs::metadata(checkout.path("p/out/empty")).unwrap().is_dir());
        assert_eq!(checkout.read("p/out/link"), "data\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_variables_enter_the_key_and_others_do_not_reach_the_command() {
    let fixture = Fixture::new();
    fixture.write("p/a", "x");
    fixture.task("p", &[], "echo \"${GIVEN-unset} ${HIDDEN-unset}\" > out", &["p/out"]);
    fixture.change("p", |spec| {
        spec.environment.insert("GIVEN".to_owned(), EnvSource::Inherit);
    });
    let with = |given: &str| {
        let mut options = Fixture::options();
        options.environment.insert("GIVEN".to_owned(), given.to_owned());
        options.environment.insert("HIDDEN".to_owned(), given.to_owned());
        options
    };
    fixture.build_with(with("1")).await;
    assert_eq!(fixture.read("p/out"), "1 unset\n");
    settle();
    let second = fixture.build_with(with("2")).await;
    assert_eq!(fixture.read("p/out"), "2 unset\n");
    let Some(Reason::Changed { changes, .. }) = second.reason("p") else { panic!("{second:?}") };
    assert_eq!((changes[0].part, changes[0].name.as_str()), (InputPart::Variable, "GIVEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_named() {
    let fixture = two_tasks();
    fixture.change("lib", |spec| spec.toolchains.push("no-such-compiler".to_owned()));
    let build = fixture.build().await;
    let summary = build.summary("lib");
    assert_eq!(summary.error.as_deref(), Some("program `no-such-compiler` is not found"));
    assert!(summary.hint.as_ref().unwrap().contains("install `no-such-compiler`"));
    assert_eq!(build.outcome(), BuildOutcome::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_kills_the_command() {
    let fixture = Fixture::new();
    fixture.write("p/a", "x");
    fixture.task("p", &[], "sleep 600 & sleep 600", &["p/out"]);
    fixture.change("p", |spec| spec.timeout = Some(std::time::Duration::from_millis(300)));
    let build = fixture.build().await;
    let error = build.summary("p").error.clone().unwrap();
    assert_eq!(error, "the command ran longer than its timeout of 300ms and was killed");
    assert_eq!(build.summary("p").attempts, 1, "a timeout is the command's failure, not the environment's");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_commands_and_the_next_build_is_right() {
    let fixture = Fixture::new();
    fixture.write("p/a", "x");
    fixture.task("p", &[], "echo half > out; test -e fast || sleep 600; echo whole >> out", &["p/out"]);
    let build = fixture.cancelled_when_running().await;
    assert_eq!(build.outcome(), BuildOutcome::Cancelled, "{build:?}");
    settle();
    fixture.write("p/fast", "");
    let next = fixture.build().await;
    assert_eq!(next.outcome(), BuildOutcome::Success, "{next:?}");
    assert_eq!(fixture.read("p/out"), "half\nwhole\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_would_run_and_runs_nothing() {
    let fixture = two_tasks();
    let dry = fixture.build_with(BuildOptions { dry_run: true, ..Fixture::options() }).await;
    assert_eq!(dry.executed(), [""; 0]);
    assert_eq!(dry.summary("lib").error.as_deref(), Some("would run"));
    assert!(!fixture.path("lib/out").exists());
    assert_eq!(fixture.build().await.tiers(), [("app", Tier::Full), ("lib", Tier::Full)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn force_runs_the_requested_tasks_again() {
    let fixture = two_tasks();
    fixture.build().await;
    settle();
    let forced = fixture.build_with(BuildOptions { force: true, ..Fixture::options() }).await;
    assert_eq!(forced.executed(), ["app", "lib"]);
    assert_eq!(forced.reason("app"), Some(Reason::Forced));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_state_is_dropped_and_healed_from_the_cache() {
    let fixture = two_tasks();
    fixture.build().await;
    settle();
    assert_eq!(fixture.reopened().told, None);
    for name in ["graph", "tasks"] {
        let path = fixture.path(".buildnet").join(name);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        let reopened = fixture.reopened();
        assert!(reopened.told.is_some(), "{name}");
        let build = reopened.build().await;
        assert_eq!(build.tiers(), [("app", Tier::Cached), ("lib", Tier::Cached)], "{name}: {build:?}");
        settle();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_makes_the_second_run_incremental() {
    let fixture = Fixture::new();
    fixture.write("p/a", "x");
    fixture.task("p", &[], "mkdir -p work; echo run >> work/log; cp work/log out", &["p/out"]);
    fixture.change("p", |spec| spec.state.push("p/work".to_owned()));
    assert_eq!(fixture.build().await.tiers(), [("p", Tier::Full)]);
    settle();
    fixture.write("p/a", "y");
    assert_eq!(fixture.build().await.tiers(), [("p", Tier::Incremental)]);
    assert_eq!(fixture.read("p/out"), "run\nrun\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn undeclared_inputs_are_invisible_and_named() {
    let fixture = Fixture::new();
    if Fixture::mode() != SandboxMode::Strict {
        return;
    }
    fixture.write("p/a", "x");
    fixture.write("secret/key.txt", "k");
    fixture.task("p", &[], "cat ../secret/key.txt > out", &["p/out"]);
    let build = fixture.build().await;
    assert_eq!(build.outcome(), BuildOutcome::Failed);
    let hint = build.summary("p").hint.clone().unwrap_or_default();
    assert!(hint.contains("//secret/key.txt"), "{hint:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_outside_the_outputs_are_discarded_and_named() {
    let fixture = Fixture::new();
    if Fixture::mode() != SandboxMode::Strict {
        return;
    }
    fixture.write("p/a", "x");
    fixture.write("q/source", "original");
    fixture.task("p", &[], "echo ok > out; echo stray > stray.txt; echo changed > a", &["p/out"]);
    let build = fixture.build().await;
    assert_eq!(build.outcome(), BuildOutcome::Success);
    assert_eq!(fixture.read("p/a"), "x");
    assert!(!fixture.path("p/stray.txt").exists());
    let notices = build.notices().join("\n");
    assert!(notices.contains("`p/a`, `p/stray.txt`"), "{notices}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_the_cache_lost_is_taken_from_the_workspace() {
    let fixture = two_tasks();
    fixture.build().await;
    settle();
    fixture.wipe_cache();
    fixture.write("app/b.txt", "three\n");
    let build = fixture.reopened().build().await;
    assert_eq!(build.outcome(), BuildOutcome::Success, "{build:?}");
    assert_eq!(build.executed(), ["app"]);
    assert_eq!(fixture.read("app/app.txt"), "one\nthree\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_lost_everywhere_is_made_again() {
    let fixture = Fixture::new();
    if Fixture::mode() != SandboxMode::Strict {
        return;
    }
    fixture.write("base/a", "1\n");
    fixture.write("slow/a", "1\n");
    fixture.write("app/b", "2\n");
    fixture.task("base", &[], "cp a out", &["base/out"]);
    fixture.task("slow", &[], "sleep 0.3; cp a out", &["slow/out"]);
    fixture.task("app", &["base", "slow"], "cat ../base/out ../slow/out b > out", &["app/out"]);
    fixture.build().await;
    settle();
    fixture.write("slow/a", "2\n");
    // A cache whose blobs are in use by a build is not cleared, but disks fail. `base` was found unchanged by then, and `app` has not begun.
    let build = fixture
        .build_while_running("slow", || {
            fixture.damage_cache();
            fs::remove_file(fixture.path("base/out")).unwrap();
        })
        .await;
    assert_eq!(build.outcome(), BuildOutcome::Success, "{build:?}");
    assert_eq!(build.executed(), ["app", "base", "slow"]);
    assert_eq!(fixture.read("app/out"), "1\n2\n2\n");
}
