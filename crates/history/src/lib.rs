//! Builds, tasks and their figures over time.
