//! Clients that only hold connections, and a daemon that is killed while they upload.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use buildnet_digest::DigestFunction;
use buildnet_reapi::RemoteCache;
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::daemon::Daemon;

/// Connections that do nothing.
const IDLE: usize = 10_000;
/// Most memory that the daemon may have with them, in KiB: far below what as many buffers of 64 KiB would take.
const MAX_RESIDENT: u64 = 160 << 10;

fn resident(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn ten_thousand_idle_connections_keep_nobody_out() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = IDLE as u64 + 1000;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        eprintln!("SKIPPED: this process may not open {wanted} files");
        return;
    }
    // Never lowered; none is without a limit.
    let current = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).unwrap();
    let daemon = Daemon::start();
    let before = resident(&daemon);
    // Nothing at all, the beginning of HTTP/2's greeting, half a header; and now and then a request after which nothing comes. These
    // are few, since for each the daemon looks through the kernel's list of connections whose it is.
    let beginnings: [&[u8]; 3] = [b"", b"PRI * HTTP", b"GET /gradle/a HTTP/1.1\r\nHost: "];
    let request = b"GET /gradle/a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut idle = Vec::with_capacity(IDLE);
    for number in 0..IDLE {
        let mut stream = TcpStream::connect(&daemon.address).unwrap();
        // A connection may be closed again by the time that it says something.
        let _ = stream.write_all(if number % 100 == 0 { request } else { beginnings[number % beginnings.len()] });
        idle.push(stream);
        if number % 64 == 0 {
            // The kernel's queue of connections may be as short as 128; one that finds it full tries again after a second.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let resident = resident(&daemon);
    let files = || fs::read_dir(format!("/proc/{}/fd", daemon.process.id())).unwrap().count();
    // Those that must go are told so, and close in their own time.
    let deadline = Instant::now() + Duration::from_secs(20);
    while files() >= 1500 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let open = files();
    eprintln!("{IDLE} idle connections: {open} files open, {before} KiB resident before and {resident} KiB after");
    assert!(resident < MAX_RESIDENT, "{resident} KiB, {before} KiB before");
    assert!(open < 1500, "{open} files");

    let digest = DigestFunction::Sha256.digest(b"content");
    let (status, _) = daemon.http(&format!("PUT /cas/{}", digest.hex()), &daemon.address, b"content");
    assert_eq!(status, 200);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let remote = RemoteCache::connect(&format!("grpc://{}", daemon.address), None).await.unwrap();
        assert_eq!(remote.read(&[digest]).await.unwrap()[&digest], b"content".as_slice());
    });
    drop(idle);
}

#[test]
fn a_kill_during_uploads_leaves_whole_entries_or_none() {
    let mut daemon = Daemon::start();
    let content = vec![7_u8; 3 << 20];
    let large = Bytes::from(content.clone());
    let (digest, whole) = (DigestFunction::Sha256.digest(&large), DigestFunction::Sha256.digest(b"whole"));
    assert_eq!(daemon.http("PUT /gradle/whole", &daemon.address, b"whole").0, 201);
    let paths = [
        "/gradle/half".to_owned(),
        "/v1/cache/123".to_owned(),
        "/v8/artifacts/ab12?slug=house".to_owned(),
        "/ccache/01/23456789abcdef0123456789abcdef01234567".to_owned(),
        "/sccache/a/b/c/abc".to_owned(),
        "/sstate/ab/sstate%3Azlib%3A14%3Aabcd_package.tar.zst".to_owned(),
        format!("/cas/{}", digest.hex()),
    ];
    let uploads: Vec<TcpStream> = paths
        .iter()
        .map(|path| {
            let mut stream = TcpStream::connect(&daemon.address).unwrap();
            let head =
                format!("PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", daemon.address, content.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&content[1..]).unwrap();
            stream
        })
        .collect();
    // The daemon has begun to write each of them to its disk.
    let spool = daemon.place.path().join("cache");
    while spooled(&spool) < uploads.len() {
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.kill_and_restart();
    for mut stream in uploads {
        let _ = stream.write_all(&content[..1]);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
    for path in &paths {
        assert_eq!(daemon.http(&format!("GET {path}"), &daemon.address, b"").0, 404, "{path}");
    }
    assert_eq!(spooled(&spool), 0, "what was half uploaded is gone");
    assert_eq!(daemon.http("GET /gradle/whole", &daemon.address, b""), (200, b"whole".to_vec()));
    assert_eq!(daemon.http(&format!("GET /cas/{}", whole.hex()), &daemon.address, b""), (200, b"whole".to_vec()));
    for path in &paths {
        assert!(matches!(daemon.http(&format!("PUT {path}"), &daemon.address, &content).0, 200..=202), "{path}");
        let (status, body) = daemon.http(&format!("GET {path}"), &daemon.address, b"");
        assert!(status == 200 && body == content, "{path}: {status}");
    }
}

/// Files of unfinished uploads, wherever the daemon keeps them below its cache.
fn spooled(directory: &std::path::Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match (entry.path().is_dir(), entry.file_name() == "spool") {
            (true, true) => fs::read_dir(entry.path()).into_iter().flatten().count(),
            (true, false) => spooled(&entry.path()),
            _ => 0,
        })
        .sum()
}
