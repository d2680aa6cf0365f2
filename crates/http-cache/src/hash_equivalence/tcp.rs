//! The protocol over TCP: lines, and long messages in chunks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use buildnet_reapi::CacheService;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::session::{Line, Session};
use super::{Equivalences, IDLE, MAX_CONNECTIONS};

/// Longest line in bytes. Clients cut at 32 KiB.
const MAX_LINE: u64 = 64 << 10;
/// Longest line that is sent in one piece, in bytes.
const CHUNK: usize = 32 << 10;
/// Longest message of chunks in bytes.
const MAX_MESSAGE: usize = 16 << 20;
/// Pause after a connection could not be accepted.
const RETRY: Duration = Duration::from_millis(100);

/// Serves hash equivalence over TCP. Dropping the future ends it.
pub async fn serve(listener: TcpListener, service: CacheService, equivalences: Equivalences) -> io::Result<()> {
    serve_to(listener, service, equivalences, |_, _| true).await
}

/// As [`serve`], to clients that `lets_in` by our address and theirs.
pub async fn serve_to(
    listener: TcpListener,
    service: CacheService,
    equivalences: Equivalences,
    lets_in: impl Fn(SocketAddr, SocketAddr) -> bool + Send,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let local = listener.local_addr()?;
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // File descriptors may have run out; some will be free again.
            tokio::time::sleep(RETRY).await;
            continue;
        };
        if !lets_in(local, peer) {
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (service, equivalences) = (service.clone(), equivalences.clone());
        tokio::spawn(async move {
            attend(stream, service, equivalences).await;
            drop(slot);
        });
    }
}

async fn attend(stream: TcpStream, service: CacheService, equivalences: Equivalences) {
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let mut line = Tcp { reader: BufReader::new(reader), writer: BufWriter::new(writer) };
    let identity = service.access().anonymous();
    // Ends when the client goes away or is dropped; there is nobody to tell.
    let _ = Session::new(service, equivalences, identity).run(&mut line).await;
}

struct Tcp {
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
}

impl Line for Tcp {
    async fn receive_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(MAX_LINE);
        let read = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await;
        read.ok()?.ok()?;
        (line.pop()? == b'\n').then_some(())?;
        String::from_utf8(line).ok()
    }

    async fn receive_message(&mut self) -> Option<Value> {
        let message: Value = serde_json::from_str(&self.receive_line().await?).ok()?;
        if message.get("chunk-stream").is_none() {
            return Some(message);
        }
        let mut whole = String::new();
        loop {
            let piece = self.receive_line().await?;
            if piece.is_empty() {
                return serde_json::from_str(&whole).ok();
            }
            if whole.len() + piece.len() > MAX_MESSAGE {
                return None;
            }
            whole.push_str(&piece);
        }
    }

    async fn send_line(&mut self, line: &str) -> Option<()> {
        self.writer.write_all(line.as_bytes()).await.ok()?;
        self.writer.write_all(b"\n").await.ok()?;
        self.writer.flush().await.ok()
    }

    async fn send_message(&mut self, message: &Value) -> Option<()> {
        let text = message.to_string();
        if text.len() < CHUNK {
            return self.send_line(&text).await;
        }
        self.send_line(&json!({ "chunk-stream": null }).to_string()).await?;
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let mut end = rest.len().min(CHUNK - 1);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            self.send_line(&rest[..end]).await?;
            rest = &rest[end..];
        }
        self.send_line("").await
    }
}
