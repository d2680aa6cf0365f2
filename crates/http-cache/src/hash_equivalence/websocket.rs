//! The protocol over WebSocket: each line and each message is a text of its own.

use std::sync::Arc;

use axum::Extension;
use axum::extract::ws::{Message, WebSocket};
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use buildnet_reapi::ClientCertificate;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::IDLE;
use super::session::{Line, Session};
use crate::caller;

/// Longest message in bytes.
const MAX_MESSAGE: usize = 16 << 20;

/// A client without a token is let in, too: BitBake's shows its own in the conversation, which allows nothing before.
pub(super) async fn upgrade(
    State(state): State<caller::State>,
    Extension(places): Extension<Places>,
    certificate: Option<Extension<ClientCertificate>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let identity = state.access().identify_client(&headers, certificate.as_deref());
    if identity.is_none() && headers.contains_key(header::AUTHORIZATION) {
        return (StatusCode::UNAUTHORIZED, "this token is not valid").into_response();
    }
    let Ok(place) = places.0.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections at once; try again").into_response();
    };
    upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).on_upgrade(move |socket| async move {
        let equivalences = state.equivalences.clone();
        let service = (*state).clone();
        let mut line = Socket { socket };
        // Ends when the client goes away or is dropped; there is nobody to tell.
        let _ = Session::new(service, equivalences, identity).run(&mut line).await;
        drop(place);
    })
}

/// Places for connections.
#[derive(Clone)]
pub(super) struct Places(pub(super) Arc<Semaphore>);

struct Socket {
    socket: WebSocket,
}

impl Line for Socket {
    async fn receive_line(&mut self) -> Option<String> {
        loop {
            match tokio::time::timeout(IDLE, self.socket.recv()).await.ok()??.ok()? {
                Message::Text(text) => return Some(text.trim_end_matches('\n').to_owned()),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) | Message::Close(_) => return None,
            }
        }
    }

    async fn receive_message(&mut self) -> Option<Value> {
        serde_json::from_str(&self.receive_line().await?).ok()
    }

    async fn send_line(&mut self, line: &str) -> Option<()> {
        self.socket.send(Message::text(line)).await.ok()
    }

    async fn send_message(&mut self, message: &Value) -> Option<()> {
        self.send_line(&message.to_string()).await
    }
}
