//! What scripts of npm packages see and write.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use buildnet_engine::build::{ActionSpec, HostInput, InputGroup, SandboxMode};

use super::{absolute, default_env};
use crate::discover::npm::{NpmPackage, NpmRoot};
use crate::model::{Facts, Package, Task, Workspace, join};

/// Scripts whose purpose their name tells: they only read, besides what a `build` writes.
const KNOWN: [&str; 7] = ["build", "test", "lint", "check", "check-types", "typecheck", "type-check"];

pub(super) fn outputs(package: &Package, facts: &NpmPackage, task: &Task) -> Vec<String> {
    match &*task.name.task {
        "build" => facts.outputs.iter().map(|output| package.join(output)).collect(),
        "test" if facts.coverage => vec![package.join("coverage")],
        _ => Vec::new(),
    }
}

pub(super) fn lower(workspace: &Workspace, package: &Package, facts: &NpmPackage, task: &Task, spec: &mut ActionSpec) {
    let Some(root) = &workspace.npm else { return };
    if !task.declared && !KNOWN.contains(&&*task.name.task) {
        // What such a script writes is unknown: it runs as npm would run it.
        spec.sandbox = SandboxMode::Off;
        spec.cache = false;
    }
    let upstream = upstream(workspace, package);
    let shared = root.shared_files.clone();
    spec.inputs.push(InputGroup { base: String::new(), include: shared, exclude: Vec::new(), gitignore: false });
    for other in &upstream {
        spec.inputs.push(interface(other));
    }
    if facts.installed && !package.directory.is_empty() {
        spec.path.push(package.join("node_modules/.bin"));
    }
    if root.installed {
        spec.path.push("node_modules/.bin".into());
        spec.host_inputs.push(modules(workspace, root, ""));
    }
    for member in std::iter::once(&package).chain(&upstream).filter(|member| !member.directory.is_empty()) {
        if matches!(&member.facts, Facts::Npm(facts) if facts.installed) {
            spec.host_inputs.push(modules(workspace, root, &member.directory));
        }
    }
    spec.toolchains.insert(0, "node".into());
    default_env(&mut spec.environment, "npm_lifecycle_event", &task.name.task);
    default_env(&mut spec.environment, "npm_package_name", &package.name);
    if let Some(version) = &package.version {
        default_env(&mut spec.environment, "npm_package_version", version);
    }
}

/// The npm packages that `package` needs, however far, sorted by name.
fn upstream<'w>(workspace: &'w Workspace, package: &'w Package) -> Vec<&'w Package> {
    let mut seen: BTreeSet<&Arc<str>> = BTreeSet::new();
    let mut stack: Vec<&Arc<str>> = package.dependencies.iter().collect();
    while let Some(name) = stack.pop() {
        if seen.insert(name)
            && let Some(next) = workspace.packages.get(name)
        {
            stack.extend(&next.dependencies);
        }
    }
    seen.remove(&package.name);
    seen.into_iter().filter_map(|name| workspace.packages.get(name)).collect()
}

/// What a dependent sees of a package besides the outputs of its `build`: its manifest and what that names, or, if nothing
/// builds it, all of it.
fn interface(package: &Package) -> InputGroup {
    let include = match &package.facts {
        Facts::Npm(facts) if package.tasks.contains_key("build") => facts.interface.clone(),
        _ => vec!["**/*".into()],
    };
    let exclude = vec!["**/node_modules/**".into()];
    InputGroup { base: package.directory.clone(), include, exclude, gitignore: true }
}

/// The installed dependencies below `directory`. Links among them to members are relative to the workspace, and so lead to the
/// members as the command sees them.
fn modules(workspace: &Workspace, root: &NpmRoot, directory: &str) -> HostInput {
    let target = join(directory, "node_modules");
    HostInput {
        source: absolute(workspace, &target),
        target: PathBuf::from(target),
        identity: root.identity.iter().map(|path| absolute(workspace, path)).collect(),
    }
}
