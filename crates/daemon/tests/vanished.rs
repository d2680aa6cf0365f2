//! Clients whose machine or network goes away without a word: no FIN, no RST, no answer any more. What they held is freed, and they
//! cost bounded memory until then.
//!
//! They are sockets in a network namespace of their own whose link is taken down, which needs the rights of root.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use buildnet_daemon::server::{Access, AccessOptions, App, CacheServing, ConnectionOptions, caches, router, serve};
use buildnet_daemon::service::{Service, ServiceOptions};
use buildnet_reapi::Limits;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Bench, TOKEN, until};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a client may be silent here, in the middle of a request or between two.
const QUIET: Duration = Duration::from_secs(5);

/// A network of its own, with a link to it.
struct Network {
    name: String,
    namespace: OwnedFd,
    host: Ipv4Addr,
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

impl Network {
    /// None where the rights are missing.
    fn new() -> Option<Self> {
        let process = std::process::id();
        let name = format!("bn{process}");
        // From the addresses for benchmarks of networks (RFC 2544), one network for each process.
        let [high, low] = [u8::try_from(process >> 6 & 0xff).ok()?, u8::try_from((process & 0x3f) << 2).ok()?];
        let (host, guest) = (Ipv4Addr::new(198, 18, high, low | 1), Ipv4Addr::new(198, 18, high, low | 2));
        let (near, far) = (format!("{name}a"), format!("{name}b"));
        let made = ip(&["netns", "add", &name])
            && ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &name])
            && ip(&["addr", "add", &format!("{host}/30"), "dev", &near])
            && ip(&["link", "set", &near, "up"])
            && ip(&["-n", &name, "addr", "add", &format!("{guest}/30"), "dev", &far])
            && ip(&["-n", &name, "link", "set", &far, "up"]);
        let namespace = fs::File::open(format!("/run/netns/{name}")).map(OwnedFd::from);
        match namespace {
            Ok(namespace) if made => Some(Self { name, namespace, host }),
            _ => {
                ip(&["netns", "del", &name]);
                None
            }
        }
    }

    /// A connection from there.
    fn connect(&self, to: SocketAddr) -> TcpStream {
        let namespace = self.namespace.try_clone().unwrap();
        let connecting = std::thread::spawn(move || {
            let network = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(network)).unwrap();
            TcpStream::connect(to).unwrap()
        });
        connecting.join().unwrap()
    }

    /// From now on nothing passes, and nobody is told.
    fn cut(&self) {
        assert!(ip(&["link", "set", &format!("{}a", self.name), "down"]));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The link goes with it.
        ip(&["netns", "del", &self.name]);
    }
}

/// Connections of a port that are not closed yet on its side.
fn connections(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).filter(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        // State 01 is established, 08 is closed by the other side alone.
        fields[1].ends_with(&format!(":{port:04X}")) && matches!(fields[3], "01" | "08")
    });
    rows.count()
}

/// This process's resident memory in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_vanishes_without_a_word_is_noticed() {
    let Some(network) = Network::new() else {
        eprintln!("SKIPPED: making a network namespace needs the rights of root and the program `ip`");
        return;
    };
    let listener = TcpListener::bind(SocketAddrV4::new(network.host, 0)).await.unwrap();
    let lines = TcpListener::bind(SocketAddrV4::new(network.host, 0)).await.unwrap();
    let (address, equivalence) = (listener.local_addr().unwrap(), lines.local_addr().unwrap());
    let options = ServiceOptions { event_capacity: 64, default_workspace: Some("/w".into()) };
    let service = Service::new(Bench::open(0), options);
    let access = AccessOptions { token: Some(TOKEN.to_owned()), ..AccessOptions::default() };
    let stop = CancellationToken::new();
    let app = App::new(service, Access::new(address, access).unwrap(), stop.clone());
    let limits = Limits { idle: QUIET, ..Limits::default() };
    let connection = ConnectionOptions { quiet: QUIET, vanished: QUIET, ..ConnectionOptions::default() };
    let serving = CacheServing {
        limits,
        hash_equivalence: Some(lines),
        vanished: connection.vanished,
        ..CacheServing::default()
    };
    let routes = router(app.clone()).merge(caches(&app, serving).unwrap());
    tokio::spawn(serve(listener, routes, connection, stop.clone()));

    let head = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n{more}\r\n")
    };
    let large = vec![b'x'; 32 << 20];
    let mut stream = network.connect(address);
    stream.write_all(head("PUT /gradle/aa", &format!("content-length: {}\r\n", large.len())).as_bytes()).unwrap();
    stream.write_all(&large).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 201");
    drop(large);

    // One that says nothing, one that has said something, one in the middle of an upload, one that waits for events, one that holds a
    // WebSocket, one that asks for hash equivalence over TCP, one of HTTP/2 with a call that does not end; and many that read a large
    // artifact and stop.
    let mut held = vec![stream, network.connect(address)];
    let mut open = |text: String, answered: &str| {
        let mut stream = network.connect(address);
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = vec![0; answered.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), answered);
        held.push(stream);
    };
    open(head("PUT /gradle/bb", "content-length: 1000\r\n") + "half", "");
    open(head("GET /events", ""), "HTTP/1.1 200");
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    open(head("GET /hash-equivalence", upgrade), "HTTP/1.1 101");
    let before = resident();
    for _ in 0..64 {
        open(head("GET /gradle/aa", ""), "HTTP/1.1 200");
    }
    let mut asking = network.connect(equivalence);
    asking.write_all(b"OEHASHEQUIV 1.1\nneeds-headers: false\n\n").unwrap();
    held.push(asking);
    let wire = network.connect(address);
    wire.set_nonblocking(true).unwrap();
    let wire = TokioIo::new(tokio::net::TcpStream::from_std(wire).unwrap());
    let (mut calls, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), wire).await.unwrap();
    let connection = tokio::spawn(connection);
    let endless = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let call = axum::http::Request::post("http://cache/google.bytestream.ByteStream/Write")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(axum::body::Body::from_stream(endless));
    let call = tokio::spawn(async move { calls.send_request(call.unwrap()).await });
    until(|| connections(address.port()) >= 69 && connections(equivalence.port()) == 1).await;

    network.cut();
    let mut most = 0;
    until(|| {
        most = most.max(resident());
        connections(address.port()) + connections(equivalence.port()) == 0
    })
    .await;
    // 2 GiB were asked for. The file itself may have come into memory once.
    let grown = most.saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes for 64 clients that stopped reading");
    call.abort();
    connection.abort();
    drop(held);
    stop.cancel();
}
