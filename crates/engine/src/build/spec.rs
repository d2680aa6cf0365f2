//! What a frontend says of one task: everything that its action is made from, without any file's content.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use buildnet_event::TaskName;
use serde::{Deserialize, Serialize};

/// A set of tasks to build in one workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The workspace's root: absolute, without symlinks.
    pub root: PathBuf,
    /// Every task that may run, dependencies included, by name.
    pub tasks: BTreeMap<TaskName, ActionSpec>,
    /// The tasks that were asked for.
    pub requested: Vec<TaskName>,
}

/// How strictly a command is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// Only declared inputs are visible; where the kernel refuses something, nothing runs.
    #[default]
    Strict,
    /// Runs in the workspace with what confinement the kernel gives; undeclared reads and writes are reported.
    Warn,
    /// A plain process in the workspace.
    Off,
}

/// Where a variable of the command's environment comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EnvSource {
    /// A fixed value.
    Value(String),
    /// The variable of that name in the environment of whoever asked for the build; absent if it is absent there.
    Inherit,
}

/// A group of input files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputGroup {
    /// Directory that the patterns are relative to, itself relative to the workspace root; empty for the root.
    pub base: String,
    /// Globs of the files to take (`**/*` for all). A file is taken if any matches.
    pub include: Vec<String>,
    /// Globs of what to leave out again.
    pub exclude: Vec<String>,
    /// Whether files that .gitignore excludes are left out. A pattern without wildcards takes its file all the same.
    pub gitignore: bool,
}

/// Something outside the workspace's sources that is shown read-only to the command, such as an installed `node_modules`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostInput {
    /// Where it is: absolute.
    pub source: PathBuf,
    /// Where the command sees it: absolute, or relative to the workspace root.
    pub target: PathBuf,
    /// Files whose contents stand for its identity (a lock file), absolute. They enter the key; the tree itself does not.
    pub identity: Vec<PathBuf>,
}

/// One task, lowered. Every path is relative to the workspace root and `/`-separated unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActionSpec {
    /// Its name.
    pub name: TaskName,
    /// The package's directory, in which the command runs; empty for the root.
    pub directory: String,
    /// Shell scripts, run by `sh -e` one after the other: hooks before, the command, hooks after. None: a task that only groups others.
    pub commands: Vec<String>,
    /// Input files.
    pub inputs: Vec<InputGroup>,
    /// Tasks whose outputs are inputs of this one.
    pub dependencies: Vec<TaskName>,
    /// The command's environment; nothing else reaches it but PATH, HOME, TMPDIR and the like, which BuildNet sets.
    pub environment: BTreeMap<String, EnvSource>,
    /// Directories put before the standard ones on PATH, relative to the root, such as `node_modules/.bin`.
    pub path: Vec<String>,
    /// Host programs whose identity enters the key, by name as found on PATH.
    pub toolchains: Vec<String>,
    /// Read-only trees from outside.
    pub host_inputs: Vec<HostInput>,
    /// Declared output files and directories. Globs are allowed in the last segment.
    pub outputs: Vec<String>,
    /// Directories that survive from run to run so that the command can work incrementally; not part of the key or the result.
    pub state: Vec<String>,
    /// REAPI platform properties.
    pub platform: BTreeMap<String, String>,
    /// Wall time after which the command's process tree is killed.
    pub timeout: Option<Duration>,
    /// How many times to start again after a failure of the environment.
    pub retries: u32,
    /// Cores the command keeps busy.
    pub cpus: u32,
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// Whether the command may use the network.
    pub network: bool,
    /// How strictly it is confined.
    pub sandbox: SandboxMode,
    /// Whether its result may be stored in and taken from the cache.
    pub cache: bool,
    /// Whether its input files and host inputs are shown to all that depends on it, however far, as its outputs are. A task
    /// without commands can so stand for the files that a package shows to others, listed once rather than in each of their
    /// specs. The identities of its host inputs do not enter the keys of others: where they matter there, the others name them.
    pub exports: bool,
}

impl ActionSpec {
    /// A spec with the defaults of a task that declares nothing.
    pub fn new(name: TaskName, directory: impl Into<String>) -> Self {
        Self {
            name,
            directory: directory.into(),
            commands: Vec::new(),
            inputs: Vec::new(),
            dependencies: Vec::new(),
            environment: BTreeMap::new(),
            path: Vec::new(),
            toolchains: Vec::new(),
            host_inputs: Vec::new(),
            outputs: Vec::new(),
            state: Vec::new(),
            platform: BTreeMap::new(),
            timeout: None,
            retries: 2,
            cpus: 1,
            memory: None,
            network: false,
            sandbox: SandboxMode::Strict,
            cache: true,
            exports: false,
        }
    }
}
