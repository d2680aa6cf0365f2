//! Builds as graphs of actions.
//!
//! A frontend lowers what users have to a [`Plan`] of [`ActionSpec`]s; a [`Builder`] evaluates it over the incremental graph: the
//! leaves are specs, source files, variables and programs of the host, the computed keys are tasks.

mod action;
mod builder;
mod error;
mod keys;
mod limit;
mod log;
mod remote;
mod run;
mod session;
pub mod sources;
pub mod spec;
mod table;
mod task;
mod tools;
mod trace;

pub use builder::{BuildReport, Builder, Changes};
pub use error::BuildError;
pub use remote::{Pending, RemoteCache};
pub use session::BuildOptions;
pub use spec::{ActionSpec, EnvSource, HostInput, InputGroup, Plan, SandboxMode};
pub use table::TaskState;
