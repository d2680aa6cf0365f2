//! What scripts of npm packages see and write.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use buildnet_engine::build::{ActionSpec, HostInput, InputGroup, SandboxMode};
use buildnet_event::TaskName;

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
    let shared = root.shared_files.clone();
    spec.inputs.push(InputGroup { base: String::new(), include: shared, exclude: Vec::new(), gitignore: false });
    if task.inputs.is_some() || package.sources.is_some() {
        // Node looks it up whatever a script is about.
        let include = vec!["package.json".into()];
        spec.inputs.push(InputGroup {
            base: package.directory.clone(),
            include,
            exclude: Vec::new(),
            gitignore: false,
        });
    }
    spec.dependencies.extend(package.dependencies.iter().map(interface_name));
    if facts.installed && !package.directory.is_empty() {
        spec.path.push(package.join("node_modules/.bin"));
    }
    if root.installed {
        spec.path.push("node_modules/.bin".into());
        spec.host_inputs.push(modules(workspace, root, ""));
    }
    if facts.installed && !package.directory.is_empty() {
        spec.host_inputs.push(modules(workspace, root, &package.directory));
    }
    spec.toolchains.insert(0, "node".into());
    default_env(&mut spec.environment, "npm_lifecycle_event", &task.name.task);
    default_env(&mut spec.environment, "npm_package_name", &package.name);
    if let Some(version) = &package.version {
        default_env(&mut spec.environment, "npm_package_version", version);
    }
}

/// Name of the task that stands for what a package shows to those that need it. Parentheses: no script is named like that.
fn interface_name(package: &Arc<str>) -> TaskName {
    TaskName::new(Arc::clone(package), "(interface)")
}

/// The tasks that stand for what packages show to others, for all that the packages of `specs` need, however far. They have no
/// commands, and depend on each other as the packages do, so that the whole is as large as the workspace, not its square.
pub(super) fn interfaces(workspace: &Workspace, specs: &BTreeMap<TaskName, ActionSpec>) -> Vec<ActionSpec> {
    let Some(root) = &workspace.npm else { return Vec::new() };
    let mut seen: HashSet<&Arc<str>> = HashSet::new();
    let planned = specs.keys().filter_map(|name| workspace.packages.get(&name.package));
    let mut stack: Vec<&Arc<str>> = planned
        .filter(|package| matches!(package.facts, Facts::Npm(_)))
        .flat_map(|package| &package.dependencies)
        .collect();
    let cyclic = cyclic(workspace);
    let mut found = Vec::new();
    while let Some(name) = stack.pop() {
        let Some(package) = workspace.packages.get(name).filter(|_| seen.insert(name)) else { continue };
        stack.extend(&package.dependencies);
        let mut spec = ActionSpec::new(interface_name(name), package.directory.clone());
        spec.exports = true;
        if cyclic.contains(name) {
            // Tasks cannot wait for each other in a circle: each shows all that is reached from it.
            for package in reachable(workspace, package) {
                show(workspace, root, package, &mut spec);
            }
        } else {
            show(workspace, root, package, &mut spec);
            spec.dependencies = package.dependencies.iter().map(interface_name).collect();
        }
        found.push(spec);
    }
    found
}

/// What dependents see of a package besides the outputs of its `build`: its manifest and what that names, or, if nothing
/// builds it, all of it; and what is installed for it alone.
fn show(workspace: &Workspace, root: &NpmRoot, package: &Package, spec: &mut ActionSpec) {
    let Facts::Npm(facts) = &package.facts else { return };
    let built = package.tasks.contains_key("build");
    let include = if built { facts.interface.clone() } else { vec!["**/*".into()] };
    let mut exclude = vec!["**/node_modules/**".into()];
    if built {
        exclude.extend(facts.outputs.iter().flat_map(|output| [output.clone(), format!("{output}/**")]));
    }
    spec.inputs.push(InputGroup { base: package.directory.clone(), include, exclude, gitignore: true });
    if facts.installed && !package.directory.is_empty() {
        spec.host_inputs.push(modules(workspace, root, &package.directory));
    }
}

/// The packages that lie on a cycle of dependencies, or reach one. Packages may depend on each other in a circle, for tests say,
/// as long as their tasks do not.
fn cyclic(workspace: &Workspace) -> HashSet<&Arc<str>> {
    let mut waiting: HashMap<&Arc<str>, usize> = HashMap::new();
    let mut dependents: HashMap<&Arc<str>, Vec<&Arc<str>>> = HashMap::new();
    for (name, package) in &workspace.packages {
        waiting.insert(name, package.dependencies.len());
        for dependency in &package.dependencies {
            dependents.entry(dependency).or_default().push(name);
        }
    }
    let mut ready: Vec<&Arc<str>> = waiting.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = ready.pop() {
        waiting.remove(name);
        for &dependent in dependents.get(name).into_iter().flatten() {
            let count = waiting.get_mut(dependent).expect("what waits for this one has not been removed");
            *count -= 1;
            if *count == 0 {
                ready.push(dependent);
            }
        }
    }
    waiting.into_keys().collect()
}

/// A package and all that it needs, however far, sorted by name.
fn reachable<'w>(workspace: &'w Workspace, package: &'w Package) -> Vec<&'w Package> {
    let mut seen: BTreeSet<&Arc<str>> = BTreeSet::new();
    let mut stack: Vec<&Arc<str>> = vec![&package.name];
    while let Some(name) = stack.pop() {
        if seen.insert(name)
            && let Some(next) = workspace.packages.get(name)
        {
            stack.extend(&next.dependencies);
        }
    }
    seen.into_iter().filter_map(|name| workspace.packages.get(name)).collect()
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
