//! The blocking side of the conversation with a daemon.
//!
//! A command must be quick to start, so that asking the daemon is one TCP connection and one HTTP/1.1 request on the standard library's
//! sockets, without a runtime.

pub mod daemon;
pub mod error;
pub mod http;
pub mod tls;

pub use daemon::{Daemon, Lines, Notices};
pub use error::ClientError;
