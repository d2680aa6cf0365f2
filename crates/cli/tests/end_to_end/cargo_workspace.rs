//! cargo_workspace
