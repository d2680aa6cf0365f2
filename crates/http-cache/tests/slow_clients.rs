//! Clients that let the server wait: they lose their slots, and cost no more than their share of memory until then.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bazel_remote_apis::google::bytestream::ReadRequest;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use buildnet_digest::DigestFunction;
use buildnet_reapi::{CacheOptions, Limits};
use futures::StreamExt;

use self::common::{Server, bytes};

/// How long a client may do nothing here.
const IDLE: Duration = Duration::from_millis(600);

fn impatient() -> Server {
    let limits = Limits { idle: IDLE, min_rate: 1 << 20, ..Limits::default() };
    Server::start(CacheOptions { limits, ..CacheOptions::default() })
}

/// Waits until no request is in flight, which takes as long as it takes.
fn wait_until_all_slots_are_free(server: &Server) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while server.service.in_flight().available_permits() < server.service.limits().max_in_flight {
        assert!(Instant::now() < deadline, "a slot is held for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_byte_now_and_then_is_cut() {
    let server = impatient();
    let mut clients = Vec::new();
    for path in common::ENTRIES {
        for (framing, byte) in [("Content-Length: 1000", "x"), ("Transfer-Encoding: chunked", "1\r\nx\r\n")] {
            let mut stream = TcpStream::connect(&server.authority).unwrap();
            stream.write_all(format!("PUT {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").as_bytes()).unwrap();
            let mut reader = stream.try_clone().unwrap();
            let dripping = std::thread::spawn(move || {
                // Never silent for as long as is allowed, and never done. Ends when the server cuts the connection.
                while stream.write_all(byte.as_bytes()).is_ok() {
                    std::thread::sleep(IDLE / 10);
                }
            });
            clients.push((
                path,
                dripping,
                std::thread::spawn(move || {
                    let mut answer = Vec::new();
                    let _ = reader.read_to_end(&mut answer);
                    String::from_utf8_lossy(&answer).into_owned()
                }),
            ));
        }
    }
    for (path, dripping, answer) in clients {
        let answer = answer.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
        dripping.join().unwrap();
        assert_eq!(server.curl(path, &[]).0, 404, "{path}");
    }
    wait_until_all_slots_are_free(&server);
}

#[test]
fn whoever_reads_nothing_loses_the_slot() {
    let server = impatient();
    let large = bytes(1, 32 << 20);
    assert_eq!(server.put("/gradle/large", &large, &[]), 201);
    let digest = DigestFunction::Sha256.digest(&large);

    let mut stream = TcpStream::connect(&server.authority).unwrap();
    stream.write_all(b"GET /gradle/large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (_unread, _channel) = server.runtime.block_on(async {
        let target = format!("http://{}", server.authority);
        let channel = tonic::transport::Endpoint::from_shared(target).unwrap().connect().await.unwrap();
        let name = format!("blobs/{}/{}", digest.hex(), large.len());
        let request = ReadRequest { resource_name: name, ..Default::default() };
        let mut unread = ByteStreamClient::new(channel.clone()).read(request).await.unwrap().into_inner();
        assert!(!unread.next().await.unwrap().unwrap().data.is_empty());
        (unread, channel)
    });
    wait_until_all_slots_are_free(&server);
    // Whoever reads gets it all the same, also when that takes longer than a client may do nothing.
    assert_eq!(server.curl("/gradle/large", &["--limit-rate", "16M"]), (200, large));
    // The stalled answer is not taken for a whole one.
    let mut rest = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 32 << 20, "{} bytes", rest.len());
}
