//! What broken, slow and malicious clients send.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use buildnet_digest::DigestFunction;
use buildnet_reapi::{CacheOptions, Limits};

use self::common::{Server, bytes, run};

/// A key of each adapter.
const ENTRIES: [&str; 6] = [
    "/gradle/0a1b2c",
    "/v1/cache/123456",
    "/v8/artifacts/ab12?slug=house",
    "/ccache/01/23456789abcdef0123456789abcdef01234567",
    "/sccache/a/b/c/abc",
    "/sstate/ab/cd/sstate%3Azlib%3A14%3Aabcd_package.tar.zst",
];

/// Sends the beginning of a request, closes its side, and returns what comes back.
fn broken_off(server: &Server, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(text).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // The server may cut the connection, which is an answer, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn spooled(server: &Server) -> usize {
    fs::read_dir(server.service.dir().join("spool")).unwrap().count()
}

#[test]
fn every_adapter_answers_head_and_get_alike() {
    let server = Server::start(CacheOptions::default());
    for path in ENTRIES {
        assert_eq!(server.curl(path, &["--head"]).0, 404, "{path}");
        assert!(matches!(server.put(path, b"content", &[]), 200..=202), "{path}");
        let (status, headers, _) = server.curl_with_headers(path, &["--head"]);
        assert_eq!(status, 200, "{path}");
        assert!(headers.contains("content-length: 7"), "{path}: {headers}");
        assert_eq!(server.curl(path, &[]), (200, b"content".to_vec()), "{path}");
    }
    // One blob, whichever protocol brought it.
    let hash = DigestFunction::Sha256.digest(b"content").hex();
    assert_eq!(server.curl(&format!("/cas/{hash}"), &[]), (200, b"content".to_vec()));
}

#[test]
fn truncated_bodies_are_not_stored() {
    let server = Server::start(CacheOptions::default());
    let large = bytes(7, 600_000);
    for path in ENTRIES {
        let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 700000\r\n\r\n");
        let answer = broken_off(&server, &[head.as_bytes(), &large].concat());
        assert!(!answer.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        let answer = broken_off(&server, head.as_bytes());
        assert!(!answer.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        assert_eq!(server.curl(path, &[]).0, 404, "{path}");
    }
    assert_eq!(spooled(&server), 0);
}

#[test]
fn over_the_limit_is_refused_by_length_and_in_chunks() {
    let limits = Limits { max_blob_bytes: 400_000, ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() });
    let large = bytes(8, 400_001);
    for path in ENTRIES {
        assert_eq!(server.put(path, &large, &[]), 413, "{path}");
        assert_eq!(server.put(path, &large, &["--header", "Transfer-Encoding: chunked"]), 413, "{path}");
        assert_eq!(server.curl(path, &[]).0, 404, "{path}");
        assert!(matches!(server.put(path, &large[1..], &[]), 200..=202), "{path}");
    }
    assert_eq!(spooled(&server), 0);
}

#[test]
fn stalled_clients_are_dropped() {
    let limits = Limits { idle: Duration::from_millis(300), ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() });
    for path in ENTRIES {
        let mut stream = TcpStream::connect(&server.authority).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx");
        stream.write_all(head.as_bytes()).unwrap();
        // Nothing more is sent, and the connection stays open.
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 408", "{path}");
        assert_eq!(server.curl(path, &[]).0, 404, "{path}");
    }
}

#[test]
fn keys_do_not_leave_their_room() {
    let server = Server::start(CacheOptions::default());
    for prefix in ["/gradle/", "/v1/cache/", "/v8/artifacts/", "/ccache/", "/sccache/", "/sstate/", "/cas/", "/ac/"] {
        for key in ["%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2Fx", "a%00b", "a%0Ab", "%2Fetc%2Fpasswd", "%ff"] {
            let path = format!("{prefix}{key}");
            let status = server.put(&path, b"x", &[]);
            // A path that is no UTF-8 names nothing, which below `/sccache` is the directory: 405.
            assert!(matches!(status, 400 | 404 | 405), "{path}: {status}");
            assert!(server.service.named("sccache", "", key).unwrap().is_none(), "{path}");
        }
    }
}

#[test]
fn empty_shared_state_is_refused_however_it_comes() {
    let server = Server::start(CacheOptions::default());
    assert_eq!(server.put("/sstate/ab/empty", b"", &[]), 400);
    // Written by hand: curl does not end an empty body in chunks. The connection stays open for the answer.
    let mut stream = TcpStream::connect(&server.authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let chunked = "PUT /sstate/ab/empty HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    stream.write_all(chunked.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 400");
    assert_eq!(server.curl("/sstate/ab/empty", &[]).0, 404);
}

#[test]
fn wget_continues_a_download() {
    if Command::new("wget").arg("--version").output().is_err() {
        eprintln!("SKIPPED: wget is not installed");
        return;
    }
    let server = Server::start(CacheOptions::default());
    let object = bytes(9, 900_000);
    let path = "/sstate/ab/cd/sstate%3Azlib%3A14%3Aabcd_package.tar.zst";
    assert_eq!(server.put(path, &object, &[]), 201);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sstate:zlib:14:abcd_package.tar.zst");
    fs::write(&file, &object[..500_000]).unwrap();
    let text =
        run(Command::new("wget").current_dir(dir.path()).args(["--continue", "--tries=1"]).arg(server.url(path)));
    assert!(text.contains("206 Partial Content"), "{text}");
    assert_eq!(fs::read(&file).unwrap(), object);
}
