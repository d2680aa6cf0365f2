//! Incremental computation, and builds as graphs of actions.
