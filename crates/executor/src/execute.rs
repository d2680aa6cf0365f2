//! Runs one command over an execution root.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_cas::Store;
use buildnet_digest::stat::{Root, Stamp};
use buildnet_digest::tree::Node;
use buildnet_sandbox::{
    CancelHandle, Limits, Mode, Mount, MountKind, Request, Status, Trace, Usage, default_host_dirs,
};

use crate::collect::{self, Collection};
use crate::error::ExecutorError;
use crate::outputs::Outputs;
use crate::place::{Placed, place};
use crate::root::ExecutionRoot;
use crate::scratch::Scratch;

/// Where a confined command finds the workspace: the same place for every checkout, so that paths in outputs do not differ.
pub const EXECUTION_ROOT: &str = "/buildnet/work";

/// One input of an action.
#[derive(Clone, Debug)]
pub struct Input {
    /// Path relative to the workspace root.
    pub path: String,
    /// What it is.
    pub node: Node,
    /// For a source file in the workspace: its stat data when it was hashed. None: the content comes from the store.
    pub source: Option<Stamp>,
}

/// A tree of the host that the command sees read-only.
#[derive(Clone, Debug)]
pub struct HostMount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute, or relative to the workspace root.
    pub target: PathBuf,
}

/// A directory that survives from run to run.
#[derive(Clone, Debug)]
pub struct StateDir {
    /// Path relative to the workspace root, as the command sees it.
    pub path: String,
    /// Where a confined command's state really lies: absolute.
    pub host: PathBuf,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment but `PATH`, which is made of `path`.
    pub environment: Vec<(String, String)>,
    /// Directories on PATH: absolute, or relative to the workspace root.
    pub path: Vec<String>,
    /// Directories that must exist, relative to the workspace root. The command starts in the root itself.
    pub directories: Vec<String>,
    /// Inputs, parents in any order.
    pub inputs: Vec<Input>,
    /// Read-only trees of the host.
    pub host_mounts: Vec<HostMount>,
    /// Declared outputs, relative to the workspace root; globs in the last segment.
    pub outputs: Vec<String>,
    /// State directories.
    pub state: Vec<StateDir>,
    /// How strictly it is confined.
    pub mode: Mode,
    /// Whether it may use the network.
    pub network: bool,
    /// Bounds.
    pub limits: Limits,
    /// Whether to record which files it looks for.
    pub trace: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Executed {
    /// How the command ended.
    pub status: Status,
    /// What it used.
    pub usage: Usage,
    /// What it made, stored already; empty unless it succeeded.
    pub outputs: Outputs,
    /// Declared outputs that it did not make.
    pub missing: Vec<String>,
    /// Paths relative to the workspace root that it wrote without declaring them; at most 20. They are discarded.
    pub undeclared: Vec<String>,
    /// With a trace: workspace paths that it looked for and did not find, relative to the workspace root.
    pub sought: Vec<String>,
    /// With a trace, unconfined: workspace paths that it opened, relative to the workspace root.
    pub opened: Vec<String>,
    /// Whether a state directory held something before.
    pub had_state: bool,
    staged: Vec<(String, PathBuf)>,
    /// Keeps staged outputs until they are placed.
    _root: Option<ExecutionRoot>,
}

impl Executed {
    /// Makes the workspace hold exactly the outputs of this run where it held `previous`.
    pub fn place(&self, executor: &Executor, previous: Option<&Placed>) -> Result<Placed, ExecutorError> {
        let staged = |path: &str| {
            let index = self.staged.binary_search_by(|(staged, _)| staged.as_str().cmp(path)).ok()?;
            Some(self.staged[index].1.clone())
        };
        place(&executor.store, &executor.workspace, &self.outputs, previous, &staged)
    }
}

/// Runs actions of one workspace.
#[derive(Clone, Debug)]
pub struct Executor {
    store: Store,
    workspace: Arc<Root>,
    /// On the workspace's file system, so that outputs can be moved into place.
    scratch: Arc<Scratch>,
}

impl Executor {
    /// An executor that keeps its execution roots in `scratch`, and copies of inputs in `memory`, a directory of a file system in
    /// memory if there is one. What dead processes left in either is removed.
    pub fn new(
        store: Store,
        workspace: Arc<Root>,
        scratch: &Path,
        memory: Option<&Path>,
    ) -> Result<Self, ExecutorError> {
        let scratch = Scratch::open(scratch, memory)?;
        Ok(Self { store, workspace, scratch: Arc::new(scratch) })
    }

    /// The store that outputs go to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The workspace.
    pub fn workspace(&self) -> &Root {
        &self.workspace
    }

    /// Runs a command and stores its outputs if it succeeds. Blocks until it ended.
    ///
    /// `log` gets its standard output and error in the order written.
    pub fn execute(
        &self,
        execution: &Execution,
        log: &mut (dyn FnMut(&[u8]) + Send),
        cancel: &CancelHandle,
    ) -> Result<Executed, ExecutorError> {
        match execution.mode {
            Mode::Strict => self.confined(execution, log, cancel),
            Mode::Warn | Mode::Off => self.in_workspace(execution, log, cancel),
        }
    }

    /// Over an execution root of its own.
    fn confined(
        &self,
        execution: &Execution,
        log: &mut (dyn FnMut(&[u8]) + Send),
        cancel: &CancelHandle,
    ) -> Result<Executed, ExecutorError> {
        let mut root = ExecutionRoot::create(Scratch::slot(&self.scratch), &execution.inputs)?;
        let mut directories = execution.directories.clone();
        directories.extend(execution.outputs.iter().filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned())));
        directories.extend(execution.state.iter().map(|state| state.path.clone()));
        directories.extend(relative_targets(execution));
        let times = !execution.state.is_empty();
        root.fill(&self.store, &self.workspace, &execution.inputs, &directories, times)?;

        let inside = Path::new(EXECUTION_ROOT);
        let overlay = MountKind::Overlay { upper: root.upper(), work: root.work() };
        let mut mounts = vec![Mount { source: root.lower().to_owned(), target: inside.to_owned(), kind: overlay }];
        for input in &root.mounted {
            let target = inside.join(&input.path);
            mounts.push(Mount { source: input.source.clone(), target, kind: MountKind::ReadOnly });
        }
        for mount in &execution.host_mounts {
            let target = inside.join(&mount.target);
            mounts.push(Mount { source: mount.source.clone(), target, kind: MountKind::ReadOnly });
        }
        let mut had_state = false;
        for state in &execution.state {
            had_state |= has_entries(&state.host);
            std::fs::create_dir_all(&state.host).map_err(ExecutorError::io("create", &state.path))?;
            let target = inside.join(&state.path);
            mounts.push(Mount { source: state.host.clone(), target, kind: MountKind::ReadWrite });
        }
        let trace = execution.trace.then(|| Trace { under: inside.to_owned() });
        let exit = buildnet_sandbox::run(&request(execution, inside, mounts, trace), log, cancel)?;

        let upper = root.upper();
        let locate =
            |path: &str| match execution.state.iter().find_map(|state| below(path, &state.path).zip(Some(state))) {
                Some((rest, state)) => state.host.join(rest),
                None => upper.join(path),
            };
        let collection = if exit.status.success() {
            collect::collect(&self.store, &execution.outputs, &locate)?
        } else {
            Collection::default()
        };
        // Mounted sources lie in the workspace itself: were they edited, the command may have seen the edit.
        let mounted: HashSet<&str> = root.mounted.iter().map(|input| input.path.as_str()).collect();
        for input in execution.inputs.iter().filter(|input| mounted.contains(input.path.as_str())) {
            if input.source.is_some_and(|stamp| self.workspace.stamp(&input.path) != Ok(stamp)) {
                return Err(ExecutorError::InputChanged { path: input.path.clone() });
            }
        }
        let targets: Vec<String> = relative_targets(execution).collect();
        let mut undeclared = collect::undeclared(&upper, |path| {
            targets
                .iter()
                .chain(execution.state.iter().map(|state| &state.path))
                .any(|target| below(path, target).is_some())
                || execution.outputs.iter().any(|output| below(path, output).is_some())
        });
        undeclared.retain(|path| !collection.found.iter().any(|found| found.output.path == *path));
        let strip = |paths: &[PathBuf]| relative(paths, inside);
        let (outputs, staged) = split(&upper, collection.found);
        Ok(Executed {
            status: exit.status,
            usage: exit.usage,
            outputs,
            missing: collection.missing,
            undeclared,
            sought: strip(&exit.sought),
            opened: strip(&exit.opened),
            had_state,
            staged,
            _root: Some(root),
        })
    }

    /// In the workspace itself, where everything is visible.
    fn in_workspace(
        &self,
        execution: &Execution,
        log: &mut (dyn FnMut(&[u8]) + Send),
        cancel: &CancelHandle,
    ) -> Result<Executed, ExecutorError> {
        let inside = self.workspace.path();
        let had_state = execution.state.iter().any(|state| has_entries(&inside.join(&state.path)));
        for output in &execution.outputs {
            if let Some((parent, _)) = output.rsplit_once('/') {
                let parent = inside.join(parent);
                std::fs::create_dir_all(&parent).map_err(ExecutorError::io("create", output))?;
            }
        }
        let mounts = vec![Mount { source: inside.to_owned(), target: inside.to_owned(), kind: MountKind::ReadWrite }];
        let trace = execution.trace.then(|| Trace { under: inside.to_owned() });
        let exit = buildnet_sandbox::run(&request(execution, inside, mounts, trace), log, cancel)?;
        let collection = if exit.status.success() {
            collect::collect(&self.store, &execution.outputs, &|path| inside.join(path))?
        } else {
            Collection::default()
        };
        for input in &execution.inputs {
            if input.source.is_some_and(|stamp| self.workspace.stamp(&input.path) != Ok(stamp)) {
                return Err(ExecutorError::InputChanged { path: input.path.clone() });
            }
        }
        let outputs = Outputs::new(collection.found.into_iter().map(|found| found.output).collect());
        Ok(Executed {
            status: exit.status,
            usage: exit.usage,
            // They lie where they belong: each is its own staged copy, which a rename onto itself leaves alone.
            staged: outputs.entries().iter().map(|output| (output.path.clone(), inside.join(&output.path))).collect(),
            outputs,
            missing: collection.missing,
            undeclared: Vec::new(),
            sought: relative(&exit.sought, inside),
            opened: relative(&exit.opened, inside),
            had_state,
            _root: None,
        })
    }
}

fn request(execution: &Execution, inside: &Path, mounts: Vec<Mount>, trace: Option<Trace>) -> Request {
    let path: Vec<String> = execution.path.iter().map(|entry| inside.join(entry).display().to_string()).collect();
    let mut env: Vec<(OsString, OsString)> =
        execution.environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    env.push(("PATH".into(), path.join(":").into()));
    Request {
        argv: execution.argv.iter().map(OsString::from).collect(),
        env,
        working_dir: inside.to_owned(),
        mode: execution.mode,
        mounts,
        host_dirs: default_host_dirs(execution.network),
        network: execution.network,
        limits: execution.limits,
        trace,
    }
}

/// Host mounts inside the workspace: the places that must exist before they are mounted.
fn relative_targets(execution: &Execution) -> impl Iterator<Item = String> {
    execution
        .host_mounts
        .iter()
        .filter(|mount| mount.target.is_relative())
        .filter_map(|mount| mount.target.to_str().map(str::to_owned))
}

/// Outputs, and where those lie that may be moved: what is in the overlay, but not what is in a state directory.
fn split(upper: &Path, found: Vec<collect::Found>) -> (Outputs, Vec<(String, PathBuf)>) {
    let mut staged: Vec<(String, PathBuf)> = found
        .iter()
        .filter(|found| matches!(found.output.node, Node::File { .. }) && found.host.starts_with(upper))
        .map(|found| (found.output.path.clone(), found.host.clone()))
        .collect();
    staged.sort();
    (Outputs::new(found.into_iter().map(|found| found.output).collect()), staged)
}

/// The rest of a path below a directory; empty for the directory itself.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    match path.strip_prefix(directory)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

fn relative(paths: &[PathBuf], inside: &Path) -> Vec<String> {
    let stripped = paths.iter().filter_map(|path| path.strip_prefix(inside).ok());
    stripped.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty()).collect()
}

fn has_entries(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
