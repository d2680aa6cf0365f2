//! What the probe says of this system agrees with what can be done on it.

mod common;

use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_sandbox::{Availability, Capabilities, Feature, SandboxError, probe_overlay};

use crate::common::{capabilities, script, try_output_of};

#[test]
fn every_feature_is_either_available_or_refused_with_a_reason() {
    let features: Vec<_> = capabilities().features.iter().map(|(feature, _)| *feature).collect();
    assert_eq!(features, Feature::ALL);
    for (feature, availability) in &capabilities().features {
        eprintln!("{feature}: {availability:?}");
        if let Availability::Refused(reason) = availability {
            assert!(!reason.is_empty(), "{feature}");
        }
        assert!(feature.remedy().ends_with('.'), "{feature}");
    }
}

#[test]
fn strict_runs_exactly_where_it_is_supported() {
    let run = try_output_of(&script("true"));
    assert_eq!(run.is_ok(), capabilities().strict_supported().is_ok(), "{run:?}");
}

#[test]
fn the_first_missing_feature_is_named_with_its_remedy() {
    let features = vec![
        (Feature::UserNamespace, Availability::Available(String::new())),
        (Feature::Overlay, Availability::Refused("not needed".to_owned())),
        (Feature::Landlock, Availability::Refused("Function not implemented".to_owned())),
    ];
    let error = Capabilities { features }.strict_supported().expect_err("Landlock is needed");
    assert!(matches!(error, SandboxError::Unsupported { feature: Feature::Landlock, .. }));
    assert_eq!(error.to_string(), "the sandbox needs Landlock, which this system refuses: Function not implemented");
    assert_eq!(error.category(), ErrorCategory::Environment);
    let hint = error.hint().expect("there is something to do");
    assert!(hint.starts_with("Use Linux 5.13 or newer with `landlock` among"), "{hint}");
}

#[test]
fn an_overlay_needs_a_directory_to_be_in() {
    let refused = probe_overlay(std::path::Path::new("/proc"));
    assert!(matches!(&refused, Availability::Refused(reason) if reason.starts_with("/proc: ")), "{refused:?}");
}
