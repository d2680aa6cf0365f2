//! Every target for a bounded number of inputs with a fixed seed, so that what was found once stays found.

use std::time::Duration;

use buildnet_fuzz::campaign::{Bound, run};
use buildnet_fuzz::{TARGETS, target};

#[test]
fn no_target_fails() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let bound = Bound { runs: 400, time: Duration::from_hours(1) };
        let report = run(target, 20, bound, |_| {});
        assert!(report.failure.is_some() || report.runs == bound.runs);
        if let Some(failure) = report.failure {
            failed.push(format!(
                "{}: {} {:?}",
                target.name,
                failure.message,
                String::from_utf8_lossy(&failure.smallest)
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn targets_have_names_of_their_own_and_seeds() {
    for one in TARGETS {
        assert!(std::ptr::eq(target(one.name).unwrap(), one), "{} is there twice", one.name);
        assert!((one.seeds)().iter().any(|seed| !seed.is_empty()), "{}", one.name);
    }
    assert!(target("nothing").is_none());
}
