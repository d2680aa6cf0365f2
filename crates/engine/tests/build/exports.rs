//! Tasks without commands that show their input files to others.

use buildnet_event::{BuildOutcome, Tier};

use crate::fixture::{Fixture, settle};

/// `app` reads what `near` and, behind it, `far` export.
#[tokio::test(flavor = "multi_thread")]
async fn exported_files_are_seen_however_far_and_change_what_sees_them() {
    let fixture = Fixture::new();
    fixture.write("far/f.txt", "far\n");
    fixture.write("near/n.txt", "near\n");
    fixture.write("app/a.txt", "app\n");
    for (package, dependencies) in [("far", &[][..]), ("near", &["far"])] {
        fixture.task(package, dependencies, "", &[]);
        fixture.change(package, |spec| {
            spec.commands.clear();
            spec.exports = true;
        });
    }
    fixture.task("app", &["near"], "cat ../far/f.txt ../near/n.txt a.txt > all.txt", &["app/all.txt"]);
    let first = fixture.build().await;
    assert_eq!(first.outcome(), BuildOutcome::Success, "{first:?}");
    assert_eq!(fixture.read("app/all.txt"), "far\nnear\napp\n");
    settle();
    assert_eq!(fixture.build().await.tiers(), [("app", Tier::Instant)]);
    fixture.write("far/f.txt", "further\n");
    let second = fixture.build().await;
    assert_eq!(second.tiers(), [("app", Tier::Full)], "{second:?}");
    assert_eq!(fixture.read("app/all.txt"), "further\nnear\napp\n");
}

/// Without `exports` a task's inputs are its own affair.
#[tokio::test(flavor = "multi_thread")]
async fn other_inputs_are_not_shown() {
    let fixture = Fixture::new();
    if Fixture::mode() != buildnet_engine::build::SandboxMode::Strict {
        return;
    }
    fixture.write("lib/l.txt", "lib\n");
    fixture.write("app/a.txt", "app\n");
    fixture.task("lib", &[], "true", &[]);
    fixture.task("app", &["lib"], "cat ../lib/l.txt > all.txt", &["app/all.txt"]);
    assert_eq!(fixture.build().await.outcome(), BuildOutcome::Failed);
}
