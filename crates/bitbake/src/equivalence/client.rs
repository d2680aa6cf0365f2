//! The client of BitBake's hash equivalence protocol, version 1.1: a greeting, JSON messages, and streams of plain lines.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::{Value as Json, json};

use super::line::Line;
use crate::signature::Equivalences;

/// Questions that are on their way at once: few enough that neither side waits for the other with full buffers.
const WINDOW: usize = 256;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`, an IPv6 host in brackets.
    Tcp(String, u16),
    /// `unix://PATH`.
    Unix(PathBuf),
    /// `ws://HOST[:PORT][/PATH]`, or the same with `wss` for TLS: the whole of it, host and port.
    Web(String, String, u16),
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address of a hash equivalence server: HOST:PORT, unix://PATH, ws://HOST[:PORT]/PATH or wss://…")]
pub struct AddressError(String);

fn host_and_port(text: &str, default: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => default?,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let none = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        for (scheme, port) in [("ws://", 80), ("wss://", 443)] {
            if let Some(rest) = text.strip_prefix(scheme) {
                let host = rest.split('/').next().unwrap_or_default();
                let (host, port) = host_and_port(host, Some(port)).ok_or_else(none)?;
                return Ok(Self::Web(text.to_owned(), host, port));
            }
        }
        if text.contains("://") {
            return Err(none());
        }
        host_and_port(text, None).map(|(host, port)| Self::Tcp(host, port)).ok_or_else(none)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Web(url, ..) => f.write_str(url),
        }
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The secret.
    pub token: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A connection that is made at the first question.
pub struct Client {
    address: Address,
    shown: String,
    credentials: Option<Credentials>,
    patience: Duration,
    tls: Option<Arc<ClientConfig>>,
    line: Option<Line>,
    /// Why it cannot be reached: it is not tried again.
    dead: Option<String>,
}

impl Client {
    /// A client of a server that may take that long for each answer.
    pub fn new(address: Address, credentials: Option<Credentials>, patience: Duration) -> Self {
        let shown = address.to_string();
        Self { address, shown, credentials, patience, tls: None, line: None, dead: None }
    }

    /// Trusts others than this machine does, where the address is `wss://`.
    #[must_use]
    pub fn with_tls(self, config: Arc<ClientConfig>) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// Connects, greets, and goes over to questions about unified hashes.
    ///
    /// # Errors
    ///
    /// Where the server cannot be reached, or refuses.
    pub fn connect(&mut self) -> io::Result<()> {
        if self.line.is_some() {
            return Ok(());
        }
        let mut line = match &self.address {
            Address::Tcp(host, port) => Line::tcp(host, *port, self.patience)?,
            Address::Unix(path) => Line::unix(path, self.patience)?,
            Address::Web(url, host, port) => Line::web(url, host, *port, self.patience, self.tls.as_ref())?,
        };
        line.send(["OEHASHEQUIV 1.1", "needs-headers: false", ""].into_iter())?;
        if let Some(Credentials { user, token }) = &self.credentials {
            invoke(&mut line, &json!({ "auth": { "username": user, "token": token } }))?;
        }
        let answer = invoke(&mut line, &json!({ "get-stream": null }))?;
        if answer != "ok" {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the server answers get-stream by {answer}"),
            ));
        }
        self.line = Some(line);
        Ok(())
    }

    fn ask(&mut self, queries: &[(&str, &str)]) -> io::Result<Vec<Option<String>>> {
        self.connect()?;
        let Some(line) = &mut self.line else { return Ok(vec![None; queries.len()]) };
        let mut answers = Vec::with_capacity(queries.len());
        for window in queries.chunks(WINDOW) {
            let texts: Vec<String> = window.iter().map(|(method, taskhash)| format!("{method} {taskhash}")).collect();
            line.send(texts.iter().map(String::as_str))?;
            for _ in window {
                answers.push(Some(line.receive()?).filter(|unihash| !unihash.is_empty()));
            }
        }
        Ok(answers)
    }
}

fn invoke(line: &mut Line, message: &Json) -> io::Result<Json> {
    line.send([message.to_string().as_str()].into_iter())?;
    let answer: Json = serde_json::from_str(&line.receive()?)?;
    match answer.get("invoke-error") {
        Some(error) => {
            let reason = error["message"].as_str().unwrap_or("the server refuses");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, reason.to_owned()))
        }
        None => Ok(answer),
    }
}

impl Equivalences for Client {
    fn unihashes(&mut self, queries: &[(&str, &str)]) -> Result<Vec<Option<String>>, String> {
        if let Some(reason) = &self.dead {
            return Err(reason.clone());
        }
        let was_open = self.line.is_some();
        let mut answers = self.ask(queries);
        if answers.is_err() && was_open {
            // A server may close a connection that was quiet for long.
            self.line = None;
            answers = self.ask(queries);
        }
        answers.map_err(|error| {
            self.line = None;
            self.dead.insert(error.to_string()).clone()
        })
    }

    fn address(&self) -> &str {
        &self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let tcp = |host: &str, port| Address::Tcp(host.to_owned(), port);
        assert_eq!("host:8686".parse(), Ok(tcp("host", 8686)));
        assert_eq!("[::1]:8686".parse(), Ok(tcp("::1", 8686)));
        assert_eq!("unix:///a/b.sock".parse(), Ok(Address::Unix("/a/b.sock".into())));
        let web = |url: &str, port| Address::Web(url.to_owned(), "h".to_owned(), port);
        assert_eq!("ws://h:9/p".parse(), Ok(web("ws://h:9/p", 9)));
        assert_eq!("ws://h".parse(), Ok(web("ws://h", 80)));
        assert_eq!("wss://h/p".parse(), Ok(web("wss://h/p", 443)));
        for text in ["host", "host:", ":1", "wss://", "http://h", "[::1]", ""] {
            assert_eq!(text.parse::<Address>(), Err(AddressError(text.to_owned())), "{text}");
        }
        for text in ["host:8686", "[::1]:8686", "unix:///a/b.sock", "ws://h:9/p"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials { user: "me".to_owned(), token: "secret".to_owned() };
        assert!(!format!("{credentials:?}").contains("secret"));
    }

    #[test]
    fn a_server_that_is_not_there_is_tried_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let address = Address::Unix(directory.path().join("none.sock"));
        let mut client = Client::new(address, None, Duration::from_secs(1));
        let first = client.unihashes(&[("m", "t")]).expect_err("nobody listens");
        assert_eq!(client.unihashes(&[("m", "t")]), Err(first));
    }
}
