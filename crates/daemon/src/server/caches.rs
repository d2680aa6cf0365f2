//! The caches of other build tools, on the daemon's port.

use axum::Router;
use axum::middleware::from_fn_with_state;
use buildnet_cas::{Durability, Store, StoreOptions};
use buildnet_http_cache::hash_equivalence::{self, Equivalences};
use buildnet_reapi::namespace::Overlay;
use buildnet_reapi::{CacheOptions, CacheService, Limits};
use tokio::net::TcpListener;

use super::guard::{guard_caches, is_same_user};
use super::state::App;
use crate::error::ErrorReport;

/// How the caches of other build tools are served.
#[derive(Debug, Default)]
pub struct CacheServing {
    /// Bounds of what clients can cost.
    pub limits: Limits,
    /// Instances that fall back to others.
    pub overlays: Vec<Overlay>,
    /// Where BitBake's hash equivalence is served over TCP, too.
    pub hash_equivalence: Option<TcpListener>,
}

/// The gRPC services of the Remote Execution API's caching side and the HTTP caches, over the cache that builds of this machine use
/// as well.
///
/// What clients upload is on disk before they are told so. Where there are tokens every client must show one, in the way of its
/// protocol.
pub fn caches(app: &App, serving: CacheServing) -> Result<Router, ErrorReport> {
    let builds = app.service().store_for("")?;
    let (directory, max_bytes) = (builds.dir(), builds.stats().map_err(|error| ErrorReport::of(&error))?.max_bytes);
    let options = StoreOptions { max_bytes, durability: Durability::Synced, ..StoreOptions::default() };
    let store = Store::open(directory, options).map_err(|error| ErrorReport::of(&error))?;
    let CacheServing { limits, overlays, hash_equivalence } = serving;
    let options = CacheOptions { access: app.access().tokens().clone(), limits, overlays, ..CacheOptions::default() };
    let service =
        CacheService::open(store, &directory.join("clients"), options).map_err(|error| ErrorReport::of(&error))?;
    let equivalences = Equivalences::open(&service.dir().join("hash-equivalence.sqlite"));
    let equivalences = equivalences.map_err(|error| ErrorReport::of(&error))?;
    app.metrics().serve_caches(service.clone());
    if let Some(listener) = hash_equivalence {
        let app = app.clone();
        let lets_in = move |ends| is_same_user(&app, ends);
        let lines = hash_equivalence::serve_to(listener, service.clone(), equivalences.clone(), move |local, peer| {
            lets_in(super::guard::Ends { local, peer })
        });
        tokio::spawn(async move {
            if let Err(error) = lines.await {
                tracing::error!(%error, "hash equivalence over TCP broke off");
            }
        });
    }
    let http = buildnet_http_cache::router_with(service.clone(), equivalences);
    let router = buildnet_reapi::router(service).merge(http);
    Ok(router.layer(from_fn_with_state(app.clone(), guard_caches)))
}
