//! Checks of the whole, once everything is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Problem, ProblemKind};
use crate::load::missing_dependency;
use crate::lower;
use crate::model::{Origin, Package, PackageKind, Task, Workspace};
use crate::paths;
use crate::text::Location;

/// Missing dependencies, and packages that share a directory.
pub(crate) fn packages(packages: &BTreeMap<Arc<str>, Package>, problems: &mut Vec<Problem>) {
    let mut directories: BTreeMap<&str, &Package> = BTreeMap::new();
    for package in packages.values() {
        for dependency in &package.declared_dependencies {
            if !packages.contains_key(dependency.value.as_str()) {
                problems.push(missing_dependency(package, dependency, packages));
            }
        }
        // A package of npm and one of Cargo may well describe two sides of one directory.
        if let Some(first) = directories.insert(&package.directory, package)
            && let (Origin::Declared(location), PackageKind::Declared) = (&package.origin, first.kind)
        {
            let mut problem = Problem::new(ProblemKind::SharedDirectory {
                first: first.name.to_string(),
                second: package.name.to_string(),
                path: if package.directory.is_empty() { ".".into() } else { package.directory.clone() },
            })
            .at(location.clone());
            if let Origin::Declared(other) = &first.origin {
                problem = problem.note("the first is here", Some(other.clone()));
            }
            problems.push(problem.hint("give each package a directory of its own, or make them tasks of one package"));
        }
    }
}

/// Tasks that write the same place.
pub(crate) fn outputs(workspace: &Workspace, problems: &mut Vec<Problem>) {
    let mut all: Vec<(String, &Package, &Task)> = Vec::new();
    for package in workspace.packages.values() {
        for task in package.tasks.values() {
            all.extend(lower::outputs(package, task).into_iter().map(|output| (output, package, task)));
        }
    }
    // By segments, so that what lies below a directory follows it directly.
    all.sort_by(|(left, _, a), (right, _, b)| left.split('/').cmp(right.split('/')).then_with(|| a.name.cmp(&b.name)));
    let mut open: Vec<&(String, &Package, &Task)> = Vec::new();
    for entry in &all {
        let (path, package, task) = entry;
        while open.last().is_some_and(|(outer, ..)| !paths::is_within(path, outer)) {
            open.pop();
        }
        if let Some((_, other_package, other)) = open.iter().find(|(_, _, other)| other.name != task.name)
            && (task.declared || other.declared)
        {
            let kind = ProblemKind::OverlappingOutputs {
                first: other.name.to_string(),
                second: task.name.to_string(),
                path: path.clone(),
            };
            let (here, there) = (place(package, task), place(other_package, other));
            problems.push(
                Problem::new(kind)
                    .at(here)
                    .note(format!("`{}` declares it here", other.name), there)
                    .hint("give each task an output directory of its own"),
            );
        }
        open.push(entry);
    }
    let globs = all.iter().filter(|(path, ..)| paths::has_wildcard(path));
    for (pattern, package, task) in globs {
        let parent = pattern.rsplit_once('/').map_or("", |(parent, _)| parent);
        let Ok(glob) = globset::GlobBuilder::new(pattern).literal_separator(true).build() else { continue };
        let matcher = glob.compile_matcher();
        let from =
            all.partition_point(|(path, ..)| path.split('/').lt(parent.split('/').filter(|part| !part.is_empty())));
        for (path, _, other) in all[from..].iter().take_while(|(path, ..)| paths::is_within(path, parent)) {
            if other.name != task.name && (task.declared || other.declared) && matcher.is_match(path) && path != pattern
            {
                let (first, second) = (task.name.to_string(), other.name.to_string());
                let kind = ProblemKind::OverlappingOutputs { first, second, path: path.clone() };
                let problem = Problem::new(kind).at(place(package, task));
                problems.push(problem.hint("make the pattern narrower"));
            }
        }
    }
}

fn place(package: &Package, task: &Task) -> Option<Location> {
    let written = task.outputs.as_ref().and_then(|outputs| outputs.first());
    let written = written.or(package.output_dir.as_ref().filter(|_| &*task.name.task == "build"));
    written.map(|output| output.location.clone()).or(match &package.origin {
        Origin::Declared(location) => Some(location.clone()),
        Origin::Manifest(_) => None,
    })
}
