//! A build to report.

use buildnet_event::{
    BuildId, InputChange, InputPart, Level, Reason, TaskName, TaskOutcome, TaskSummary, TaskUsage, Tier, TierCounts,
};
use buildnet_history::{BuildHead, BuildRecord, BuildStatus, NoticeRecord, TaskRecord};

/// A task that ran from `start` to `finish`, in milliseconds.
pub(crate) fn task(name: &str, tier: Option<Tier>, start: u64, finish: u64, needs: &[&str]) -> TaskRecord {
    let named = |name: &str| {
        let (package, task) = name.rsplit_once(':').unwrap();
        TaskName::new(package, task)
    };
    let ran = matches!(tier, Some(Tier::Full | Tier::Incremental));
    let duration_us = (finish - start) * 1000;
    TaskRecord {
        summary: TaskSummary {
            tier,
            duration_us,
            execution_us: if ran { duration_us * 9 / 10 } else { 2_400_000 },
            key: Some("blake3:0c5a1e2b7f/142".to_owned()),
            log_path: Some(format!("/home/ada/shop/.buildnet/logs/{}.log", name.replace([':', '/'], "_"))),
            reason: Some(Reason::FirstRun),
            usage: TaskUsage {
                cpu_us: if ran { duration_us * 3 / 2 } else { 0 },
                peak_memory: if ran { (finish - start) * 91_000 } else { 0 },
            },
            attempts: u32::from(ran),
            ..TaskSummary::new(named(name), needs.iter().map(|name| named(name)).collect())
        },
        start_us: start * 1000,
        execute_us: ran.then_some(start * 1000 + duration_us / 20),
        finish_us: finish * 1000,
    }
}

fn change(part: InputPart, name: &str, before: Option<&str>, after: Option<&str>) -> InputChange {
    InputChange { part, name: name.to_owned(), before: before.map(str::to_owned), after: after.map(str::to_owned) }
}

/// A build of a small monorepo with a failure, and text that tries to break out of every format.
pub(crate) fn build() -> BuildRecord {
    let mut core = task("@shop/core:build", Some(Tier::Full), 4, 1250, &["shared:build"]);
    let changes = vec![
        change(InputPart::File, "packages/core/src/cart.ts", Some("a1"), Some("b2")),
        change(InputPart::Variable, "NODE_ENV", None, Some("production")),
        change(InputPart::Dependency, "shared:build", Some("1"), Some("2")),
    ];
    core.summary.reason = Some(Reason::Changed { changes, more: 4 });
    let mut ui = task("ui:build", Some(Tier::Incremental), 1250, 3400, &["@shop/core:build", "theme:build"]);
    let output = vec![change(InputPart::Output, "dist/index.js", Some("c"), None)];
    ui.summary.reason = Some(Reason::Changed { changes: output, more: 0 });
    let mut evil =
        task("<img src=x onerror=alert(1)>|`@ada`:build", Some(Tier::Cached), 1252, 1290, &["@shop/core:build"]);
    evil.summary.reason = Some(Reason::Forced);
    let mut api = task("api:test", None, 1300, 4100, &["@shop/core:build", "plugin-sdk:build"]);
    api.summary.outcome = TaskOutcome::Failed;
    api.summary.exit_code = Some(101);
    api.summary.execution_us = 2_700_000;
    api.summary.attempts = 1;
    api.summary.usage = TaskUsage { cpu_us: 3_100_000, peak_memory: 412 << 20 };
    api.execute_us = Some(1_340_000);
    api.summary.error = Some("command exited with code 101".to_owned());
    api.summary.hint = Some("Run `buildnet why api:test` to see what changed.".to_owned());
    api.summary.log_tail = Some(
        "running 2 tests\ntest cart::adds ... ok\ntest cart::total ... \u{1b}[31mFAILED\u{1b}[0m\n\n\
         thread 'cart::total' panicked at src/cart.rs:41:9:\nassertion `left == right` failed\n  left: 12\n right: 13\n\
         ``` </script><script>alert(2)</script> ]]> <!--\n"
            .to_owned(),
    );
    api.summary.reason = Some(Reason::FailedBefore);
    let mut client = task("client:build", None, 4100, 4100, &["api:test"]);
    client.summary.outcome = TaskOutcome::Skipped;
    client.summary.reason = None;
    client.summary.key = None;
    client.summary.log_path = None;
    client.summary.execution_us = 0;
    let tasks = vec![
        task("shared:build", Some(Tier::Cached), 0, 4, &["theme:build"]),
        core,
        evil,
        task("plugin-sdk:build", Some(Tier::Full), 5, 1300, &["shared:build"]),
        ui,
        api,
        client,
    ];
    let notice = |time_us, level, text: &str, hint: Option<&str>| NoticeRecord {
        time_us,
        level,
        text: text.to_owned(),
        hint: hint.map(str::to_owned),
    };
    BuildRecord {
        head: BuildHead {
            id: BuildId("019b7ca9-8c88-7000-8000-000000000001".parse().unwrap()),
            workspace: "/home/ada/shop".to_owned(),
            command: "test --keep-going".to_owned(),
            task_count: 9,
            started_ms: 1_767_323_045_000,
            status: BuildStatus::Failed,
            duration_us: 4_112_000,
            counts: TierCounts { instant: 2, cached: 2, incremental: 1, full: 2, failed: 1, skipped: 1 },
            saved_us: 9_800_000,
        },
        tasks,
        instant: vec![TaskName::new("docs", "build"), TaskName::new("theme", "build")],
        notices: vec![
            notice(0, Level::Info, "1 of 2 cores are busy", None),
            notice(900, Level::Warning, "inotify watches ran out", Some("Raise fs.inotify.max_user_watches.")),
        ],
    }
}
