//! What clients may cost, as the settings say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::{Place, until};

#[test]
fn blobs_and_connections_are_bounded_as_configured() {
    let place = Place::new();
    place.write("buildnet.yaml", "daemon: {limits: {blob: 1KiB, connections: 2, requests: 1, idle: 1s}}\n");
    let daemon = place.daemon(&[]);
    assert_eq!(daemon.http("PUT /gradle/aa", "", &[b'x'; 1024]).0, 201);
    assert_eq!(daemon.http("PUT /gradle/bb", "", &[b'x'; 1025]).0, 413);
    // One request has begun and does not end: the next is a miss, which is how Gradle is told that the cache is busy, until the silent one
    // is dropped. On a busy machine it may be dropped before the next comes; then it is begun once more.
    let begin = || {
        let mut slow = TcpStream::connect(daemon.address).unwrap();
        slow.write_all(b"PUT /gradle/cc HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\nhalf").unwrap();
        slow
    };
    let mut slow = begin();
    until(|| {
        let status = daemon.http("GET /gradle/aa", "", b"").0;
        if status != 404 {
            slow = begin();
        }
        status == 404
    });
    until(|| daemon.http("GET /gradle/aa", "", b"").0 == 200);
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    // Those who only hold connections make room for who asks.
    let _idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(daemon.address).unwrap()).collect();
    assert_eq!(daemon.http("GET /health", "", b"").0, 200);
}

#[test]
fn an_origin_that_is_none_is_told() {
    let place = Place::new();
    place.write("buildnet.yaml", "daemon: {origins: [\"ftp://example.com/\"]}\n");
    let output = place.program().args(["start", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("daemon.origins: `ftp://example.com/`"));
}

#[test]
fn limits_that_make_no_sense_are_told() {
    let place = Place::new();
    for (limits, what) in [("connections: 0", "nobody would be served"), ("message: 1KiB", "between 4 MiB and 256 MiB")]
    {
        place.write("buildnet.yaml", &format!("daemon: {{limits: {{{limits}}}}}\n"));
        let output = place.program().args(["start", "--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(what), "{limits}");
    }
}
