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

    /// The same with TLS, by a certificate for 127.0.0.1 that its own authority made. Returns the authority, in PEM.
    pub(crate) fn start_with_tls(options: CacheOptions) -> (Self, String) {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name.push(DnType::CommonName, "the house");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap().pem();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));

        let server = Self::start(options);
        let listener = server.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let app = buildnet_reapi::router(server.service.clone());
        let address = listener.local_addr().unwrap();
        server.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, app) = (acceptor.clone(), app.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper_util::service::TowerToHyperService::new(app);
                    let connection = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                    // A client that goes away is no failure.
                    let _ = connection.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await;
                });
            }
        });
        (Self { authority: address.to_string(), ..server }, authority)
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
