//! BitBake's hash equivalence: which tasks with different inputs gave the same outputs, so that what depends on them can
//! share one unified hash. Served over TCP and over WebSocket (`/hash-equivalence`), and kept in SQLite.

mod database;
mod session;
mod tcp;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use axum::routing::any;
use axum::{Extension, Router};
use tokio::sync::Semaphore;

pub use self::database::Equivalences;
pub use self::tcp::{serve, serve_to};
use crate::caller::State;

/// Most connections at once, of each kind.
const MAX_CONNECTIONS: usize = 1024;
/// BitBake keeps a connection for the whole of a build.
const IDLE: Duration = Duration::from_hours(12);

/// Outside the layer that asks for tokens, which BitBake's client shows only once it is connected.
pub(crate) fn routes() -> Router<State> {
    let places = websocket::Places(Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    Router::new().route("/hash-equivalence", any(websocket::upgrade)).layer(Extension(places))
}
