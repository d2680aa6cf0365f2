//! npm, pnpm and yarn workspaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ignore::gitignore::Gitignore;
use serde::Deserialize;

use super::npm_outputs::{self, Manifest};
use super::{Discovery, globs};
use crate::config::TaskOptions;
use crate::error::{Problem, ProblemKind};
use crate::model::{Facts, Manager, Origin, Package, PackageKind, Task, join};
use crate::text::{Location, SourceText, Span};
use crate::yaml;

/// What the root of an npm workspace has.
#[derive(Clone, Debug)]
pub(crate) struct NpmRoot {
    pub(crate) manager: Manager,
    /// Files at the root that tools look up from below it.
    pub(crate) shared_files: Vec<String>,
    /// Whether there is an installed `node_modules`.
    pub(crate) installed: bool,
    /// Files that stand for the identity of what is installed, relative to the root.
    pub(crate) identity: Vec<String>,
}

/// What a member of an npm workspace has besides what every package has.
#[derive(Clone, Debug)]
pub(crate) struct NpmPackage {
    /// Whether it has a `node_modules` of its own.
    pub(crate) installed: bool,
    /// Outputs of `build`, relative to the package.
    pub(crate) outputs: Vec<String>,
    /// Files besides the outputs of `build` that dependents look at, as patterns relative to the package.
    pub(crate) interface: Vec<String>,
    /// Whether git ignores `coverage`.
    pub(crate) coverage: bool,
}

/// Where `workspaces` stands in `package.json`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Members {
    List(Vec<String>),
    Object {
        #[serde(default)]
        packages: Vec<String>,
    },
}

/// Files at the root that build tools look up from a package's directory, besides what begins with one of [`SHARED_PREFIXES`].
const SHARED_FILES: [&str; 14] = [
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "yarn.lock",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".nvmrc",
    ".node-version",
    ".browserslistrc",
    ".editorconfig",
    "biome.json",
];

/// Beginnings of the names of such files.
const SHARED_PREFIXES: [&str; 18] = [
    "tsconfig",
    "jsconfig",
    ".babelrc",
    "babel.config",
    ".eslintrc",
    ".eslintignore",
    "eslint.config",
    ".prettierrc",
    ".prettierignore",
    "prettier.config",
    "jest.config",
    "vitest.config",
    "vitest.workspace",
    "vite.config",
    "postcss.config",
    "tailwind.config",
    ".swcrc",
    "rollup.config",
];

/// Finds the members of a workspace, or the single package at the root. None if there is no `package.json`.
pub(crate) fn discover(discovery: &mut Discovery<'_>) -> Option<NpmRoot> {
    let source = discovery.read("package.json")?;
    let manifest = match parse(&source) {
        Ok(manifest) => manifest,
        Err(problem) => {
            discovery.problems.push(problem);
            return None;
        }
    };
    let entries = discovery.list("");
    let has = |name: &str| entries.binary_search_by(|(entry, _)| entry.as_str().cmp(name)).is_ok();
    let pnpm = if has("pnpm-workspace.yaml") { discovery.read("pnpm-workspace.yaml") } else { None };
    let (manager, patterns) = match (&pnpm, &manifest.workspaces) {
        (Some(source), _) => (Manager::Pnpm, pnpm_members(source, &mut discovery.problems)),
        (None, Some(Members::List(packages) | Members::Object { packages })) => {
            (if has("yarn.lock") { Manager::Yarn } else { Manager::Npm }, packages.clone())
        }
        (None, None) => (if has("yarn.lock") { Manager::Yarn } else { Manager::Npm }, Vec::new()),
    };
    let alone = pnpm.is_none() && manifest.workspaces.is_none();
    let ignored = Ignored::root(discovery, has(".gitignore"));
    if alone {
        if manifest.scripts.is_empty() {
            return None;
        }
        member(discovery, String::new(), &source, &ignored);
    } else {
        let listed = pnpm.as_ref().unwrap_or(&source);
        let directories = globs::expand(discovery, &patterns, "package.json", listed);
        for directory in directories.into_iter().filter(|directory| !directory.is_empty()) {
            if let Some(source) = discovery.read(&join(&directory, "package.json")) {
                member(discovery, directory, &source, &ignored);
            }
        }
    }
    link(&mut discovery.packages);
    let shared =
        |name: &str| SHARED_FILES.contains(&name) || SHARED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let shared_files = entries.iter().filter(|(name, is_directory)| !is_directory && shared(name));
    let identity = [
        "package-lock.json",
        "npm-shrinkwrap.json",
        "pnpm-lock.yaml",
        "yarn.lock",
        "node_modules/.package-lock.json",
        "node_modules/.pnpm/lock.yaml",
        "node_modules/.yarn-state.yml",
    ];
    let installed = has("node_modules");
    let root = NpmRoot {
        manager,
        shared_files: shared_files.map(|(name, _)| name.clone()).collect(),
        installed,
        identity: identity.into_iter().filter(|path| discovery.root.join(path).is_file()).map(str::to_owned).collect(),
    };
    for path in &identity[4..] {
        discovery.config_files.push(discovery.root.join(path));
    }
    if !installed && has(".pnp.cjs") {
        discovery
            .warnings
            .push("yarn's Plug'n'Play is not supported: set `nodeLinker: node-modules` in .yarnrc.yml".into());
    } else if !installed && !root.identity.is_empty() {
        let command = match manager {
            Manager::Pnpm => "pnpm install --frozen-lockfile",
            Manager::Yarn => "yarn install",
            _ => "npm ci",
        };
        discovery.warnings.push(format!("there is no node_modules: run `{command}` first"));
    }
    Some(root)
}

pub(super) fn parse(source: &Arc<SourceText>) -> Result<Manifest, Problem> {
    serde_json::from_str(source.text.trim_start_matches('\u{feff}')).map_err(|error| {
        let span = Span { line: error.line().max(1), column: error.column().max(1), length: 1 };
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
        Problem::new(ProblemKind::Syntax { format: "JSON", reason }).at(Location::new(source, span))
    })
}

/// The `packages` of `pnpm-workspace.yaml`; its other keys are pnpm's own.
fn pnpm_members(source: &Arc<SourceText>, problems: &mut Vec<Problem>) -> Vec<String> {
    let node = match yaml::parse(source) {
        Ok(node) => node,
        Err(problem) => {
            problems.push(problem);
            return Vec::new();
        }
    };
    let yaml::Value::Mapping(entries) = node.value else { return Vec::new() };
    let Some((_, packages)) = entries.into_iter().find(|(key, _)| key.text == "packages") else { return Vec::new() };
    let yaml::Value::Sequence(items) = packages.value else { return Vec::new() };
    let text = |node: yaml::Node| if let yaml::Value::Scalar { text, .. } = node.value { Some(text) } else { None };
    items.into_iter().filter_map(text).collect()
}

/// What git ignores, for telling outputs from sources.
pub(super) struct Ignored {
    root: Gitignore,
    /// Whether there is a `.gitignore` at the root at all.
    present: bool,
}

impl Ignored {
    fn root(discovery: &mut Discovery<'_>, present: bool) -> Self {
        let path = discovery.root.join(".gitignore");
        let root = if present { Gitignore::new(&path).0 } else { Gitignore::empty() };
        discovery.config_files.push(path);
        Self { root, present }
    }

    /// Whether git ignores the directory or file `path` of package `directory`, whose own `.gitignore` is `own`.
    pub(super) fn is_ignored(&self, directory: &str, own: Option<&Gitignore>, path: &str) -> bool {
        use ignore::Match;
        let matched = own.map_or(Match::None, |own| own.matched_path_or_any_parents(path, true));
        match matched {
            Match::Ignore(_) => true,
            Match::Whitelist(_) => false,
            Match::None if !self.present && own.is_none() => {
                matches!(path.split('/').next(), Some("dist" | "build" | "out" | "coverage"))
            }
            Match::None => self.root.matched_path_or_any_parents(join(directory, path), true).is_ignore(),
        }
    }
}

fn member(discovery: &mut Discovery<'_>, directory: String, source: &Arc<SourceText>, ignored: &Ignored) {
    let manifest = match parse(source) {
        Ok(manifest) => manifest,
        Err(problem) => {
            discovery.problems.push(problem);
            return;
        }
    };
    let entries = if directory.is_empty() { Vec::new() } else { discovery.list(&directory) };
    let root = discovery.root;
    let has = |name: &str| {
        if directory.is_empty() {
            root.join(name).exists()
        } else {
            entries.binary_search_by(|(entry, _)| entry.as_str().cmp(name)).is_ok()
        }
    };
    let own = (!directory.is_empty() && has(".gitignore")).then(|| {
        let path = root.join(&directory).join(".gitignore");
        discovery.config_files.push(path.clone());
        Gitignore::new(path).0
    });
    let typescript = has("tsconfig.json");
    let compiler = if typescript { npm_outputs::typescript(discovery, &directory) } else { None };
    let is_ignored = |path: &str| ignored.is_ignored(&directory, own.as_ref(), path);
    let (outputs, interface) = npm_outputs::infer(&manifest, compiler.as_ref(), &is_ignored);
    let name: Arc<str> = match &manifest.name {
        Some(name) => name.as_str().into(),
        None if directory.is_empty() => "root".into(),
        None => directory.rsplit('/').next().unwrap_or_default().into(),
    };
    let tasks = tasks(&name, &manifest);
    let facts = NpmPackage { installed: has("node_modules"), outputs, interface, coverage: is_ignored("coverage") };
    let dependencies = manifest.dependencies();
    discovery.packages.push(Package {
        name,
        kind: PackageKind::Npm,
        language: Some(if typescript { "ts" } else { "js" }.into()),
        version: manifest.version,
        tags: BTreeSet::new(),
        dependencies,
        tasks,
        sources: None,
        output_dir: None,
        facts: Facts::Npm(facts),
        origin: Origin::Manifest(join(&directory, "package.json")),
        declared_dependencies: Vec::new(),
        directory,
    });
}

/// One task per script; scripts `preX` and `postX` of a script `X` belong to its task.
fn tasks(package: &Arc<str>, manifest: &Manifest) -> BTreeMap<Arc<str>, Task> {
    let scripts = &manifest.scripts;
    let is_hook = |name: &str| {
        ["pre", "post"].iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| scripts.contains_key(rest)))
    };
    let mut tasks = BTreeMap::new();
    for (name, script) in scripts.iter().filter(|(name, _)| !is_hook(name)) {
        let commands = [scripts.get(&format!("pre{name}")), Some(script), scripts.get(&format!("post{name}"))];
        let task: Arc<str> = name.as_str().into();
        tasks.insert(
            Arc::clone(&task),
            Task {
                name: buildnet_event::TaskName { package: Arc::clone(package), task },
                commands: commands.into_iter().flatten().filter(|script| !script.trim().is_empty()).cloned().collect(),
                depends_on: Vec::new(),
                inputs: None,
                outputs: None,
                options: TaskOptions::default(),
                declared: false,
            },
        );
    }
    tasks
}

/// Leaves of each package's dependencies those that are members.
fn link(packages: &mut [Package]) {
    let names: BTreeSet<Arc<str>> = packages.iter().map(|package| Arc::clone(&package.name)).collect();
    for package in packages {
        let own = Arc::clone(&package.name);
        package.dependencies.retain(|dependency| *dependency != own);
        package.dependencies = package.dependencies.iter().filter_map(|name| names.get(name).cloned()).collect();
    }
}
