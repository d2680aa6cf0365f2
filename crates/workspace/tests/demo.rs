//! The demo workspace builds and passes its tests when each command sees what its task declares, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use buildnet_engine::build::{ActionSpec, Plan};
use buildnet_workspace::{Overrides, Request, Workspace};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo").canonicalize().expect("the demo is there")
}

fn load() -> Workspace {
    Workspace::load(&demo(), None, &Overrides::default()).expect("the demo's configuration is right")
}

fn globs(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().expect("patterns are checked at load"));
    }
    set.build().expect("patterns are checked at load")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("files have a directory")).unwrap();
    std::fs::copy(from, to).unwrap();
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in ignore::WalkBuilder::new(from).standard_filters(false).build().map(Result::unwrap) {
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            copy(entry.path(), &to.join(entry.path().strip_prefix(from).unwrap()));
        }
    }
}

/// Runs a task in an empty directory that holds its declared inputs; keeps its declared outputs under `outputs`.
fn run(plan: &Plan, spec: &ActionSpec, outputs: &Path) -> String {
    let execution = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    for group in &spec.inputs {
        let (include, exclude) = (globs(&group.include), globs(&group.exclude));
        let base = plan.root.join(&group.base);
        for entry in ignore::WalkBuilder::new(&base).hidden(false).require_git(false).build().map(Result::unwrap) {
            let path = entry.path().strip_prefix(&base).unwrap();
            if entry.file_type().is_some_and(|kind| kind.is_file()) && include.is_match(path) && !exclude.is_match(path)
            {
                copy(entry.path(), &execution.path().join(&group.base).join(path));
            }
        }
    }
    for output in upstream(plan, spec).iter().flat_map(|spec| &spec.outputs) {
        copy_tree(&outputs.join(output), &execution.path().join(output));
    }
    let mut log = String::new();
    for command in &spec.commands {
        let result = Command::new("sh")
            .args(["-e", "-c", command])
            .current_dir(execution.path().join(&spec.directory))
            .env("TMPDIR", temporary.path())
            .output()
            .expect("there is a shell");
        log.push_str(&String::from_utf8_lossy(&result.stdout));
        log.push_str(&String::from_utf8_lossy(&result.stderr));
        assert!(result.status.success(), "{}: {log}", spec.name);
    }
    for output in &spec.outputs {
        copy_tree(&execution.path().join(output), &outputs.join(output));
    }
    log
}

/// Everything that a task depends on, directly or not: what it wrote is input as well.
fn upstream<'p>(plan: &'p Plan, spec: &'p ActionSpec) -> Vec<&'p ActionSpec> {
    let mut found: Vec<&ActionSpec> = Vec::new();
    let mut stack = vec![spec];
    while let Some(next) = stack.pop() {
        for name in &next.dependencies {
            let dependency = &plan.tasks[name];
            if !found.iter().any(|known| known.name == dependency.name) {
                found.push(dependency);
                stack.push(dependency);
            }
        }
    }
    found
}

fn in_order(plan: &Plan) -> Vec<&ActionSpec> {
    let mut order: Vec<&ActionSpec> = plan.tasks.values().collect();
    order.sort_by_key(|spec| upstream(plan, spec).len());
    order
}

fn plan(workspace: &Workspace) -> Plan {
    workspace.plan(&Request { task: "test".into(), packages: Vec::new() }).expect("the demo has tests")
}

#[test]
fn builds_and_passes_from_declared_inputs_alone() {
    let plan = plan(&load());
    let outputs = tempfile::tempdir().unwrap();
    let logs: BTreeMap<String, String> =
        in_order(&plan).into_iter().map(|spec| (spec.name.to_string(), run(&plan, spec, outputs.path()))).collect();
    assert_eq!(logs.len(), 12);
    insta::assert_snapshot!(logs["api:test"]);
    // What api prints comes through all the others: it changes with any of them.
    let api = Command::new(outputs.path().join("api/out/api")).arg("mean(1, 2) * (3 - 1)").output().unwrap();
    assert!(String::from_utf8_lossy(&api.stdout).contains("= 3 (#"), "{api:?}");
}

#[test]
fn is_as_it_is_drawn() {
    let workspace = load();
    let graph = workspace.graph(&Request { task: "build".into(), packages: vec!["api".into()] }).unwrap();
    insta::assert_snapshot!(graph.to_text());
    insta::assert_snapshot!(graph.to_dot());
    insta::assert_snapshot!(graph.to_json());
    assert_eq!(workspace.query("rdeps(shared) intersect attr(lang, rust)").unwrap(), ["api".into(), "client".into()]);
}
