//! Each format, of one build.

mod common;

use std::collections::{BTreeMap, HashMap};

use buildnet_event::TierCounts;
use buildnet_history::{BuildRecord, BuildStatus};
use buildnet_report::{Format, render};
use serde_json::Value;

fn text(build: &BuildRecord, format: Format) -> String {
    String::from_utf8(render(build, format).unwrap()).unwrap()
}

/// A build of which nothing but its beginning is known.
fn interrupted() -> BuildRecord {
    let mut build = common::build();
    build.head.status = BuildStatus::Interrupted;
    (build.head.duration_us, build.head.saved_us, build.head.counts) = (0, 0, TierCounts::default());
    (build.tasks, build.instant, build.notices) = (Vec::new(), Vec::new(), Vec::new());
    build
}

#[test]
fn json() {
    let text = text(&common::build(), Format::Json);
    insta::with_settings!({filters => vec![(env!("CARGO_PKG_VERSION"), "VERSION")]}, {
        insta::assert_snapshot!(text);
    });
}

#[test]
fn markdown() {
    insta::assert_snapshot!(text(&common::build(), Format::Markdown));
    insta::assert_snapshot!("markdown_interrupted", text(&interrupted(), Format::Markdown));
}

#[test]
fn folded() {
    insta::assert_snapshot!(text(&common::build(), Format::Folded));
    assert_eq!(text(&interrupted(), Format::Folded), "");
}

/// Leaves the reports in the target directory's `tmp`, to be looked at.
#[test]
fn every_format_takes_every_build() {
    let mut failed = common::build();
    failed.head.command.push_str(" </title>");
    for (name, build) in [("failed", failed), ("interrupted", interrupted())] {
        for format in Format::ALL {
            let path = format!("{}/{name}.{}", env!("CARGO_TARGET_TMPDIR"), format.extension());
            std::fs::write(path, render(&build, format).unwrap()).unwrap();
        }
    }
}

#[test]
fn the_stacks_add_up_to_the_tasks() {
    let build = common::build();
    let text = text(&build, Format::Folded);
    let sum: u64 = text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert_eq!(sum, build.tasks.iter().map(buildnet_report::busy_us).sum::<u64>());
}

/// The rules of the "Trace Event Format" that viewers rely on.
#[test]
fn trace_is_well_formed() {
    let build = common::build();
    let trace: Value = serde_json::from_slice(&render(&build, Format::Trace).unwrap()).unwrap();
    assert_eq!(trace["displayTimeUnit"], "ms");
    let events = trace["traceEvents"].as_array().unwrap();
    let number = |event: &Value, name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name} of {event}"));
    let mut slices: BTreeMap<u64, Vec<(u64, u64, String)>> = BTreeMap::new();
    let mut flows: HashMap<u64, Vec<(String, u64, u64)>> = HashMap::new();
    let mut named = HashMap::new();
    let mut running = Vec::new();
    for event in events {
        assert_eq!(number(event, "pid"), 1);
        let name = event["name"].as_str().unwrap().to_owned();
        match event["ph"].as_str().unwrap() {
            "M" => {
                assert!(event["args"].is_object());
                if name == "thread_name" {
                    named.insert(number(event, "tid"), event["args"]["name"].as_str().unwrap());
                }
            }
            "X" => {
                let (from, length) = (number(event, "ts"), number(event, "dur"));
                slices.entry(number(event, "tid")).or_default().push((from, from + length, name));
            }
            phase @ ("s" | "f") => {
                let end = (phase.to_owned(), number(event, "tid"), number(event, "ts"));
                flows.entry(number(event, "id")).or_default().push(end);
            }
            "C" if name == "running tasks" => running.push((number(event, "ts"), number(&event["args"], "tasks"))),
            "C" => assert!(event["args"]["bytes"].is_u64()),
            "i" => assert_eq!(event["s"], "p"),
            other => panic!("phase {other}"),
        }
    }
    assert_eq!(slices.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "the build and two slots");
    for (thread, slices) in &slices {
        assert!(named.contains_key(thread));
        for (n, (from, to, name)) in slices.iter().enumerate() {
            for (other_from, other_to, other) in &slices[n + 1..] {
                let apart = to <= other_from || other_to <= from;
                let inside = (from <= other_from && other_to <= to) || (other_from <= from && to <= other_to);
                assert!(apart || inside, "{name} and {other} overlap on thread {thread}");
            }
        }
    }
    let tasks = slices.values().flatten().filter(|(_, _, name)| name.contains(':')).count();
    assert_eq!(tasks, build.tasks.len());
    // shared<-theme and ui<-theme go to an instant task, which has no slice.
    assert_eq!(flows.len(), 7);
    for ends in flows.values() {
        let [(start, from_thread, from), (finish, to_thread, to)] = &ends[..] else { panic!("{ends:?}") };
        assert_eq!((start.as_str(), finish.as_str()), ("s", "f"));
        assert!(from <= to, "an arrow goes forward in time");
        for (thread, at) in [(from_thread, from), (to_thread, to)] {
            assert!(
                slices[thread].iter().any(|(start, end, _)| start <= at && at <= end),
                "an arrow starts in a slice"
            );
        }
    }
    assert!(running.windows(2).all(|pair| pair[0].0 < pair[1].0), "counters go forward in time");
    assert_eq!(running.iter().map(|&(_, tasks)| tasks).max(), Some(2));
    assert_eq!(running.last().unwrap().1, 0);
}

#[test]
fn html_holds_the_build_and_nothing_that_acts() {
    let build = common::build();
    let page = text(&build, Format::Html);
    assert_eq!(page.matches("<script").count(), 2, "the data and the page's own script");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img") && !page.contains("http://") && !page.contains("https://"));
    let (_, rest) = page.split_once("id=\"data\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    let data: Value = serde_json::from_str(json).unwrap();
    assert_eq!(data["tasks"].as_array().unwrap().len(), build.tasks.len());
    assert_eq!(data["tasks"][2]["name"], "<img src=x onerror=alert(1)>|`@ada`:build");
    let path: Vec<&str> = data["critical"]
        .as_array()
        .unwrap()
        .iter()
        .map(|index| data["tasks"][usize::try_from(index.as_u64().unwrap()).unwrap()]["name"].as_str().unwrap())
        .collect();
    assert_eq!(path, ["shared:build", "plugin-sdk:build", "api:test"]);
    let script = page.rsplit_once("<script>").unwrap().1;
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "XMLHttpRequest"]
    {
        assert!(!script.contains(sink), "{sink}");
    }
}

#[test]
fn flame_graph_holds_no_markup_of_the_build() {
    let page = text(&common::build(), Format::Flame);
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;|`@ada`"));
    assert!(!page.contains("<img"));
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("<g ").count(), page.matches("</g>").count());
    assert!(page.matches("class=\"f\"").count() > 15);
}
