//! Cargo workspaces, from their manifests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use buildnet_event::TaskName;
use serde::Deserialize;
use toml::{Table, Value};

use super::{Discovery, globs};
use crate::config::TaskOptions;
use crate::error::{Problem, ProblemKind};
use crate::model::{Facts, Origin, Package, PackageKind, Task, join};
use crate::paths;
use crate::text::{Location, SourceText, Span};

/// What the root of a Cargo workspace has.
#[derive(Clone, Debug)]
pub(crate) struct CargoRoot {
    /// Files at the root that Cargo reads for every member, relative to the root.
    pub(crate) shared_files: Vec<String>,
    /// Whether there is a `Cargo.lock`.
    pub(crate) locked: bool,
}

/// What a member of a Cargo workspace has besides what every package has.
#[derive(Clone, Debug)]
pub(crate) struct CargoPackage {
    /// Names of its programs.
    pub(crate) binaries: Vec<String>,
    /// Members that only its tests need.
    pub(crate) dev_dependencies: Vec<Arc<str>>,
    /// Files, relative to the package, that Cargo wants to see of every member, whatever it builds.
    pub(crate) target_files: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    package: Option<PackageTable>,
    workspace: Option<WorkspaceTable>,
    lib: Option<Target>,
    #[serde(default)]
    bin: Vec<Target>,
    #[serde(flatten)]
    dependencies: Dependencies,
    #[serde(default)]
    target: BTreeMap<String, Dependencies>,
}

#[derive(Deserialize)]
struct PackageTable {
    name: String,
    version: Option<Value>,
    build: Option<Value>,
    #[serde(default = "yes")]
    autobins: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct WorkspaceTable {
    #[serde(default)]
    members: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    dependencies: Table,
}

#[derive(Deserialize)]
struct Target {
    name: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize, Default)]
struct Dependencies {
    #[serde(default, rename = "dependencies")]
    normal: Table,
    #[serde(default, rename = "dev-dependencies", alias = "dev_dependencies")]
    dev: Table,
    #[serde(default, rename = "build-dependencies", alias = "build_dependencies")]
    build: Table,
}

/// Finds the members of a workspace, or the single package at the root. None if there is no `Cargo.toml`.
pub(crate) fn discover(discovery: &mut Discovery<'_>) -> Option<CargoRoot> {
    let source = discovery.read("Cargo.toml")?;
    let manifest = parse(&source, &mut discovery.problems)?;
    let (members, exclude, shared) = match &manifest.workspace {
        Some(workspace) => (workspace.members.clone(), workspace.exclude.clone(), workspace.dependencies.clone()),
        None => (Vec::new(), Vec::new(), Table::new()),
    };
    let is_workspace = manifest.workspace.is_some();
    let mut queue: VecDeque<String> = globs::expand(discovery, &members, "Cargo.toml", &source).into_iter().collect();
    if manifest.package.is_some() {
        queue.push_front(String::new());
    }
    let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
    let mut found: Vec<(Package, Edges)> = Vec::new();
    while let Some(directory) = queue.pop_front() {
        if !directory.is_empty() && exclude.iter().any(|path| paths::is_within(&directory, path.trim_end_matches('/')))
        {
            continue;
        }
        let Some(source) = discovery.read(&join(&directory, "Cargo.toml")) else { continue };
        let Some(manifest) = parse(&source, &mut discovery.problems) else { continue };
        let Some((package, edges)) = member(discovery, directory, &manifest, &shared) else { continue };
        // A path dependency inside the workspace's directory is a member without being listed.
        for path in edges.normal.iter().chain(&edges.dev).filter(|_| is_workspace) {
            if seen.insert(path.clone()) {
                queue.push_back(path.clone());
            }
        }
        found.push((package, edges));
    }
    link(discovery, found);
    let mut shared_files = vec!["Cargo.toml".to_owned()];
    for path in [
        "Cargo.lock",
        ".cargo/config.toml",
        ".cargo/config",
        "rust-toolchain.toml",
        "rust-toolchain",
        "clippy.toml",
        ".clippy.toml",
        "rustfmt.toml",
    ] {
        let absolute = discovery.root.join(path);
        if absolute.is_file() {
            shared_files.push(path.to_owned());
        }
        discovery.config_files.push(absolute);
    }
    let locked = shared_files.iter().any(|path| path == "Cargo.lock");
    if !locked {
        discovery.warnings.push("there is no Cargo.lock: run `cargo generate-lockfile` first".into());
    }
    Some(CargoRoot { shared_files, locked })
}

fn parse(source: &Arc<SourceText>, problems: &mut Vec<Problem>) -> Option<Manifest> {
    match toml::from_str(&source.text) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            let before = &source.text[..error.span().map_or(0, |span| span.start).min(source.text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let kind = ProblemKind::Syntax { format: "TOML", reason: error.message().to_owned() };
            problems.push(Problem::new(kind).at(Location::new(source, Span { line, column, length: 1 })));
            None
        }
    }
}

/// Directories, relative to the root, of what a member depends on by path.
struct Edges {
    normal: Vec<String>,
    dev: Vec<String>,
}

fn member(
    discovery: &mut Discovery<'_>,
    directory: String,
    manifest: &Manifest,
    shared: &Table,
) -> Option<(Package, Edges)> {
    let table = manifest.package.as_ref()?;
    let mut edges = Edges { normal: Vec::new(), dev: Vec::new() };
    for dependencies in [&manifest.dependencies].into_iter().chain(manifest.target.values()) {
        let local = |table: &Table| -> Vec<String> {
            table.iter().filter_map(|(key, value)| local_path(key, value, &directory, shared)).collect()
        };
        edges.normal.extend(local(&dependencies.normal));
        edges.normal.extend(local(&dependencies.build));
        edges.dev.extend(local(&dependencies.dev));
    }
    let (binaries, target_files) = targets(discovery, &directory, manifest, table);
    let name: Arc<str> = table.name.as_str().into();
    let tasks = ["build", "test", "lint"].into_iter().map(|task| {
        let task: Arc<str> = task.into();
        let name = TaskName { package: Arc::clone(&name), task: Arc::clone(&task) };
        let commands = vec![command(&task, &name.package, &directory, &binaries)];
        let (inputs, outputs, options) = (None, None, TaskOptions::default());
        (task, Task { name, commands, depends_on: Vec::new(), inputs, outputs, options, declared: false })
    });
    let package = Package {
        tasks: tasks.collect(),
        name,
        kind: PackageKind::Cargo,
        language: Some("rust".into()),
        version: table.version.as_ref().and_then(Value::as_str).map(str::to_owned),
        tags: BTreeSet::new(),
        dependencies: Vec::new(),
        sources: None,
        output_dir: None,
        facts: Facts::Cargo(CargoPackage { binaries, dev_dependencies: Vec::new(), target_files }),
        origin: Origin::Manifest(join(&directory, "Cargo.toml")),
        declared_dependencies: Vec::new(),
        directory,
    };
    Some((package, edges))
}

/// The directory of a path dependency, if it lies inside the workspace.
fn local_path(key: &str, value: &Value, directory: &str, shared: &Table) -> Option<String> {
    let table = value.as_table()?;
    if table.get("workspace").and_then(Value::as_bool) == Some(true) {
        return paths::resolve("", shared.get(key)?.as_table()?.get("path")?.as_str()?);
    }
    paths::resolve(directory, table.get("path")?.as_str()?)
}

/// Names of the programs, and the files of all targets that Cargo looks for.
fn targets(
    discovery: &mut Discovery<'_>,
    directory: &str,
    manifest: &Manifest,
    table: &PackageTable,
) -> (Vec<String>, Vec<String>) {
    let mut binaries = BTreeSet::new();
    let mut files = BTreeSet::new();
    let source_files = discovery.list(&join(directory, "src"));
    let has = |name: &str| source_files.iter().any(|(entry, _)| entry == name);
    if let Some(path) = manifest.lib.as_ref().and_then(|lib| lib.path.clone()) {
        files.insert(path);
    } else if has("lib.rs") {
        files.insert("src/lib.rs".to_owned());
    }
    if table.autobins {
        if has("main.rs") {
            binaries.insert(table.name.clone());
            files.insert("src/main.rs".to_owned());
        }
        if has("bin") {
            for (name, is_directory) in discovery.list(&join(directory, "src/bin")) {
                if let Some(stem) = name.strip_suffix(".rs").filter(|_| !is_directory) {
                    binaries.insert(stem.to_owned());
                    files.insert(format!("src/bin/{name}"));
                } else if is_directory
                    && discovery.root.join(directory).join("src/bin").join(&name).join("main.rs").is_file()
                {
                    files.insert(format!("src/bin/{name}/main.rs"));
                    binaries.insert(name);
                }
            }
        }
    }
    for target in &manifest.bin {
        binaries.extend(target.name.clone());
        files.extend(target.path.clone());
        if let (None, Some(name)) = (&target.path, &target.name)
            && !has("main.rs")
        {
            files.insert(format!("src/bin/{name}.rs"));
        }
    }
    files.extend(table.build.as_ref().and_then(Value::as_str).map(str::to_owned));
    (binaries.into_iter().collect(), files.into_iter().collect())
}

/// Cargo's own target directory for BuildNet's runs, relative to the root: state shared by all members. It is another than the
/// user's `target`, so that the two never wait for each other's lock, and results are copied out of it to where Cargo's users
/// look for them: a file inside a state directory cannot be an output.
pub(crate) const STATE: &str = "target/buildnet";

fn command(task: &str, package: &str, directory: &str, binaries: &[String]) -> String {
    use std::fmt::Write as _;
    let up = paths::up(directory);
    let common = format!("--offline --locked --package {package} --target-dir {up}{STATE}");
    match task {
        "build" => {
            let mut script = format!("cargo build {common}");
            for binary in binaries {
                // A program whose required features are off is not built.
                let (from, to) = (format!("{up}{STATE}/debug/{binary}"), format!("{up}target/debug"));
                write!(script, "\nif [ -e {from} ]; then mkdir -p {to}; cp {from} {to}/{binary}; fi")
                    .expect("writing to a string succeeds");
            }
            script
        }
        "test" => format!("cargo test {common}"),
        _ => format!("cargo clippy {common} --all-targets"),
    }
}

fn link(discovery: &mut Discovery<'_>, found: Vec<(Package, Edges)>) {
    let names: BTreeMap<String, Arc<str>> =
        found.iter().map(|(package, _)| (package.directory.clone(), Arc::clone(&package.name))).collect();
    for (mut package, edges) in found {
        let members = |paths: &[String]| -> BTreeSet<Arc<str>> {
            paths.iter().filter_map(|path| names.get(path)).filter(|name| **name != package.name).cloned().collect()
        };
        let dependencies = members(&edges.normal);
        let dev: Vec<_> = members(&edges.dev).into_iter().collect();
        package.dependencies = dependencies.into_iter().collect();
        if let Facts::Cargo(facts) = &mut package.facts {
            facts.dev_dependencies = dev;
        }
        discovery.packages.push(package);
    }
}
