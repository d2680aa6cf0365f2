//! A server with all protocols on one port, `curl`, and where real clients come from.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::path::Path;
use std::process::Command;

use axum::serve::ListenerExt;
use buildnet_cas::{Store, StoreOptions};
use buildnet_http_cache::hash_equivalence::{self, Equivalences};
use buildnet_reapi::{CacheOptions, CacheService};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A key of each adapter.
pub(crate) const ENTRIES: [&str; 6] = [
    "/gradle/0a1b2c",
    "/v1/cache/123456",
    "/v8/artifacts/ab12?slug=house",
    "/ccache/01/23456789abcdef0123456789abcdef01234567",
    "/sccache/a/b/c/abc",
    "/sstate/ab/cd/sstate%3Azlib%3A14%3Aabcd_package.tar.zst",
];

pub(crate) struct Server {
    pub(crate) service: CacheService,
    /// `127.0.0.1:port`.
    pub(crate) authority: String,
    /// Where hash equivalence listens on TCP.
    pub(crate) equivalence: String,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) runtime: Runtime,
}

impl Server {
    pub(crate) fn start(options: CacheOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_owned();
        Self { dir, ..Self::start_in(&place, options) }
    }

    /// Keeps everything below `place`.
    pub(crate) fn start_in(place: &Path, options: CacheOptions) -> Self {
        let store = Store::open(&place.join("store"), StoreOptions::default()).unwrap();
        let service = CacheService::open(store, &place.join("cache"), options).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (listener, lines) = (bind(), bind());
        let authority = listener.local_addr().unwrap().to_string();
        let equivalence = lines.local_addr().unwrap().to_string();
        let equivalences = Equivalences::open(&service.dir().join("equivalences")).unwrap();
        let app = buildnet_reapi::router(service.clone())
            .merge(buildnet_http_cache::router_with(service.clone(), equivalences.clone()));
        runtime
            .spawn(async move { axum::serve(listener.tap_io(|stream| stream.set_nodelay(true).unwrap()), app).await });
        runtime.spawn(hash_equivalence::serve(lines, service.clone(), equivalences));
        let dir = tempfile::tempdir().unwrap();
        Self { service, authority, equivalence, dir, runtime }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }

    /// Lookups of a protocol that hit, by the server's own counters.
    pub(crate) fn hits(&self, protocol: &str) -> u64 {
        let prefix = format!("buildnet_cache_requests_total{{protocol=\"{protocol}\",");
        let text = self.service.metrics().render();
        let rows = text.lines().filter(|line| line.starts_with(&prefix) && line.contains("outcome=\"hit\""));
        rows.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Sends a request; the status and the body.
    pub(crate) fn curl(&self, path: &str, arguments: &[&str]) -> (u16, Vec<u8>) {
        let (status, _, body) = self.curl_with_headers(path, arguments);
        (status, body)
    }

    /// The status, the headers in lowercase, and the body.
    pub(crate) fn curl_with_headers(&self, path: &str, arguments: &[&str]) -> (u16, String, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let (body, headers) = (dir.path().join("body"), dir.path().join("headers"));
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "60",
                "--path-as-is",
                "--write-out",
                "%{http_code}",
                "--output",
            ])
            .arg(&body)
            .arg("--dump-header")
            .arg(&headers)
            .args(arguments)
            .arg(self.url(path))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let status = String::from_utf8(output.stdout).unwrap().parse().unwrap();
        let headers = fs::read_to_string(headers).unwrap_or_default().to_lowercase();
        (status, headers, fs::read(body).unwrap_or_default())
    }

    /// Uploads bytes; the status.
    pub(crate) fn put(&self, path: &str, bytes: &[u8], arguments: &[&str]) -> u16 {
        let file = self.dir.path().join("upload");
        fs::write(&file, bytes).unwrap();
        let mut all = vec!["--upload-file", file.to_str().unwrap()];
        all.extend(arguments);
        self.curl(path, &all).0
    }
}

/// Bytes that do not compress, different for each seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Runs a client; its standard output and error together. Panics with them when it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

/// Writes the files of a checkout.
pub(crate) fn checkout(dir: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
