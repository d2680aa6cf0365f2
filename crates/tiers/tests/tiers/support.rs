//! Stores, results, and servers on ports of their own.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use buildnet_cas::{Store, StoreOptions};
use buildnet_digest::tree::{Node, TreeBuilder};
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::{CacheOptions, CacheService, EntryKey};
use buildnet_tiers::{Backend, Tier, TierOptions, Trouble};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use tempfile::TempDir;

pub(crate) const FUNCTION: DigestFunction = DigestFunction::Sha256;

/// A store in a directory that goes with it.
pub(crate) struct Local {
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
}

impl Local {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        Self { store, dir }
    }

    /// Stores a result with two small files, a large one, and a tree; each seed gives another.
    pub(crate) fn fill(&self, instance: &str, seed: u32) -> (EntryKey, reapi::ActionResult) {
        let put = |bytes: &[u8]| self.store.put_bytes(FUNCTION, bytes).unwrap();
        let file = |path: &str, digest: Digest| reapi::OutputFile {
            path: path.to_owned(),
            digest: Some(digest.to_reapi()),
            ..Default::default()
        };
        let mut tree = TreeBuilder::new(FUNCTION);
        for name in ["a", "b/c"] {
            let digest = put(format!("{name} of {seed}").as_bytes());
            tree.add(name, Node::File { digest, executable: false }).unwrap();
        }
        let tree = put(&tree.build().to_tree().unwrap().encode_to_vec());
        let result = reapi::ActionResult {
            output_files: vec![
                file("small", put(format!("small {seed}").as_bytes())),
                file("empty", Digest::empty(FUNCTION)),
                file("large", put(&noise(seed, 3 << 20))),
            ],
            output_directories: vec![reapi::OutputDirectory {
                path: "dir".to_owned(),
                tree_digest: Some(tree.to_reapi()),
                ..Default::default()
            }],
            stdout_digest: Some(put(format!("told by {seed}").as_bytes()).to_reapi()),
            ..Default::default()
        };
        let key = EntryKey::action(instance, &FUNCTION.digest(format!("action {seed}").as_bytes()));
        self.store.put_action_result(&key.key, &result).unwrap();
        (key, result)
    }
}

/// Bytes that hardly compress.
pub(crate) fn noise(seed: u32, length: usize) -> Bytes {
    let mut state = u64::from(seed) << 1 | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// What a tier told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Trouble>>>);

impl Told {
    pub(crate) fn count(&self, which: impl Fn(&Trouble) -> bool) -> usize {
        self.0.lock().iter().filter(|trouble| which(trouble)).count()
    }

    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.0.lock())
    }
}

/// A tier that does not wait long.
pub(crate) fn tier(backend: impl Backend, change: impl FnOnce(&mut TierOptions)) -> (Tier, Told) {
    let mut options = TierOptions {
        patience: Duration::from_secs(20),
        pause: Duration::from_millis(50),
        backoff: Duration::from_millis(5),
        ..TierOptions::default()
    };
    change(&mut options);
    let told = Told::default();
    let teller = told.clone();
    (Tier::new(Arc::new(backend), options, move |trouble| teller.0.lock().push(trouble)), told)
}

/// BuildNet's gRPC server.
pub(crate) struct Server {
    pub(crate) service: CacheService,
    pub(crate) address: String,
    pub(crate) local: Local,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(options: CacheOptions) -> Self {
        Self::start_on("127.0.0.1:0", options)
    }

    pub(crate) fn start_on(address: &str, options: CacheOptions) -> Self {
        let local = Local::new();
        let service = CacheService::open(local.store.clone(), local.dir.path(), options).unwrap();
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let router = buildnet_reapi::router(service.clone());
        let serving = tokio::spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Self { service, address, local, serving }
    }

    pub(crate) fn url(&self, instance: &str) -> String {
        format!("grpc://{}/{instance}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A server that speaks S3 over the files of a directory; returns its endpoint. Buckets are directories.
pub(crate) async fn object_store(root: &Path) -> String {
    let files = s3s_fs::FileSystem::new(root).unwrap();
    let mut builder = s3s::service::S3ServiceBuilder::new(files);
    builder.set_auth(s3s::auth::SimpleAuth::from_single(KEY, SECRET));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(stream);
                // A client that goes away is no failure.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
            });
        }
    });
    format!("http://{address}")
}

pub(crate) const KEY: &str = "test-key";
pub(crate) const SECRET: &str = "test-secret";
