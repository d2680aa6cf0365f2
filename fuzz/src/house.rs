//! One cache that all targets talk to, in this process and without sockets where that can be.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use buildnet_cas::{Store, StoreOptions};
use buildnet_reapi::{CacheOptions, CacheService, Limits};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 20;
/// An answer that is not there after this time is a hang, which is a failure.
const HANG: Duration = Duration::from_mins(1);

/// The cache, its routes, and the runtime that serves them.
pub(crate) struct House {
    pub(crate) service: CacheService,
    pub(crate) runtime: Runtime,
    grpc: Router,
    http: Router,
    _dir: tempfile::TempDir,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

static HOUSE: LazyLock<Arc<House>> = LazyLock::new(|| Arc::new(House::open()));

/// The cache of this process.
pub(crate) fn house() -> Arc<House> {
    Arc::clone(&HOUSE)
}

impl House {
    fn open() -> Self {
        let dir = tempfile::tempdir().expect("fuzzing needs a temporary directory");
        let options = StoreOptions { max_bytes: 1 << 30, ..StoreOptions::default() };
        let store = Store::open(&dir.path().join("store"), options).expect("a new store opens");
        let limits = Limits { max_blob_bytes: 16 << 20, idle: Duration::from_secs(5), ..Limits::default() };
        let options = CacheOptions { limits, ..CacheOptions::default() };
        let service = CacheService::open(store, dir.path(), options).expect("a new cache opens");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let http = buildnet_http_cache::router(service.clone()).expect("a new database opens");
        Self {
            grpc: buildnet_reapi::router(service.clone()),
            http,
            runtime: runtime.expect("a runtime starts"),
            service,
            _dir: dir,
        }
    }

    pub(crate) fn grpc(&self, request: Request<Body>) -> Answer {
        self.ask(self.grpc.clone(), request)
    }

    pub(crate) fn http(&self, request: Request<Body>) -> Answer {
        self.ask(self.http.clone(), request)
    }

    fn ask(&self, router: Router, request: Request<Body>) -> Answer {
        let answer = async {
            let Ok(response) = router.oneshot(request).await;
            let (parts, body) = response.into_parts();
            let collected = Limited::new(body, MAX_ANSWER).collect().await;
            let Ok(collected) = collected else {
                // Broken off in the middle: the status before it counts.
                return Answer { status: parts.status, headers: parts.headers, body: Bytes::new() };
            };
            let mut headers = parts.headers;
            headers.extend(collected.trailers().cloned().unwrap_or_default());
            Answer { status: parts.status, headers, body: collected.to_bytes() }
        };
        let answer = self.runtime.block_on(async { tokio::time::timeout(HANG, answer).await });
        answer.unwrap_or_else(|_| panic!("no answer within {HANG:?}"))
    }
}
