//! Builds as graphs of actions.

pub mod sources;
pub mod spec;

pub use spec::{ActionSpec, EnvSource, HostInput, InputGroup, Plan, SandboxMode};
