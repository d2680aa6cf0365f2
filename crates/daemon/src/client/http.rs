//! As much of HTTP/1.1 (RFC 9112) as a client of one known server needs: a request with a body of known length, a response whose body
//! has a length or is chunked.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::tls::Wire;

/// Longest response header that is read, in bytes.
const MAX_HEAD: u64 = 64 << 10;

/// Writes a request. `headers` are pairs of name and value without line ends.
pub fn write_request(
    stream: &mut impl Write,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<()> {
    let mut message = Vec::with_capacity(512 + body.len());
    write!(message, "{method} {target} HTTP/1.1\r\n")?;
    for (name, value) in headers {
        if value.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("header {name} has a control character")));
        }
        write!(message, "{name}: {value}\r\n")?;
    }
    write!(message, "content-length: {}\r\n\r\n", body.len())?;
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    stream.flush()
}

/// A response whose body is read as it comes.
#[derive(Debug)]
pub struct Response<R = Wire> {
    /// Status code.
    pub status: u16,
    /// Names in lower case, with their values.
    headers: Vec<(String, String)>,
    body: Body<R>,
}

#[derive(Debug)]
struct Body<R> {
    stream: BufReader<R>,
    framing: Framing,
}

/// How the end of a body is known, and how much is left.
#[derive(Debug)]
enum Framing {
    Length(u64),
    /// Bytes left in the chunk.
    Chunked(u64),
    /// Until the connection is closed.
    Close,
    Ended,
}

impl<R: Read> Response<R> {
    /// Reads the head of a response.
    pub fn read(stream: R) -> io::Result<Self> {
        let mut stream = BufReader::with_capacity(64 << 10, stream);
        let mut head = (&mut stream).take(MAX_HEAD);
        let status = status_of(&read_line(&mut head)?)?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut head)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Self { status, headers, body: Body { stream, framing: Framing::Close } };
        let chunked = response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        response.body.framing = match response.header("content-length") {
            _ if chunked => Framing::Chunked(0),
            Some(length) => Framing::Length(length.parse().map_err(|_| invalid("a bad content-length"))?),
            None => Framing::Close,
        };
        Ok(response)
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// The whole body, of at most `limit` bytes.
    pub fn text(&mut self, limit: u64) -> io::Result<String> {
        let mut text = String::new();
        Read::take(&mut self.body, limit).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Where the response comes from.
    pub fn stream(&self) -> &R {
        self.body.stream.get_ref()
    }

    /// The body, as it comes.
    pub fn into_reader(self) -> impl Read {
        self.body
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunked(0) = self.framing {
            let line = read_line(&mut (&mut self.stream).take(MAX_HEAD))?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a bad chunk size"))?;
            self.framing = if size == 0 { Framing::Ended } else { Framing::Chunked(size) };
        }
        match &mut self.framing {
            Framing::Ended => Ok(0),
            Framing::Close => self.stream.read(buffer),
            Framing::Length(left) => take(&mut self.stream, left, buffer),
            Framing::Chunked(left) => {
                let count = take(&mut self.stream, left, buffer)?;
                if *left == 0 && !read_line(&mut (&mut self.stream).take(2))?.is_empty() {
                    return Err(invalid("a chunk longer than its size"));
                }
                Ok(count)
            }
        }
    }
}

/// Reads at most `left` bytes; an early end is an error.
fn take(stream: &mut impl Read, left: &mut u64, buffer: &mut [u8]) -> io::Result<usize> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    if most == 0 {
        return Ok(0);
    }
    let count = stream.read(&mut buffer[..most])?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    *left -= count as u64;
    Ok(count)
}

/// A line without its end.
fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let text = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn status_of(line: &str) -> io::Result<u16> {
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|status| status.parse().ok());
    status.filter(|_| version.starts_with("HTTP/1.")).ok_or_else(|| invalid("no HTTP response"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<(u16, String)> {
        let mut response = Response::read(text.as_bytes())?;
        Ok((response.status, response.text(1000)?))
    }

    #[test]
    fn bodies_of_known_length() {
        let response = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, more").unwrap();
        assert_eq!(response, (200, "hello".to_owned()));
    }

    #[test]
    fn chunked_bodies() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n";
        assert_eq!(read(text).unwrap().1, "hello, world");
    }

    #[test]
    fn broken_responses_are_errors() {
        for text in [
            "",
            "SSH-2.0-OpenSSH_9\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn header_injection_is_refused() {
        let written = write_request(&mut Vec::new(), "GET", "/", &[("authorization", "a\r\nx: y")], b"");
        assert!(written.is_err());
    }
}
