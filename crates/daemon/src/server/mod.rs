//! The service over HTTP.
//!
//! Who may ask what: on a loopback address any process of the same user (checked through the kernel's socket table, see [`peer`]) and
//! root, without a token; on any other address whoever holds the token. Browsers are kept out by the checks of [`guard`].

pub mod access;
pub mod caches;
pub mod connections;
pub mod guard;
pub mod metrics;
pub mod openapi;
pub mod peer;
pub mod reply;
pub mod routes;
pub mod state;

pub use access::{Access, AccessError};
pub use caches::caches;
pub use connections::serve;
pub use routes::router;
pub use state::App;

/// Header in which client and daemon tell their versions.
pub const VERSION_HEADER: &str = "x-buildnet-version";
