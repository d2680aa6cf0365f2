//! Lowering: from packages and tasks to what the engine builds.

mod cargo;
mod npm;
mod rust;

use std::collections::BTreeMap;
use std::sync::Arc;

use buildnet_engine::build::{ActionSpec, EnvSource, InputGroup, Plan};
use buildnet_event::TaskName;

use crate::config::Commands;
use crate::decode::Spanned;
use crate::error::{Problem, ProblemKind, WorkspaceErrors};
use crate::model::{Facts, Package, Task, Workspace, join};
use crate::normalize::DEFAULT_INPUTS;
use crate::{paths, suggest};

/// What to build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The task, such as `build`.
    pub task: String,
    /// The packages; all that have the task if empty. A name may be given as `package:task`, which names another task.
    pub packages: Vec<String>,
}

impl Workspace {
    /// Lowers the requested tasks and all that they wait for.
    ///
    /// # Errors
    /// Packages and tasks that do not exist, all together.
    pub fn plan(&self, request: &Request) -> Result<Plan, WorkspaceErrors> {
        let requested = self.requested(request)?;
        let ids = requested.iter().filter_map(|name| self.index.id(name));
        let lowering = Lowering::new(self);
        let specs = self.index.closure(ids).into_iter().map(|id| lowering.spec(id));
        let mut tasks: BTreeMap<TaskName, ActionSpec> = specs.map(|spec| (spec.name.clone(), spec)).collect();
        for spec in npm::interfaces(self, &tasks) {
            tasks.insert(spec.name.clone(), spec);
        }
        Ok(Plan { root: self.root.clone(), tasks, requested })
    }

    /// The tasks that a request names, sorted.
    pub fn requested(&self, request: &Request) -> Result<Vec<TaskName>, WorkspaceErrors> {
        let task: Arc<str> = request.task.as_str().into();
        let mut found = Vec::new();
        let mut problems = Vec::new();
        if request.packages.is_empty() {
            found.extend(
                self.packages.values().filter_map(|package| package.tasks.get(&task)).map(|task| task.name.clone()),
            );
            if found.is_empty() {
                let mut problem = Problem::new(ProblemKind::NoTask(request.task.clone()));
                let known: std::collections::BTreeSet<&str> =
                    self.packages.values().flat_map(|package| package.tasks.keys().map(|task| &**task)).collect();
                problem.hint = suggest::hint(&request.task, known);
                problems.push(problem);
            }
        }
        for wanted in &request.packages {
            let (name, task) = match wanted.split_once(':') {
                Some((name, task)) if !self.packages.contains_key(wanted.as_str()) => (name, Arc::from(task)),
                _ => (wanted.as_str(), Arc::clone(&task)),
            };
            let Some(package) = self.packages.get(name) else {
                let mut problem = Problem::new(ProblemKind::NoPackage(name.into()));
                problem.hint = suggest::hint(name, self.packages.keys().map(|name| &**name));
                problems.push(problem);
                continue;
            };
            if let Some(task) = package.tasks.get(&task) {
                found.push(task.name.clone());
            } else {
                let kind = ProblemKind::NoTaskInPackage { package: name.into(), task: task.to_string() };
                let mut problem = Problem::new(kind);
                problem.hint = suggest::hint(&task, package.tasks.keys().map(|task| &**task));
                problems.push(problem);
            }
        }
        found.sort_unstable();
        found.dedup();
        if problems.is_empty() { Ok(found) } else { Err(WorkspaceErrors { problems }) }
    }
}

/// Outputs of a task, relative to the root and sorted.
pub(crate) fn outputs(package: &Package, task: &Task) -> Vec<String> {
    let is_build = &*task.name.task == "build";
    let mut found: Vec<String> = match (&task.outputs, &package.output_dir, &package.facts) {
        (Some(outputs), ..) => outputs.iter().map(|output| package.join(&output.value)).collect(),
        (None, Some(directory), _) if is_build => vec![package.join(&directory.value)],
        (None, _, Facts::Npm(facts)) => npm::outputs(package, facts, task),
        (None, _, Facts::Cargo(facts)) if is_build => cargo::outputs(facts),
        _ => Vec::new(),
    };
    found.sort_unstable();
    found.dedup();
    found
}

/// The state of lowering one plan.
struct Lowering<'w> {
    workspace: &'w Workspace,
    /// Directories of all packages, sorted.
    directories: Vec<&'w str>,
}

impl<'w> Lowering<'w> {
    fn new(workspace: &'w Workspace) -> Self {
        let mut directories: Vec<&str> =
            workspace.packages.values().map(|package| package.directory.as_str()).collect();
        directories.sort_unstable();
        directories.dedup();
        Self { workspace, directories }
    }

    fn spec(&self, id: u32) -> ActionSpec {
        let workspace = self.workspace;
        let name = &workspace.index.names[id as usize];
        let package = &workspace.packages[&name.package];
        let task = &package.tasks[&name.task];
        let mut spec = ActionSpec::new(name.clone(), package.directory.clone());
        let options = &task.options;
        if !task.commands.is_empty() {
            let hooks = options.hooks.clone().unwrap_or_default();
            let (before, after) = (hooks.pre_build.unwrap_or_default(), hooks.post_build.unwrap_or_default());
            spec.commands =
                [before, Commands(task.commands.clone()), after].into_iter().flat_map(|commands| commands.0).collect();
        }
        spec.outputs = outputs(package, task);
        let direct = workspace.index.edges[id as usize].iter();
        spec.dependencies = direct.map(|&id| workspace.index.names[id as usize].clone()).collect();
        self.inputs(package, task, &mut spec);
        for name in &options.inherit_env {
            spec.environment.insert(name.clone(), EnvSource::Inherit);
        }
        for (name, value) in &options.env {
            spec.environment.insert(name.clone(), EnvSource::Value(value.clone()));
        }
        spec.toolchains.clone_from(&options.toolchains);
        spec.platform.clone_from(&options.platform);
        spec.timeout = options.timeout.map(|timeout| timeout.0);
        spec.memory = options.memory.map(|memory| memory.0);
        spec.state = options.state.iter().map(|path| package.join(&path.value)).collect();
        spec.retries = options.retries.unwrap_or(spec.retries);
        spec.cpus = options.cpus.unwrap_or(spec.cpus).max(1);
        spec.network = options.network.unwrap_or(false);
        spec.sandbox = workspace.settings.sandbox;
        match &package.facts {
            Facts::Npm(facts) => npm::lower(workspace, package, facts, task, &mut spec),
            Facts::Cargo(facts) => cargo::lower(workspace, package, facts, task, &mut spec),
            Facts::Declared => {}
        }
        rust::lower(workspace, &mut spec);
        spec.sandbox = options.sandbox.map_or(spec.sandbox, |choice| choice.0);
        spec.cache = options.cache.unwrap_or(spec.cache);
        spec
    }

    fn inputs(&self, package: &Package, task: &Task, spec: &mut ActionSpec) {
        let mut patterns = Patterns::default();
        let default = |patterns: &mut Patterns| match &package.sources {
            Some(sources) => patterns.add(sources, |patterns| patterns.package.0.push("**/*".into())),
            None => patterns.package.0.push("**/*".into()),
        };
        match &task.inputs {
            Some(inputs) => patterns.add(inputs, default),
            None => default(&mut patterns),
        }
        let (include, mut exclude) = patterns.package;
        if !include.is_empty() {
            exclude.extend(self.never_inputs(package));
            spec.inputs.push(InputGroup { base: package.directory.clone(), include, exclude, gitignore: true });
        }
        let (mut include, exclude) = patterns.root;
        include.extend(self.workspace.global_inputs.iter().map(|pattern| pattern.trim_start_matches("//").to_owned()));
        if !include.is_empty() {
            spec.inputs.push(InputGroup { base: String::new(), include, exclude, gitignore: true });
        }
    }

    /// What is never an input among a package's files: its outputs and state, packages below it, and BuildNet's own directory.
    fn never_inputs(&self, package: &Package) -> Vec<String> {
        let own = |path: &str| {
            let relative = if package.directory.is_empty() { path } else { &path[package.directory.len() + 1..] };
            relative.to_owned()
        };
        let mut exclude = Vec::new();
        for task in package.tasks.values() {
            for output in outputs(package, task) {
                if package.directory.is_empty() || output.starts_with(&format!("{}/", package.directory)) {
                    let output = own(&output);
                    exclude.push(format!("{output}/**"));
                    exclude.push(output);
                }
            }
            exclude.extend(task.options.state.iter().map(|path| format!("{}/**", path.value)));
        }
        let from = self.directories.partition_point(|directory| *directory <= package.directory.as_str());
        let below = self.directories[from..]
            .iter()
            .take_while(|directory| package.directory.is_empty() || directory.starts_with(package.directory.as_str()));
        for directory in below.filter(|directory| paths::is_within(directory, &package.directory)) {
            exclude.push(format!("{}/**", paths::escape_glob(&own(directory))));
        }
        match package.facts {
            Facts::Npm(_) => exclude.push("**/node_modules/**".into()),
            Facts::Cargo(_) => exclude.push("target/**".into()),
            Facts::Declared => {}
        }
        if package.directory.is_empty() {
            exclude.push(".buildnet/**".into());
        }
        exclude.sort_unstable();
        exclude.dedup();
        exclude
    }
}

/// Include and exclude patterns, relative to the package and to the root.
#[derive(Default)]
struct Patterns {
    package: (Vec<String>, Vec<String>),
    root: (Vec<String>, Vec<String>),
}

impl Patterns {
    fn add(&mut self, patterns: &[Spanned<String>], default: impl Fn(&mut Self)) {
        for pattern in patterns {
            if pattern.value == DEFAULT_INPUTS {
                default(self);
                continue;
            }
            let (exclude, rest) = match pattern.value.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, pattern.value.as_str()),
            };
            let (lists, rest) = match rest.strip_prefix("//") {
                Some(rest) => (&mut self.root, rest),
                None => (&mut self.package, rest),
            };
            let list = if exclude { &mut lists.1 } else { &mut lists.0 };
            if !paths::has_wildcard(rest) {
                // The path of a directory means all that is in it.
                list.push(format!("{rest}/**"));
            }
            list.push(rest.to_owned());
        }
    }
}

/// Adds a value to the environment unless the configuration says another.
fn default_env(environment: &mut BTreeMap<String, EnvSource>, name: &str, value: &str) {
    environment.entry(name.to_owned()).or_insert_with(|| EnvSource::Value(value.to_owned()));
}

/// The absolute path of something below the root.
fn absolute(workspace: &Workspace, path: &str) -> std::path::PathBuf {
    workspace.root.join(join("", path))
}
