//! BitBake's hash equivalence: which tasks with different inputs gave the same outputs, so that what depends on them can
//! share one unified hash. Served over TCP and over WebSocket (`/hash-equivalence`), and kept in SQLite.

mod database;
mod session;
mod tcp;
mod websocket;

use axum::Router;
use axum::routing::any;

pub use self::database::Equivalences;
pub use self::tcp::{serve, serve_to};
use crate::caller::State;

pub(crate) fn routes() -> Router<State> {
    Router::new().route("/hash-equivalence", any(websocket::upgrade))
}
