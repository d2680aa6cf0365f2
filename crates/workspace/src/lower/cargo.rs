//! What Cargo sees and writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use buildnet_engine::build::{ActionSpec, InputGroup};

use crate::discover::cargo::{CargoPackage, STATE};
use crate::model::{Facts, Package, Task, Workspace};
use crate::paths;

/// Programs, where Cargo itself puts them.
pub(super) fn outputs(facts: &CargoPackage) -> Vec<String> {
    facts.binaries.iter().map(|binary| format!("target/debug/{binary}")).collect()
}

pub(super) fn lower(
    workspace: &Workspace,
    package: &Package,
    facts: &CargoPackage,
    task: &Task,
    spec: &mut ActionSpec,
) {
    let Some(root) = &workspace.cargo else { return };
    let needed = needed(workspace, package, facts, &task.name.task);
    for other in needed.iter().filter(|other| other.name != package.name) {
        spec.inputs.push(InputGroup {
            base: other.directory.clone(),
            include: vec!["**/*".into()],
            exclude: vec!["target/**".into()],
            gitignore: true,
        });
    }
    // Cargo reads the manifests of all members, whatever it builds.
    let mut include = root.shared_files.clone();
    let mut stubs = Vec::new();
    for member in workspace.packages.values() {
        let Facts::Cargo(facts) = &member.facts else { continue };
        include.push(member.join("Cargo.toml"));
        if !needed.iter().any(|needed| needed.name == member.name) {
            stubs.extend(facts.target_files.iter().filter_map(|path| paths::resolve(&member.directory, path)));
        }
    }
    include.sort_unstable();
    include.dedup();
    spec.inputs.push(InputGroup { base: String::new(), include, exclude: Vec::new(), gitignore: false });
    if let Some(stub) = stub_script(&package.directory, &stubs) {
        spec.commands.insert(0, stub);
    }
    spec.state.push(STATE.into());
    for (index, tool) in ["cargo", "rustc", "cc"].into_iter().enumerate() {
        spec.toolchains.insert(index, tool.into());
    }
}

/// The package, the members that it needs, however far, and for tests and lints those that only tests need.
fn needed<'w>(workspace: &'w Workspace, package: &'w Package, facts: &'w CargoPackage, task: &str) -> Vec<&'w Package> {
    let mut seen: BTreeSet<&Arc<str>> = BTreeSet::new();
    let mut stack = vec![&package.name];
    if task != "build" {
        stack.extend(&facts.dev_dependencies);
    }
    while let Some(name) = stack.pop() {
        if seen.insert(name)
            && let Some(next) = workspace.packages.get(name)
        {
            stack.extend(&next.dependencies);
        }
    }
    seen.into_iter().filter_map(|name| workspace.packages.get(name)).collect()
}

/// Empty files in place of the targets of members that are not needed: Cargo refuses a workspace with a member whose targets are
/// not there, but does not compile them. So a change in one of them does not concern this task.
fn stub_script(directory: &str, files: &[String]) -> Option<String> {
    if files.is_empty() {
        return None;
    }
    let up = paths::up(directory);
    let quoted: Vec<String> = files.iter().map(|file| format!("'{}{}'", up, file.replace('\'', r"'\''"))).collect();
    Some(format!(
        "for file in {}; do [ -e \"$file\" ] || {{ mkdir -p \"${{file%/*}}\"; : > \"$file\"; }}; done",
        quoted.join(" ")
    ))
}
