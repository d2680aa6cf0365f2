//! The service over HTTP.
//!
//! Who may ask what: on a loopback address any process of the same user (checked through the kernel's socket table, see [`peer`]) and
//! root, without a token; on any other address whoever holds a token or a certificate whose role allows it. Browsers are kept out by
//! the checks of [`guard`].

pub mod access;
pub mod backing;
pub mod caches;
pub mod connections;
mod crowd;
mod drain;
pub mod guard;
pub mod metrics;
pub mod openapi;
pub mod peer;
pub mod refresh;
pub mod reply;
pub mod routes;
pub mod state;
pub mod tls;

pub use access::{Access, AccessError, AccessOptions};
pub use backing::backing;
pub use caches::{CacheServing, caches};
pub use connections::{ConnectionOptions, serve};
pub use refresh::refresh;
pub use routes::router;
pub use state::App;
pub use tls::{Tls, TlsError, TlsFiles};

/// Header in which client and daemon tell their versions.
pub const VERSION_HEADER: &str = "x-buildnet-version";
