//! The protocol over WebSocket: each line and each message is a text of its own.

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use buildnet_reapi::Role;
use serde_json::Value;

use super::session::{Line, Session};
use crate::caller::Caller;
use crate::reply;

/// Longest message in bytes.
const MAX_MESSAGE: usize = 16 << 20;

pub(super) async fn upgrade(caller: Caller, upgrade: WebSocketUpgrade) -> Response {
    let identity = match caller.allow(Role::Read) {
        Ok(identity) => identity,
        Err(error) => return reply::failure(&error),
    };
    let state = caller.state.clone();
    upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).on_upgrade(move |socket| async move {
        let equivalences = state.equivalences.clone();
        let service = (*state).clone();
        let mut line = Socket { socket };
        // Ends when the client goes away or is dropped; there is nobody to tell.
        let _ = Session::new(service, equivalences, Some(identity)).run(&mut line).await;
    })
}

struct Socket {
    socket: WebSocket,
}

impl Line for Socket {
    async fn receive_line(&mut self) -> Option<String> {
        loop {
            match self.socket.recv().await?.ok()? {
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
