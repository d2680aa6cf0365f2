//! Connections that carry lines: a stream of bytes, or a WebSocket whose messages are lines.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::{Message, WebSocket};

/// Answers longer than this are refused.
const LONGEST: u64 = 1 << 20;

/// A connection to a server.
pub(super) enum Line {
    Tcp(BufReader<TcpStream>),
    Unix(BufReader<UnixStream>),
    Web(Box<WebSocket<Box<dyn Wire>>>),
}

/// A connection, encrypted or not.
pub(super) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// TLS that trusts whom this machine trusts (`SSL_CERT_FILE` names others, as for BitBake's own client).
fn tls() -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth())
}

fn resolve(host: &str, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Paths of sockets may have about a hundred bytes; a longer one is reached through its directory's descriptor.
fn unix(path: &Path) -> io::Result<UnixStream> {
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Err(error) };
            let open = std::fs::File::open(directory)?;
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open);
            UnixStream::connect(Path::new(&format!("/proc/self/fd/{descriptor}")).join(name))
        }
        other => other,
    }
}

impl Line {
    pub(super) fn tcp(host: &str, port: u16, patience: Duration) -> io::Result<Self> {
        resolve(host, port, patience).map(|stream| Self::Tcp(BufReader::new(stream)))
    }

    pub(super) fn unix(path: &Path, patience: Duration) -> io::Result<Self> {
        let stream = unix(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self::Unix(BufReader::new(stream)))
    }

    /// `config` is for `wss://` alone.
    pub(super) fn web(
        url: &str,
        host: &str,
        port: u16,
        patience: Duration,
        config: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let stream = resolve(host, port, patience)?;
        let wire: Box<dyn Wire> = if url.starts_with("wss://") {
            let config = config.map_or_else(|| tls().map(Arc::new), |config| Ok(Arc::clone(config)))?;
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, stream))
        } else {
            Box::new(stream)
        };
        let (socket, _) =
            tungstenite::client(url, wire).map_err(|error| io::Error::other(format!("no WebSocket: {error}")))?;
        Ok(Self::Web(Box::new(socket)))
    }

    /// Sends lines, without waiting for answers.
    pub(super) fn send<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            match self {
                Self::Web(socket) => socket.write(Message::text(line)).map_err(io::Error::other)?,
                _ => text.extend([line, "\n"]),
            }
        }
        match self {
            Self::Tcp(stream) => stream.get_mut().write_all(text.as_bytes()),
            Self::Unix(stream) => stream.get_mut().write_all(text.as_bytes()),
            Self::Web(socket) => socket.flush().map_err(io::Error::other),
        }
    }

    /// The next line, without its end.
    pub(super) fn receive(&mut self) -> io::Result<String> {
        match self {
            Self::Tcp(stream) => read_line(stream),
            Self::Unix(stream) => read_line(stream),
            Self::Web(socket) => loop {
                match socket.read().map_err(io::Error::other)? {
                    Message::Text(text) => return Ok(text.to_string()),
                    Message::Close(_) => return Err(closed()),
                    _ => {}
                }
            },
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}

fn read_line<S: Read>(stream: &mut BufReader<S>) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LONGEST).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(text) => Ok(text.trim_end().to_owned()),
        None if line.is_empty() => Err(closed()),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "the server's answer has no end")),
    }
}
