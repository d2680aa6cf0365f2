//! Packages of a monorepo: discovery, configuration, tasks.
