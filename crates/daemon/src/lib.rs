//! The build service, and the long-running process that serves it.
//!
//! [`service`] builds workspaces and tells what happens; the program uses it in-process or asks a daemon, which serves the same one
//! over HTTP ([`server`]). [`client`] is the blocking side of that conversation, [`watch`] follows the file system, and [`process`]
//! keeps two daemons from fighting over one address.

pub mod client;
pub mod error;
pub mod facts;
pub mod process;
pub mod server;
pub mod service;
pub mod watch;

pub use crate::error::ErrorReport;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9876";

/// The program's version, which client and daemon compare.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
