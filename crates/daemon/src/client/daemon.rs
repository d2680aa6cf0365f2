//! A running daemon, asked by a command.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use buildnet_event::{Event, EventKind, Level};
use buildnet_reapi::TlsOptions;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ClientError;
use super::http::{Response, write_request};
use super::tls::Wire;
use crate::error::ErrorReport;
use crate::server::routes::status::Health;
use crate::server::{VERSION_HEADER, peer};
use crate::service::{BuildRequest, Line};

/// A loopback connection is made or refused at once; another machine may take a while.
const CONNECT: Duration = Duration::from_secs(2);

/// How long the daemon may take to begin its answer: planning a large workspace takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// Longest answer that is read whole, in bytes.
const MAX_ANSWER: u64 = 256 << 20;

/// Longest line of a stream, in bytes: an event carries at most 64 KiB of output, which JSON may blow up sixfold.
const MAX_LINE: u64 = 4 << 20;

/// Where a daemon listens, and how to be let in.
#[derive(Clone, Debug)]
pub struct Daemon {
    address: SocketAddr,
    token: Option<String>,
    tls: Option<TlsOptions>,
}

impl Daemon {
    /// A daemon at `address`, which may or may not be there.
    pub fn at(address: SocketAddr, token: Option<String>) -> Self {
        Self { address, token, tls: None }
    }

    /// The same, spoken to over TLS. A daemon on this machine is spoken to without, whatever it asks of others.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsOptions) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects; none if nothing listens there.
    fn connect(&self) -> Result<Option<Wire>, ClientError> {
        let stream = match TcpStream::connect_timeout(&self.address, CONNECT) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(None),
            Err(source) => return Err(self.lost(source)),
        };
        if self.address.ip().is_loopback()
            && let Some(user) = peer::owner_of_listener(self.address)
            && user != rustix::process::geteuid().as_raw()
            && user != 0
        {
            return Err(ClientError::OtherUser { address: self.address, user });
        }
        stream.set_nodelay(true).map_err(|source| self.lost(source))?;
        let wire = match &self.tls {
            None => Wire::Plain(stream),
            Some(tls) => Wire::encrypt(stream, self.address, tls).map_err(|source| self.lost(source))?,
        };
        Ok(Some(wire))
    }

    fn lost(&self, source: io::Error) -> ClientError {
        ClientError::Connection { address: self.address, source }
    }

    /// Sends a request to a daemon of this version and reads the head of its answer. None if nothing listens.
    fn send(&self, method: &str, target: &str, accept: &str, body: &[u8]) -> Result<Option<Response>, ClientError> {
        let Some(response) = self.exchange(method, target, accept, body)? else { return Ok(None) };
        match response.header(VERSION_HEADER) {
            Some(theirs) if theirs == crate::VERSION => {}
            Some(theirs) => return Err(ClientError::Version { address: self.address, theirs: theirs.to_owned() }),
            None => return Err(self.stranger("it does not say its version".to_owned())),
        }
        match response.status {
            200..300 => Ok(Some(response)),
            409 => Err(ClientError::Unsuited(self.report_of(response))),
            _ => Err(self.refusal(response)),
        }
    }

    fn exchange(&self, method: &str, target: &str, accept: &str, body: &[u8]) -> Result<Option<Response>, ClientError> {
        let Some(mut stream) = self.connect()? else { return Ok(None) };
        let host = self.address.to_string();
        let authorization = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![
            ("host", host.as_str()),
            ("accept", accept),
            ("content-type", "application/json"),
            ("connection", "close"),
            (VERSION_HEADER, crate::VERSION),
        ];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        write_request(&mut stream, method, target, &headers, body).map_err(|source| self.lost(source))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|source| self.lost(source))?;
        let response = Response::read(stream).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => self.stranger(source.to_string()),
            _ => self.lost(source),
        })?;
        Ok(Some(response))
    }

    fn stranger(&self, what: String) -> ClientError {
        ClientError::Stranger { address: self.address, what }
    }

    fn refusal(&self, response: Response) -> ClientError {
        ClientError::Refused(self.report_of(response))
    }

    fn report_of(&self, mut response: Response) -> ErrorReport {
        let status = response.status;
        let text = response.text(1 << 20).unwrap_or_default();
        let strange = || match status {
            // The caches speak in plain text.
            401 | 403 => ErrorReport::user(format!("the daemon at {} refuses it: {text}", self.address))
                .with_hint("Put a token whose role allows it into BUILDNET_TOKEN."),
            _ => ErrorReport::internal(format!("the daemon at {} answered {status}: {text}", self.address)),
        };
        serde_json::from_str(&text).unwrap_or_else(|_| strange())
    }

    /// Asks for a value; none if nothing listens.
    pub fn get<T: DeserializeOwned>(&self, target: &str) -> Result<Option<T>, ClientError> {
        let response = self.send("GET", target, "application/json", b"")?;
        response.map(|response| self.value(response)).transpose()
    }

    /// Has something done and reads the answer; none if nothing listens.
    pub fn post<T: DeserializeOwned>(&self, target: &str, body: &impl Serialize) -> Result<Option<T>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.stranger(error.to_string()))?;
        let response = self.send("POST", target, "application/json", &body)?;
        response.map(|response| self.value(response)).transpose()
    }

    /// Stops the daemon, whatever its version; none if nothing listens.
    pub fn stop(&self, finish: bool) -> Result<Option<Health>, ClientError> {
        let target = format!("/stop?finish={finish}");
        match self.exchange("POST", &target, "application/json", b"")? {
            Some(response) if response.status == 200 => self.value(response).map(Some),
            Some(response) => Err(self.refusal(response)),
            None => Ok(None),
        }
    }

    fn value<T: DeserializeOwned>(&self, mut response: Response) -> Result<T, ClientError> {
        let text = response.text(MAX_ANSWER).map_err(|source| self.lost(source))?;
        serde_json::from_str(&text).map_err(|error| self.stranger(error.to_string()))
    }

    /// Listens to what the daemon tells of itself from now on; none if nothing listens.
    pub fn notices(&self) -> Result<Option<Notices>, ClientError> {
        let Some(response) = self.send("GET", "/events", "text/event-stream", b"")? else { return Ok(None) };
        response.stream().set_read_timeout(None).map_err(|source| self.lost(source))?;
        let reader: Box<dyn Read + Send> = Box::new(response.into_reader());
        Ok(Some(Notices { address: self.address, reader: BufReader::new(reader) }))
    }

    /// Asks for a build; none if nothing listens.
    pub fn build(&self, request: &BuildRequest) -> Result<Option<Lines>, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.stranger(error.to_string()))?;
        let Some(response) = self.send("POST", "/build", "application/x-ndjson", &body)? else { return Ok(None) };
        // Commands may be silent for as long as they like.
        response.stream().set_read_timeout(None).map_err(|source| self.lost(source))?;
        let id = response.header("x-build-id").unwrap_or_default().to_owned();
        let reader: Box<dyn Read + Send> = Box::new(response.into_reader());
        Ok(Some(Lines { id, address: self.address, reader: BufReader::new(reader) }))
    }
}

/// What a daemon tells of itself, as it comes.
pub struct Notices {
    address: SocketAddr,
    reader: BufReader<Box<dyn Read + Send>>,
}

impl Iterator for Notices {
    type Item = Result<Event, ClientError>;

    /// The next warning; none when the daemon has ended.
    fn next(&mut self) -> Option<Self::Item> {
        let lost = |source| ClientError::Connection { address: self.address, source };
        loop {
            let mut text = Vec::new();
            match (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(lost(error))),
            }
            // Server-sent events: only the lines with data matter, and of these the daemon's own warnings.
            let Some(data) = text.strip_prefix(b"data:") else { continue };
            let Ok(event) = serde_json::from_slice::<Event>(data) else { continue };
            if event.build.is_none() && matches!(event.kind, EventKind::Notice { level: Level::Warning, .. }) {
                return Some(Ok(event));
            }
        }
    }
}

/// The lines of a build, as they come. Dropping it closes the connection, which cancels the build unless others listen.
pub struct Lines {
    id: String,
    address: SocketAddr,
    reader: BufReader<Box<dyn Read + Send>>,
}

impl Lines {
    /// The build's identifier.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Iterator for Lines {
    type Item = Result<Line, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut text = Vec::new();
        let lost = |source| ClientError::Connection { address: self.address, source };
        match (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut text) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&text).map_err(|error| lost(error.into()))),
            Err(error) => Some(Err(lost(error))),
        }
    }
}
