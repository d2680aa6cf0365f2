//! One connection to a cache: HTTP/1.1, one request after the other.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use buildnet_digest::{Diagnostic, ErrorCategory};
use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{Failure, PushError};

/// How long to wait for a connection, and for the answer after a request was sent.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of a file read and sent at once.
const PIECE: usize = 256 << 10;
/// Most bytes of an answer that are looked at.
const MAX_ANSWER: usize = 64 << 10;
/// Longest message of a server that is passed on, in characters.
const MAX_MESSAGE: usize = 200;

/// Where shared state is kept: `http://host:port/path`, as in `SSTATE_MIRRORS` without `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    authority: String,
    /// Without a slash at its end.
    path: String,
}

/// A text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not `http://host:port/path`")]
pub struct AddressError {
    /// The text.
    pub text: String,
}

impl Diagnostic for AddressError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        Some("write the address that SSTATE_MIRRORS has, without PATH: http://127.0.0.1:9876/sstate".into())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError { text: text.to_owned() };
        let uri: axum::http::Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http") && uri.query().is_none());
        let authority = authority.filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(80);
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { authority: format!("{}:{port}", authority.host()), path })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority, self.path)
    }
}

pub(super) struct Connection {
    sender: http1::SendRequest<Body>,
    address: Address,
    token: Option<HeaderValue>,
}

impl Connection {
    pub(super) async fn open(address: &Address, token: Option<&str>) -> Result<Self, PushError> {
        let failed = |message: String| PushError::Connect { address: address.to_string(), message };
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(&address.authority)).await;
        let stream = connected.map_err(|_| failed("it does not answer".into()))?.map_err(|e| failed(e.to_string()))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
        // Ends with the sender; what goes wrong is told to whoever sends.
        tokio::spawn(connection);
        let token = token.map(|token| HeaderValue::try_from(format!("Bearer {token}")));
        let token = token.transpose().map_err(|_| PushError::Refused {
            address: address.to_string(),
            message: "the token has characters that no header may have".into(),
        })?;
        Ok(Self { sender, address: address.clone(), token })
    }

    /// Whether another request can be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether the cache has an object.
    pub(super) async fn look(&mut self, name: &str) -> Result<bool, Failure> {
        let answer = self.request(Method::HEAD, name, None, Body::empty()).await?;
        let status = answer.status();
        // Read to its end, so that the connection can take the next request.
        let message = message_of(answer).await;
        match status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Refused(status.to_string())),
            _ => Err(Failure::Other(format!("{status} {message}"))),
        }
    }

    /// Sends an object of so many bytes.
    pub(super) async fn upload(&mut self, name: &str, file: &Path, length: u64) -> Result<(), Failure> {
        let file = tokio::fs::File::open(file).await.map_err(|error| Failure::Other(error.to_string()))?;
        let pieces = stream::try_unfold(file.take(length), |mut file| async move {
            let mut piece = BytesMut::with_capacity(PIECE);
            let read = file.read_buf(&mut piece).await?;
            Ok::<_, std::io::Error>((read > 0).then(|| (piece.freeze(), file)))
        });
        let answer = self.request(Method::PUT, name, Some(length), Body::from_stream(pieces)).await?;
        let status = answer.status();
        let message = message_of(answer).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Refused(format!("{status} {message}"))),
            status if status.is_success() => Ok(()),
            _ => Err(Failure::Other(format!("{status} {message}"))),
        }
    }

    async fn request(
        &mut self,
        method: Method,
        name: &str,
        length: Option<u64>,
        body: Body,
    ) -> Result<Response<Incoming>, Failure> {
        let other = |error: &dyn fmt::Display| Failure::Other(error.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{}", self.address.path, escape(name)))
            .header(header::HOST, &self.address.authority)
            .header(header::USER_AGENT, concat!("buildnet/", env!("CARGO_PKG_VERSION")));
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(body).map_err(|error| other(&error))?;
        self.sender.ready().await.map_err(|error| other(&error))?;
        self.sender.send_request(request).await.map_err(|error| other(&error))
    }
}

/// What the server says, on one line.
async fn message_of(answer: Response<Incoming>) -> String {
    let body = tokio::time::timeout(PATIENCE, Limited::new(answer.into_body(), MAX_ANSWER).collect()).await;
    let body = body.ok().and_then(Result::ok).map_or_else(Bytes::new, http_body_util::Collected::to_bytes);
    let text = String::from_utf8_lossy(&body);
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}

/// A path as BitBake asks for it: all but letters, digits, `-._~` and `/` escaped (RFC 3986, section 2.1).
fn escape(name: &str) -> String {
    use fmt::Write as _;

    let mut escaped = String::with_capacity(name.len() + 32);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                escaped.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let address: Address = "http://cache:9876/sstate/".parse().unwrap();
        assert_eq!(address.to_string(), "http://cache:9876/sstate");
        assert_eq!("http://cache".parse::<Address>().unwrap().to_string(), "http://cache:80");
        for wrong in ["cache:9876", "https://cache/sstate", "http://a:b@cache/", "http://cache/?x", "http://", ""] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn colons_are_escaped() {
        assert_eq!(escape("ab/sstate:zlib:1.3+git é"), "ab/sstate%3Azlib%3A1.3%2Bgit%20%C3%A9");
    }
}
