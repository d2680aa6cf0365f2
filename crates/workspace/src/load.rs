//! Loading: discovery, then `buildnet.yaml` over it, then the check of the whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use buildnet_event::TaskName;

use crate::config::{self, ConfigFile, Overrides, PackageConfig, Settings, SettingsOverride, TaskConfig, UserFile};
use crate::decode::Spanned;
use crate::discover::{Discovery, cargo, npm};
use crate::error::{Problem, ProblemKind, WorkspaceErrors};
use crate::model::{DependsOn, Facts, Manager, Origin, Package, PackageKind, Task, Workspace};
use crate::task_graph::TaskIndex;
use crate::text::Location;
use crate::{check, normalize, paths, suggest};

impl Workspace {
    /// Reads the workspace at `root`, which [`crate::find_root`] gives. `user_config` is the user's own settings file, if the
    /// caller knows a place for one; it may not exist.
    ///
    /// # Errors
    /// All that is wrong with files and configuration, together.
    pub fn load(root: &Path, user_config: Option<&Path>, overrides: &Overrides) -> Result<Self, WorkspaceErrors> {
        let unreadable = |error: std::io::Error| {
            let (path, reason) = (root.display().to_string(), error.to_string());
            WorkspaceErrors::from(Problem::new(ProblemKind::Unreadable { path, reason }))
        };
        let root = std::fs::canonicalize(root).map_err(unreadable)?;
        let mut discovery = Discovery::new(&root);
        let source = discovery.read(config::FILE_NAME);
        let mut file: ConfigFile =
            source.as_ref().map(|source| config::decode(source, &mut discovery.problems)).unwrap_or_default();
        normalize::file(&mut file, &mut discovery.problems);
        let user = user_settings(user_config, &mut discovery);
        let environment = SettingsOverride::from_environment(&overrides.environment, &mut discovery.problems);
        let workspace_settings = anchored(SettingsOverride::from_workspace(&file), Some(&root));
        let settings = Settings::resolve([overrides.flags.clone(), environment, workspace_settings, user]);

        let (mut npm, mut cargo, mut managers) = (None, None, Vec::new());
        if file.discover != Some(false) {
            npm = npm::discover(&mut discovery);
            cargo = cargo::discover(&mut discovery);
        }
        managers.extend(npm.as_ref().map(|npm| npm.manager));
        managers.extend(cargo.as_ref().map(|_| Manager::Cargo));
        managers.extend(source.as_ref().map(|_| Manager::BuildNet));
        let Discovery { packages: found, mut config_files, mut problems, warnings, .. } = discovery;
        if managers.is_empty() && problems.is_empty() {
            let hint = "write a `buildnet.yaml`; `buildnet init` proposes one";
            return Err(Problem::new(ProblemKind::NoWorkspace(root)).hint(hint).into());
        }
        let mut packages = collect(found, &root, &mut problems);
        declare(&mut packages, &file, &root, &mut config_files, &mut problems);
        apply_pipeline(&mut packages, &file);
        check::packages(&packages, &mut problems);
        let index = TaskIndex::new(&packages, &root, &mut problems);
        config_files.sort_unstable();
        config_files.dedup();
        let workspace = Self {
            root,
            packages,
            settings,
            managers,
            config_files,
            warnings,
            npm,
            cargo,
            global_inputs: file.global_inputs.into_iter().map(|pattern| pattern.value).collect(),
            cargo_home: overrides.cargo_home.clone(),
            rustup_home: overrides.rustup_home.clone(),
            index,
        };
        check::outputs(&workspace, &mut problems);
        if problems.is_empty() {
            return Ok(workspace);
        }
        // In the order of the files; what has no place comes last.
        let place = |problem: &Problem| {
            let location = problem.location.as_ref().or_else(|| problem.notes.first().map(|(_, location)| location));
            location.map(|location| (location.source.path.clone(), location.span))
        };
        problems.sort_by_cached_key(|problem| (place(problem).is_none(), place(problem)));
        Err(WorkspaceErrors { problems })
    }
}

/// The settings in force for the workspace at `root`, without looking at its packages; without a root those of the user and the
/// environment alone.
///
/// # Errors
/// What is wrong with the settings files.
pub fn load_settings(
    root: Option<&Path>,
    user_config: Option<&Path>,
    overrides: &Overrides,
) -> Result<Settings, WorkspaceErrors> {
    let mut discovery = Discovery::new(root.unwrap_or(Path::new("/")));
    let source = root.and_then(|_| discovery.read(config::FILE_NAME));
    let file: ConfigFile =
        source.as_ref().map(|source| config::decode(source, &mut discovery.problems)).unwrap_or_default();
    let user = user_settings(user_config, &mut discovery);
    let environment = SettingsOverride::from_environment(&overrides.environment, &mut discovery.problems);
    let workspace = anchored(SettingsOverride::from_workspace(&file), root);
    if discovery.problems.is_empty() {
        Ok(Settings::resolve([overrides.flags.clone(), environment, workspace, user]))
    } else {
        Err(WorkspaceErrors { problems: discovery.problems })
    }
}

/// Relative paths start at the directory of the file that says them.
fn anchored(mut settings: SettingsOverride, directory: Option<&Path>) -> SettingsOverride {
    if let (Some(cache), Some(directory)) = (&mut settings.cache_dir, directory) {
        *cache = directory.join(&cache);
    }
    if let Some(directory) = directory {
        settings.daemon = settings.daemon.anchored(directory);
        settings.tls = settings.tls.anchored(directory);
    }
    settings
}

fn user_settings(path: Option<&Path>, discovery: &mut Discovery<'_>) -> SettingsOverride {
    let Some(path) = path else { return SettingsOverride::default() };
    discovery.config_files.push(path.to_path_buf());
    match config::read(path, &path.display().to_string()) {
        Ok(None) => SettingsOverride::default(),
        Ok(Some(source)) => {
            let file: UserFile = config::decode(&source, &mut discovery.problems);
            anchored(SettingsOverride::from_user(&file), path.parent())
        }
        Err(problem) => {
            discovery.problems.push(problem);
            SettingsOverride::default()
        }
    }
}

type Packages = BTreeMap<Arc<str>, Package>;

fn collect(found: Vec<Package>, root: &Path, problems: &mut Vec<Problem>) -> Packages {
    let mut packages = Packages::new();
    for package in found {
        if let Some(first) = packages.get(&package.name) {
            let mut problem = Problem::new(ProblemKind::DuplicatePackage(package.name.to_string()))
                .at(package.origin.locate(root, &package.name))
                .note("the first is here", first.origin.locate(root, &package.name));
            problem.hint = Some("rename one of them, or leave one out of the workspace's members".into());
            problems.push(problem);
            continue;
        }
        packages.insert(Arc::clone(&package.name), package);
    }
    packages
}

/// Lays the packages of `buildnet.yaml` over the discovered ones.
fn declare(
    packages: &mut Packages,
    file: &ConfigFile,
    root: &Path,
    config_files: &mut Vec<std::path::PathBuf>,
    problems: &mut Vec<Problem>,
) {
    let mut declared: BTreeMap<&str, &Location> = BTreeMap::new();
    for Spanned { value: config, location } in &file.packages {
        let Some(name) = &config.name else {
            let kind = ProblemKind::MissingKey { key: "name", context: "a package".into() };
            problems.push(Problem::new(kind).at(location.clone()).hint("give the package a `name`"));
            continue;
        };
        if name.value.is_empty() || name.value.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':') {
            let kind = ProblemKind::InvalidValue { value: name.value.clone(), expected: "package name".into() };
            let hint = "a name has neither spaces nor colons and is not empty";
            problems.push(Problem::new(kind).at(name.location.clone()).hint(hint));
            continue;
        }
        if let Some(first) = declared.insert(&name.value, &name.location) {
            problems.push(
                Problem::new(ProblemKind::DuplicatePackage(name.value.clone()))
                    .at(name.location.clone())
                    .note("the first is here", Some(first.clone()))
                    .hint("rename one of them"),
            );
            continue;
        }
        if !packages.contains_key(name.value.as_str()) {
            let directory = config.path.as_ref().map_or(name.value.as_str(), |path| &path.value);
            // A wrong `path` was reported where it stands.
            let directory = match paths::normalize(directory) {
                Ok(directory) => directory,
                Err(kind) if config.path.is_none() => {
                    problems.push(Problem::new(kind).at(name.location.clone()).hint("give the package a `path`"));
                    continue;
                }
                Err(_) => continue,
            };
            let absolute = root.join(&directory);
            if !absolute.is_dir() {
                let at = config.path.as_ref().map_or(&name.location, |path| &path.location).clone();
                let kind = ProblemKind::MissingDirectory { package: name.value.clone(), path: directory.clone() };
                problems.push(Problem::new(kind).at(at).hint("create it, or correct the package's `path`"));
            }
            config_files.push(absolute);
            let package = new_package(name, directory);
            packages.insert(Arc::clone(&package.name), package);
        }
        if let Some(package) = packages.get_mut(name.value.as_str()) {
            override_package(package, config, problems);
        }
    }
}

fn new_package(name: &Spanned<String>, directory: String) -> Package {
    Package {
        name: name.value.as_str().into(),
        directory,
        kind: PackageKind::Declared,
        language: None,
        version: None,
        tags: std::collections::BTreeSet::new(),
        dependencies: Vec::new(),
        tasks: BTreeMap::new(),
        sources: None,
        output_dir: None,
        facts: Facts::Declared,
        origin: Origin::Declared(name.location.clone()),
        declared_dependencies: Vec::new(),
    }
}

fn override_package(package: &mut Package, config: &PackageConfig, problems: &mut Vec<Problem>) {
    if let (Some(path), false) = (&config.path, package.kind == PackageKind::Declared)
        && path.value != package.directory
    {
        let second = format!("{} (in buildnet.yaml)", package.name);
        let kind = ProblemKind::InvalidValue { value: path.value.clone(), expected: format!("path of {second}") };
        let hint = format!("the package was discovered in `{}`; leave `path` out", package.directory);
        problems.push(Problem::new(kind).at(path.location.clone()).hint(hint));
    }
    package.language = config.language.as_deref().map(Arc::from).or_else(|| package.language.take());
    package.tags.extend(config.tags.iter().cloned());
    package.sources = config.sources.clone().or_else(|| package.sources.take());
    package.output_dir = config.output_dir.clone().or_else(|| package.output_dir.take());
    package.declared_dependencies.extend(config.dependencies.iter().cloned());
    for dependency in &config.dependencies {
        package.dependencies.push(dependency.value.as_str().into());
    }
    package.dependencies.sort_unstable();
    package.dependencies.dedup();
    if let Some(commands) = &config.build_cmd {
        let task = task_of(package, "build");
        task.commands.clone_from(&commands.value.0);
        task.declared = true;
    }
    for (name, task_config) in &config.tasks {
        override_task(task_of(package, name), &task_config.value);
    }
    let mut options = config.options();
    let hooks = options.hooks.take();
    for (name, task) in &mut package.tasks {
        // What the task says itself goes before what its package says of all tasks.
        let own = std::mem::replace(&mut task.options, options.clone());
        if &**name == "build" {
            task.options.hooks.clone_from(&hooks);
        }
        task.options.overlay(own);
    }
}

fn task_of<'p>(package: &'p mut Package, name: &str) -> &'p mut Task {
    let task: Arc<str> = name.into();
    let full = TaskName { package: Arc::clone(&package.name), task: Arc::clone(&task) };
    package.tasks.entry(task).or_insert_with(|| Task {
        name: full,
        commands: Vec::new(),
        depends_on: Vec::new(),
        inputs: None,
        outputs: None,
        options: config::TaskOptions::default(),
        declared: true,
    })
}

fn override_task(task: &mut Task, config: &TaskConfig) {
    task.declared = true;
    if let Some(command) = &config.command {
        task.commands.clone_from(&command.value.0);
    }
    if let Some(depends_on) = &config.depends_on {
        task.depends_on = depends_on
            .iter()
            .map(|text| DependsOn { text: text.value.clone(), location: Some(text.location.clone()) })
            .collect();
        // An empty list is a statement too: nothing comes first.
        if depends_on.is_empty() {
            task.depends_on.push(DependsOn { text: "^".into(), location: None });
        }
    }
    task.inputs = config.inputs.clone().or_else(|| task.inputs.take());
    task.outputs = config.outputs.clone().or_else(|| task.outputs.take());
    task.options.overlay(config.options());
}

/// Puts the workspace's tasks under those of the packages, and the defaults under both.
fn apply_pipeline(packages: &mut Packages, file: &ConfigFile) {
    for package in packages.values_mut() {
        for (name, Spanned { value: config, .. }) in &file.tasks {
            if config.command.is_some() && !package.tasks.contains_key(name.as_str()) {
                task_of(package, name);
            }
        }
        for task in package.tasks.values_mut() {
            if let Some(Spanned { value: config, .. }) = file.tasks.get(&*task.name.task) {
                task.declared = true;
                if let (true, Some(command)) = (task.commands.is_empty(), &config.command) {
                    task.commands.clone_from(&command.value.0);
                }
                if let (true, Some(depends_on)) = (task.depends_on.is_empty(), &config.depends_on) {
                    task.depends_on =
                        depends_on.iter().map(|text| DependsOn { text: text.value.clone(), location: None }).collect();
                    if depends_on.is_empty() {
                        task.depends_on.push(DependsOn { text: "^".into(), location: None });
                    }
                }
                task.inputs = task.inputs.take().or_else(|| config.inputs.clone());
                task.outputs = task.outputs.take().or_else(|| config.outputs.clone());
                let own = std::mem::replace(&mut task.options, config.options());
                task.options.overlay(own);
            }
            if task.depends_on.is_empty() {
                let defaults = default_depends_on(&task.name.task);
                task.depends_on =
                    defaults.iter().map(|&text| DependsOn { text: text.into(), location: None }).collect();
            }
        }
    }
}

/// What comes before a task about which nothing is said.
fn default_depends_on(task: &str) -> &'static [&'static str] {
    match task {
        "build" | "lint" | "check" | "check-types" | "typecheck" | "type-check" => &["^build"],
        "test" => &["build", "^build"],
        _ => &[],
    }
}

/// The problem of a dependency on a package that is not there.
pub(crate) fn missing_dependency(package: &Package, dependency: &Spanned<String>, packages: &Packages) -> Problem {
    let kind =
        ProblemKind::MissingDependency { package: package.name.to_string(), dependency: dependency.value.clone() };
    let mut problem = Problem::new(kind).at(dependency.location.clone());
    problem.hint =
        suggest::hint(&dependency.value, packages.keys().map(|name| &**name).filter(|name| *name != &*package.name));
    problem
}
