//! Keys of a task.

use std::borrow::Cow;
use std::collections::BTreeMap;

use buildnet_engine::build::SandboxMode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::config::{Seconds, Size};
use crate::decode::{Decode, Decoder, Spanned, record};
use crate::error::ProblemKind;
use crate::suggest;
use crate::yaml::{Node, Value};

/// One shell script, or several that run one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Commands(pub(crate) Vec<String>);

impl Decode for Commands {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, .. } => Some(Self(vec![text.clone()])),
            Value::Sequence(_) => Vec::decode(node, decoder).map(Self),
            _ => {
                decoder.wrong_type("a command or a list of commands", node);
                None
            }
        }
    }
}

impl JsonSchema for Commands {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Commands".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// How strictly a command is confined: `strict`, `warn` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SandboxChoice(pub(crate) SandboxMode);

impl SandboxChoice {
    const NAMES: [(&'static str, SandboxMode); 3] =
        [("strict", SandboxMode::Strict), ("warn", SandboxMode::Warn), ("off", SandboxMode::Off)];

    /// From its name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, mode)| Self(mode))
    }
}

impl Decode for SandboxChoice {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let Value::Scalar { text, .. } = &node.value else {
            decoder.wrong_type("`strict`, `warn` or `off`", node);
            return None;
        };
        let parsed = Self::parse(text);
        if parsed.is_none() {
            let kind = ProblemKind::InvalidValue { value: text.clone(), expected: "sandbox mode".into() };
            decoder.problem(kind, node.span).hint = suggest::hint(text, Self::NAMES.map(|(name, _)| name));
        }
        parsed
    }
}

impl JsonSchema for SandboxChoice {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Sandbox".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": Self::NAMES.map(|(name, _)| name) })
    }
}

record! {
    /// Commands around a task's own.
    "hooks"
    pub struct HooksConfig {
        /// Runs before the command, in the same sandbox.
        pub pre_build: Option<Commands>,
        /// Runs after the command succeeded, in the same sandbox.
        pub post_build: Option<Commands>,
    }
}

/// Declares a mapping that has, besides its own keys, those that packages and tasks share.
macro_rules! with_options {
    ($(#[$meta:meta])* $context:literal pub struct $name:ident { $($own:tt)* }) => {
        $crate::decode::record! {
            $(#[$meta])*
            $context
            pub struct $name {
                $($own)*
                /// Environment variables with their values. Nothing else of the environment reaches a command.
                pub env: std::collections::BTreeMap<String, String>,
                /// Names of variables that a command takes from the environment of whoever starts the build.
                pub inherit_env: Vec<String>,
                /// Programs, by name on PATH, whose identity is part of the cache key.
                pub toolchains: Vec<String>,
                /// REAPI platform properties that a worker must have.
                pub platform: std::collections::BTreeMap<String, String>,
                /// Wall time after which the command is killed, such as `90s` or `10m`.
                pub timeout: Option<$crate::config::Seconds>,
                /// How often to start again after a failure of the environment; never after a failing command.
                pub retries: Option<u32>,
                /// Commands before and after. On a package they belong to its `build` task.
                pub hooks: Option<$crate::config::HooksConfig>,
                /// How strictly commands are confined: `strict` (declared inputs only), `warn` (undeclared ones are reported), `off`.
                pub sandbox: Option<$crate::config::SandboxChoice>,
                /// Whether commands may use the network.
                pub network: Option<bool>,
                /// Directories, relative to the package, that survive from run to run so that the command works incrementally.
                pub state: Vec<$crate::decode::Spanned<String>>,
                /// Cores that the command keeps busy.
                pub cpus: Option<u32>,
                /// Memory limit, such as `512MB` or `2GiB`.
                pub memory: Option<$crate::config::Size>,
                /// Whether results may be stored in the cache and taken from it.
                pub cache: Option<bool>,
            }
        }

        impl $name {
            /// The keys that packages and tasks share.
            pub(crate) fn options(&self) -> $crate::config::TaskOptions {
                $crate::config::TaskOptions {
                    env: self.env.clone(),
                    inherit_env: self.inherit_env.clone(),
                    toolchains: self.toolchains.clone(),
                    platform: self.platform.clone(),
                    timeout: self.timeout,
                    retries: self.retries,
                    hooks: self.hooks.clone(),
                    sandbox: self.sandbox,
                    network: self.network,
                    state: self.state.clone(),
                    cpus: self.cpus,
                    memory: self.memory,
                    cache: self.cache,
                }
            }
        }
    };
}
pub(crate) use with_options;

with_options! {
    /// A task, of every package (under `tasks` of the file) or of one (under `tasks` of a package).
    "a task"
    pub struct TaskConfig {
        /// The command, run by `sh -e` in the package's directory; a list runs one after the other.
        pub command: Option<Spanned<Commands>>,
        /// Tasks that come first: `build` of the same package, `^build` of the packages it depends on, `core:build` of another.
        pub depends_on: Option<Vec<Spanned<String>>>,
        /// Globs of input files, relative to the package; `//` at the front: to the workspace; `!` at the front: leave out;
        /// `$default`: what would be taken without this key.
        pub inputs: Option<Vec<Spanned<String>>>,
        /// Output files and directories, relative to the package. Globs are allowed in the last segment.
        pub outputs: Option<Vec<Spanned<String>>>,
    }
}

/// What packages and tasks can both say of their commands; see [`TaskConfig`] for each key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TaskOptions {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) inherit_env: Vec<String>,
    pub(crate) toolchains: Vec<String>,
    pub(crate) platform: BTreeMap<String, String>,
    pub(crate) timeout: Option<Seconds>,
    pub(crate) retries: Option<u32>,
    pub(crate) hooks: Option<HooksConfig>,
    pub(crate) sandbox: Option<SandboxChoice>,
    pub(crate) network: Option<bool>,
    pub(crate) state: Vec<Spanned<String>>,
    pub(crate) cpus: Option<u32>,
    pub(crate) memory: Option<Size>,
    pub(crate) cache: Option<bool>,
}

impl TaskOptions {
    /// Lays `other` over this: single values replace, maps and lists are joined.
    pub(crate) fn overlay(&mut self, other: Self) {
        self.env.extend(other.env);
        self.platform.extend(other.platform);
        for (mine, others) in [(&mut self.inherit_env, other.inherit_env), (&mut self.toolchains, other.toolchains)] {
            for item in others {
                if !mine.contains(&item) {
                    mine.push(item);
                }
            }
        }
        self.state.extend(other.state);
        self.timeout = other.timeout.or(self.timeout);
        self.retries = other.retries.or(self.retries);
        self.hooks = other.hooks.or(self.hooks.take());
        self.sandbox = other.sandbox.or(self.sandbox);
        self.network = other.network.or(self.network);
        self.cpus = other.cpus.or(self.cpus);
        self.memory = other.memory.or(self.memory);
        self.cache = other.cache.or(self.cache);
    }
}
