//! The house guards itself: floors, sizes, dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Most lines of a file: past that it is two.
const MAX_LINES: usize = 1000;

/// Most packages in the dependency tree, our own among them.
const MAX_PACKAGES: usize = 550;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The packages of the workspace, by name.
fn members(metadata: &Value) -> BTreeMap<&str, &Value> {
    let ids: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| ids.contains(package["id"].as_str().unwrap()))
        .map(|package| (package["name"].as_str().unwrap(), package))
        .collect()
}

#[test]
fn arrows_point_downward() {
    let metadata = metadata();
    let members = members(&metadata);
    let place = |name: &str| {
        let place = &members.get(name)?["metadata"]["buildnet"];
        Some((place["floor"].as_u64()?, place["room"].as_u64().unwrap_or(1)))
    };
    let mut wrong = Vec::new();
    for (name, package) in &members {
        let in_crates = package["manifest_path"].as_str().unwrap().contains("/crates/");
        let Some(own) = place(name) else {
            assert!(!in_crates, "{name} names no floor: add [package.metadata.buildnet] floor = N");
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"] == "dev";
            if let Some(other) = place(used).filter(|other| !for_tests && *other >= own) {
                wrong.push(format!("{name} at {own:?} uses {used} at {other:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that do not point downward, as (floor, room):\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_room() {
    let listing = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(root()).output();
    let listing = listing.unwrap();
    assert!(listing.status.success(), "this test asks git which files there are");
    let mut long = Vec::new();
    let mut looked_at = 0;
    for path in String::from_utf8(listing.stdout).unwrap().lines() {
        let source = [".rs", ".sh", ".py", ".js", ".ts", ".proto"].iter().any(|ending| path.ends_with(ending));
        let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
        if source {
            looked_at += 1;
            if text.lines().count() > MAX_LINES {
                long.push(format!("{path}: {} lines", text.lines().count()));
            }
        }
    }
    assert!(looked_at > 50, "only {looked_at} files found");
    assert!(long.is_empty(), "over {MAX_LINES} lines, so two rooms in one:\n{}", long.join("\n"));
}

#[test]
fn dependencies_are_few_and_from_the_registry() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() <= MAX_PACKAGES, "{} packages, more than {MAX_PACKAGES}", packages.len());
    for package in packages {
        let source = package["source"].as_str();
        let allowed =
            source.is_none_or(|source| source.starts_with("registry+https://github.com/rust-lang/crates.io-index"));
        assert!(allowed, "{} comes from {source:?}", package["name"]);
    }
}

#[test]
fn every_licence_is_allowed() {
    let deny: toml::Table = std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let allowed: BTreeSet<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    let metadata = metadata();
    let mut refused = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("");
        if !is_allowed(licence, &allowed) {
            refused.push(format!("{} {}: `{licence}`", package["name"], package["version"]));
        }
    }
    assert!(refused.is_empty(), "licences that deny.toml does not allow:\n{}", refused.join("\n"));
}

/// Evaluates an SPDX expression of the forms that manifests have: AND binds tighter than OR, and old manifests write `/` for OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ");
    let term = |term: &str| allowed.contains(term.trim().trim_matches(['(', ')']).trim());
    // Parentheses hold alternatives only: `(MIT OR Apache-2.0) AND Unicode-3.0`.
    expression.split(" AND ").all(|all| all.split(" OR ").any(term)) || expression.split(" OR ").any(term)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT", "Unicode-3.0"]);
    assert!(is_allowed("MIT OR GPL-3.0", &allowed));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
    assert!(is_allowed("Apache-2.0/MIT", &allowed));
    assert!(!is_allowed("GPL-3.0", &allowed));
    assert!(!is_allowed("", &allowed));
}
