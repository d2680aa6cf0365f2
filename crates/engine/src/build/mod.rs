//! Builds as graphs of actions.

pub mod spec;

pub use spec::{ActionSpec, EnvSource, HostInput, InputGroup, Plan, SandboxMode};
