//! Keys of the files themselves.

use std::collections::BTreeMap;

use crate::config::options::with_options;
use crate::config::{CacheConfig, Commands, DaemonConfig, SandboxChoice, TaskConfig};
use crate::decode::{Spanned, record};

record! {
    /// The configuration of a BuildNet workspace, in `buildnet.yaml` at its root.
    "the workspace"
    pub struct ConfigFile {
        /// Whether packages of npm, pnpm, yarn and Cargo workspaces are found without being listed here. True by default.
        pub discover: Option<bool>,
        /// Packages that are not discovered, and what is to be different for those that are.
        pub packages: Vec<Spanned<PackageConfig>>,
        /// Tasks of all packages, by name: what comes first, inputs, outputs and limits.
        pub tasks: BTreeMap<String, Spanned<TaskConfig>>,
        /// Globs, relative to the workspace, of files that every task of every package depends on.
        pub global_inputs: Vec<Spanned<String>>,
        /// The cache.
        pub cache: Option<CacheConfig>,
        /// The daemon.
        pub daemon: Option<DaemonConfig>,
        /// How many commands run at once. The number of cores by default.
        pub jobs: Option<u32>,
        /// Whether a build goes on with what a failure does not concern. False by default.
        pub keep_going: Option<bool>,
        /// How strictly commands are confined where neither package nor task says so. `strict` by default.
        pub sandbox: Option<SandboxChoice>,
    }
}

record! {
    /// A user's own settings for all workspaces; the workspace's file goes before it.
    "the user's settings"
    pub struct UserFile {
        /// The cache.
        pub cache: Option<CacheConfig>,
        /// The daemon.
        pub daemon: Option<DaemonConfig>,
        /// How many commands run at once.
        pub jobs: Option<u32>,
        /// Whether a build goes on with what a failure does not concern.
        pub keep_going: Option<bool>,
        /// How strictly commands are confined where nothing else says so.
        pub sandbox: Option<SandboxChoice>,
    }
}

with_options! {
    /// A package.
    "a package"
    pub struct PackageConfig {
        /// Its name. The name of a discovered package overrides what was discovered.
        pub name: Option<Spanned<String>>,
        /// Its directory, relative to the workspace; its name by default.
        pub path: Option<Spanned<String>>,
        /// The command of its `build` task; a list runs one after the other.
        pub build_cmd: Option<Spanned<Commands>>,
        /// Packages that it needs.
        pub dependencies: Vec<Spanned<String>>,
        /// Globs of its source files, relative to its directory; `//` at the front: to the workspace; `!` at the front: leave out.
        /// All files that are not ignored by git by default.
        pub sources: Option<Vec<Spanned<String>>>,
        /// The directory, relative to the package, that its `build` task fills.
        pub output_dir: Option<Spanned<String>>,
        /// Its language, for queries.
        pub language: Option<String>,
        /// Words to find it by in queries.
        pub tags: Vec<String>,
        /// Its tasks besides `build`, and what is different for it in the tasks of the workspace.
        pub tasks: BTreeMap<String, Spanned<TaskConfig>>,
    }
}
