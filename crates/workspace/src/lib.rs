//! Packages of a monorepo: discovery, configuration, tasks.
//!
//! [`find_root`] finds a workspace, [`Workspace::load`] reads it, [`Workspace::plan`] lowers what is to be built to the engine's
//! terms. Nothing here reads the environment or runs a program; places come in through [`Overrides`].

mod check;
mod config;
mod decode;
mod discover;
mod error;
mod graph;
mod init;
mod load;
mod lower;
mod model;
mod normalize;
mod paths;
mod query;
mod suggest;
mod task_graph;
mod text;
mod yaml;

pub use crate::config::{
    ClientTls, DaemonSettings, FILE_NAME, LimitSettings, Overrides, Settings, SettingsOverride, schema,
};
pub use crate::discover::find_root;
pub use crate::error::{Problem, ProblemKind, WorkspaceError, WorkspaceErrors};
pub use crate::graph::{GraphTask, TaskGraph};
pub use crate::init::init;
pub use crate::load::load_settings;
pub use crate::lower::Request;
pub use crate::model::{Manager, Package, PackageKind, Task, Workspace};
pub use crate::query::{Query, QueryError, QueryGraph};
pub use crate::text::{Location, SourceText, Span};
