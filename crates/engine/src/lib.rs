//! Incremental computation, and builds as graphs of actions.

pub mod build;
pub mod graph;
