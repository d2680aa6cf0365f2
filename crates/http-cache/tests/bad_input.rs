//! What broken, slow and malicious clients send.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use buildnet_digest::DigestFunction;
use buildnet_reapi::{CacheOptions, Limits};

use self::common::{ENTRIES, Server, bytes, run};

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

/// Sends a request as it is and returns all answers; the server closes the connection after the last.
fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let request = request.to_owned();
    // Beside the reading: the server may answer before it has all, and close.
    let writing = std::thread::spawn(move || {
        let _ = stream.write_all(&request);
        stream
    });
    let mut answer = Vec::new();
    let _ = reader.read_to_end(&mut answer);
    drop(writing.join().unwrap());
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn lengths_and_chunks_that_lie_store_nothing() {
    // A request that is never whole is dropped after this.
    let limits = Limits { idle: Duration::from_millis(500), ..Limits::default() };
    let server = Server::start(CacheOptions { limits, ..CacheOptions::default() });
    let long = "x".repeat(100_000);
    let framings = [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5, 6\r\n\r\nhello",
        "Content-Length: -5\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 0x5\r\n\r\nhello",
        "Content-Length: 18446744073709551616\r\n\r\nhello",
        "Content-Length: 18446744073709551615\r\n\r\nhello",
        "Content-Length: 6\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n6\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n0\r\n\r\n",
        &format!("Transfer-Encoding: chunked\r\n\r\n5;{long}\r\nhello\r\n0\r\n\r\n"),
        "Transfer-Encoding: gzip\r\n\r\nhello",
        &format!("X: {}\r\nContent-Length: 5\r\n\r\nhello", long.repeat(10)),
        &format!("{}Content-Length: 5\r\n\r\nhello", "X: y\r\n".repeat(5000)),
    ];
    std::thread::scope(|scope| {
        for path in ENTRIES {
            let (server, framings) = (&server, &framings);
            scope.spawn(move || {
                for framing in framings {
                    let request = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}");
                    let answer = raw(server, request.as_bytes());
                    let shown: String = framing.chars().take(100).collect();
                    assert!(!answer.contains("HTTP/1.1 2"), "{path}: {shown}: {answer}");
                    assert_eq!(server.curl(path, &[]).0, 404, "{path}: {shown}");
                }
            });
        }
    });
    assert_eq!(spooled(&server), 0);
}

#[test]
fn what_follows_a_body_is_not_part_of_it() {
    let server = Server::start(CacheOptions::default());
    for path in ENTRIES {
        let request = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
             GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        );
        let answers = raw(&server, request.as_bytes());
        assert_eq!(answers.matches("HTTP/1.1 2").count(), 2, "{path}: {answers}");
        assert!(answers.ends_with("\r\n\r\nhello"), "{path}: {answers}");
        // With both, the chunks count (RFC 9112, section 6.3), for all that comes after, too.
        let both = format!(
            "PUT {path}0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n"
        );
        raw(&server, both.as_bytes());
        assert_ne!(server.curl(&format!("{path}0"), &[]).1, b"5\r\n", "{path}");
    }
}

#[test]
fn encodings_are_the_clients_own_and_ranges_are_within() {
    let server = Server::start(CacheOptions::default());
    let object = bytes(5, 300_000);
    for path in ENTRIES {
        let stored =
            server.put(path, &object, &["--header", "Content-Encoding: gzip", "--header", "Content-Type: x/y"]);
        assert!(matches!(stored, 200..=202), "{path}: {stored}");
        let (status, headers, body) = server.curl_with_headers(path, &["--header", "Accept-Encoding: gzip, br"]);
        assert!(status == 200 && body == object, "{path}");
        assert!(!headers.contains("content-encoding"), "{path}: {headers}");
        for (range, status, expected) in [
            ("bytes=0-0", 206, 0..1),
            ("bytes=299999-", 206, 299_999..300_000),
            ("bytes=-1", 206, 299_999..300_000),
            ("bytes=-999999999999", 206, 0..300_000),
            ("bytes=5-18446744073709551615", 206, 5..300_000),
            ("bytes=0-1,5-6,9-", 200, 0..300_000),
            ("bytes=9-5", 200, 0..300_000),
            ("bytes=x", 200, 0..300_000),
            ("lines=0-1", 200, 0..300_000),
        ] {
            let header = format!("Range: {range}");
            let answer = server.curl(path, &["--header", &header]);
            assert!(answer == (status, object[expected].to_vec()), "{path}: {range}: {}", answer.0);
        }
        assert_eq!(server.curl(path, &["--header", "Range: bytes=300000-"]).0, 416, "{path}");
    }
}
