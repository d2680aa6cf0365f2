//! The demo workspace, as its README has one use it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Place, contents, those};

fn demo() -> Place {
    Place::copy_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo"))
}

const ALL: &str = "api:build client:build core:build plugin-sdk:build shared:build ui:build";

#[test]
fn build_change_and_build_again() {
    let place = demo();
    let built = place.tiers(&["build"]);
    assert_eq!(those(&built, &["full"]), ALL);
    let program = place.root().join("api/out/api");
    let calculate = |expression: &str| {
        let output = std::process::Command::new(&program).arg(expression).output().expect("the program was built");
        String::from_utf8(output.stdout).expect("it writes text")
    };
    assert!(calculate("1 + 2 * 3").contains('7'), "{}", calculate("1 + 2 * 3"));

    assert_eq!(those(&place.tiers(&["build"]), &["instant"]), ALL);
    place.run(&["why", "api"]).expect(0, &["api:build is up to date"]);

    // A comment: the object file stays the same, and nobody else notices.
    place.append("core/src/eval.c", "/* a comment */\n");
    place.run(&["why", "core"]).expect(0, &["core:build would run", "core/src/eval.c changed"]);
    let rebuilt = place.tiers(&["build"]);
    assert_eq!(those(&rebuilt, &["full"]), "core:build");
    assert_eq!(those(&rebuilt, &["failed", "skipped"]), "");
    place.run(&["why", "core"]).expect(0, &["core:build is up to date", "core/src/eval.c changed"]);

    // A template: what it is embedded in, and the program that links it, but nothing between.
    place.append("ui/templates/foot.txt", "a new line at the foot\n");
    let rebuilt = place.tiers(&["build"]);
    assert_eq!(those(&rebuilt, &["full"]), "api:build ui:build");
    assert!(calculate("1").contains("a new line at the foot"), "{}", calculate("1"));

    let forced = place.tiers(&["build", "--force", "shared"]);
    assert_eq!(those(&forced, &["full"]), "shared:build");
}

#[test]
fn test_and_clean_and_restore() {
    let place = demo();
    let tested = place.tiers(&["test"]);
    assert_eq!(tested.len(), 12, "{tested:?}");
    assert_eq!(those(&tested, &["full"]).split(' ').count(), 12, "{tested:?}");
    assert_eq!(those(&place.tiers(&["test"]), &["instant"]).split(' ').count(), 12);
    let before = contents(&place.root().join("api/out"));
    assert!(!before.is_empty());
    place.run(&["clean"]).expect(0, &["Removed"]);
    assert!(contents(&place.root().join("api/out")).is_empty());
    let restored = place.tiers(&["build"]);
    assert_eq!(those(&restored, &["cached"]), ALL, "{restored:?}");
    assert_eq!(contents(&place.root().join("api/out")), before);

    // Two checkouts of one project share what was built.
    let other = place.checkout("other", |name| name != ".buildnet");
    fs::remove_dir_all(other.root.join("api/out")).expect("it was copied");
    assert_eq!(those(&other.tiers(&["test"]), &["full", "incremental"]), "");
    assert_eq!(contents(&other.root.join("api/out")), before);
}

#[test]
fn failures_have_logs_and_exit_codes() {
    let place = demo();
    place.run(&["build", "--dry-run"]).expect(0, &[]);
    assert!(!place.root().join("shared/out").exists(), "a dry run runs nothing");
    let source = place.read("core/src/eval.c");
    place.append("core/src/eval.c", "this is no C\n");
    let failed = place.run(&["build"]).expect(1, &["core:build", "failed", "this is no C", "log: ", "skipped"]);
    let all = failed.all();
    let log = all.split("log: ").nth(1).and_then(|rest| rest.lines().next()).expect("the path of the log is told");
    let log = fs::read_to_string(place.root().join(log.trim())).expect("the log is there");
    assert!(log.contains("eval.c"), "{log}");
    let going_on = place.run(&["build", "--keep-going", "--json"]).expect(1, &[]);
    let tiers = crate::support::tiers(&going_on);
    assert_eq!(tiers["core:build"], "failed");
    assert!(!["failed", "skipped"].contains(&tiers["ui:build"].as_str()), "{tiers:?}");
    place.write("core/src/eval.c", &source);
    place.run(&["build"]).expect(0, &[]);
    place.run(&["build", "cor"]).expect(2, &["no package `cor`", "`core`"]);
}

#[test]
fn questions_and_reports() {
    let place = demo();
    place.run(&["build"]).expect(0, &[]);
    place.run(&["graph"]).expect(0, &["api:build"]);
    place.run(&["graph", "--format", "dot"]).expect(0, &["digraph", "api:build", "->"]);
    let graph: Value = json(&place, &["graph", "--format", "json"]);
    assert!(graph.to_string().contains("plugin-sdk"));
    place.run(&["query", "rdeps(core)"]).expect(0, &["api\nclient\ncore\nplugin-sdk\n"]);
    place.run(&["query", "rdeps(shared) intersect attr(lang, rust)"]).expect(0, &["api\nclient\n"]);
    place.run(&["history"]).expect(0, &["build"]);
    let shown = json(&place, &["history", "show", "last", "--json"]);
    assert!(shown.to_string().contains("plugin-sdk"), "{shown}");
    for (format, told) in [
        ("json", "plugin-sdk"),
        ("html", "</html>"),
        ("md", "plugin-sdk"),
        ("trace", "plugin-sdk"),
        ("flame", "plugin-sdk"),
    ] {
        let file = place.beside(&format!("report.{format}"));
        place.run(&["report", "last", "--format", format, "-o", &file.to_string_lossy()]).expect(0, &["Wrote"]);
        let text = fs::read_to_string(&file).expect("the report was written");
        assert!(text.contains(told), "{format}: {text}");
        if ["json", "trace"].contains(&format) {
            serde_json::from_str::<Value>(&text).expect("it is JSON");
        }
    }
    place.run(&["cache", "stats"]).expect(0, &[]);
    place.run(&["cache", "verify"]).expect(0, &[]);
}

#[track_caller]
fn json(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_str(&place.run(arguments).expect(0, &[]).stdout).expect("it is JSON")
}
