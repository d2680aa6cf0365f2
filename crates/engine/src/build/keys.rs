//! The questions of a build, as keys of the incremental graph.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use buildnet_digest::Digest;
use buildnet_event::{InputChange, InputPart, TaskName};
use buildnet_executor::Outputs;
use serde::{Deserialize, Serialize};

use super::error::BuildError;
use super::session::Session;
use super::sources::{FileSet, scan};
use super::spec::ActionSpec;
use super::task;
use super::tools::{self, HostFile};
use crate::graph::{ComputeError, Context, Key};

/// The lowered spec of a task; set by the builder from the plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SpecKey(pub(super) TaskName);

/// The input files of a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SourcesKey(pub(super) TaskName);

/// A variable of the environment that the build was asked from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct VariableKey(pub(super) String);

/// A program of the host, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct ToolKey(pub(super) String);

/// A file outside the sources whose content stands for something larger, such as a lock file; absolute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct IdentityKey(pub(super) PathBuf);

/// Whether a task's outputs lie untouched in the workspace: counts how often they did not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct PlacementKey(pub(super) TaskName);

/// The result of a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct TaskKey(pub(super) TaskName);

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskValue {
    /// Digest of the action; of nothing for a task that only groups others.
    pub(super) action: Digest,
    /// What it made.
    pub(super) outputs: Arc<Outputs>,
    /// Digest of the outputs' tree.
    pub(super) outputs_digest: Digest,
    /// Digest over its own outputs and all that its dependencies show: what depends on it can see no more than this.
    pub(super) visible: Digest,
}

macro_rules! display {
    ($($key:ident => $format:literal),+ $(,)?) => {
        $(impl fmt::Display for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.name())
            }
        })+
    };
}

macro_rules! named {
    ($($key:ident),+) => {
        $(impl $key {
            fn name(&self) -> &TaskName {
                &self.0
            }
        })+
    };
}

named!(SpecKey, SourcesKey, PlacementKey, TaskKey);
display!(
    SpecKey => "settings of {}",
    SourcesKey => "sources of {}",
    PlacementKey => "outputs of {}",
    TaskKey => "{}",
);

impl fmt::Display for VariableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "variable {}", self.0)
    }
}

impl fmt::Display for ToolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program {}", self.0)
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.0.display())
    }
}

impl Key for SpecKey {
    type Value = Arc<ActionSpec>;
    const KIND: &'static str = "spec";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<Self::Value, ComputeError> {
        let session = ctx.host::<Arc<Session>>();
        let spec = session.plan.tasks.get(&self.0);
        Ok(Arc::new(spec.ok_or_else(|| BuildError::UnknownTask { task: self.0.clone() })?.clone()))
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old == new
    }
}

impl Key for SourcesKey {
    type Value = Arc<FileSet>;
    const KIND: &'static str = "sources";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<Self::Value, ComputeError> {
        let session = Arc::clone(ctx.host::<Arc<Session>>());
        let previous = ctx.previous::<Self>().cloned();
        let name = self.0.clone();
        let scanning = tokio::task::spawn_blocking(move || {
            let spec = session.spec(&name)?;
            let set = scan(session.root(), &spec.inputs, previous.as_deref(), &session.hashes)
                .map_err(|error| BuildError::Sources { task: name.clone(), error })?;
            // A directory may differ only by outputs that were placed in it: then no input is different.
            if let Some(previous) = previous.filter(|previous| previous.files != set.files) {
                session.note_changes(&name, changed_files(&previous, &set));
            }
            Ok::<_, BuildError>(Arc::new(set))
        });
        Ok(scanning.await.map_err(|_| BuildError::Interrupted)??)
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old.same_contents(new)
    }
}

/// The files in which two sets differ.
fn changed_files(old: &FileSet, new: &FileSet) -> Vec<InputChange> {
    let mut changes = Vec::new();
    let mut change = |name: &str, before: Option<String>, after: Option<String>| {
        changes.push(InputChange { part: InputPart::File, name: name.to_owned(), before, after });
    };
    for file in &new.files {
        match old.get(&file.path) {
            Some(before) if before.node == file.node => {}
            Some(before) => change(&file.path, Some(task::short(&before.node)), Some(task::short(&file.node))),
            None => change(&file.path, None, Some(task::short(&file.node))),
        }
    }
    for file in &old.files {
        if new.get(&file.path).is_none() {
            change(&file.path, Some(task::short(&file.node)), None);
        }
    }
    changes
}

impl Key for VariableKey {
    /// Digest of the value; none if it is not set. The value itself never reaches the persisted state.
    type Value = Option<Digest>;
    const KIND: &'static str = "variable";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<Self::Value, ComputeError> {
        Ok(ctx.host::<Arc<Session>>().variable_digest(&self.0))
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old == new
    }
}

impl Key for ToolKey {
    type Value = HostFile;
    const KIND: &'static str = "tool";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<Self::Value, ComputeError> {
        let session = Arc::clone(ctx.host::<Arc<Session>>());
        let name = self.0.clone();
        let searching = tokio::task::spawn_blocking(move || {
            tools::program(&name, &session.options.search_path, session.root().path(), &session.options.environment)
        });
        Ok(searching.await.map_err(|_| BuildError::Interrupted)??)
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old.digest == new.digest
    }
}

impl Key for IdentityKey {
    type Value = HostFile;
    const KIND: &'static str = "identity";
    const LEAF: bool = true;

    async fn compute(&self, _ctx: &Context) -> Result<Self::Value, ComputeError> {
        let path = self.0.clone();
        let hashing = tokio::task::spawn_blocking(move || tools::identity(path));
        Ok(hashing.await.map_err(|_| BuildError::Interrupted)??)
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old.digest == new.digest
    }
}

impl Key for PlacementKey {
    type Value = u64;
    const KIND: &'static str = "placement";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<Self::Value, ComputeError> {
        Ok(ctx.previous::<Self>().map_or(0, |count| count + 1))
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old == new
    }
}

impl Key for TaskKey {
    type Value = Arc<TaskValue>;
    const KIND: &'static str = "task";
    const CLEANS_UP: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<Self::Value, ComputeError> {
        task::compute(&self.0, ctx).await
    }

    fn same(old: &Self::Value, new: &Self::Value) -> bool {
        old.visible == new.visible && old.outputs_digest == new.outputs_digest
    }
}
