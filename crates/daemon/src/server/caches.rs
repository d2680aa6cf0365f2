//! The caches of other build tools, on the daemon's port.

use axum::Router;
use axum::middleware::from_fn_with_state;
use buildnet_cas::{Durability, Store, StoreOptions};
use buildnet_reapi::{CacheOptions, CacheService};

use super::guard::guard_caches;
use super::state::App;
use crate::error::ErrorReport;

/// The gRPC services of the Remote Execution API's caching side and the HTTP caches, over the cache that builds of this machine use
/// as well.
///
/// What clients upload is on disk before they are told so. With a token every client must show it, in the way of its protocol.
pub fn caches(app: &App, token: Option<&str>) -> Result<Router, ErrorReport> {
    let builds = app.service().store_for("")?;
    let (directory, max_bytes) = (builds.dir(), builds.stats().map_err(|error| ErrorReport::of(&error))?.max_bytes);
    let options = StoreOptions { max_bytes, durability: Durability::Synced, ..StoreOptions::default() };
    let store = Store::open(directory, options).map_err(|error| ErrorReport::of(&error))?;
    let access = match token {
        Some(token) => buildnet_reapi::Access::parse(&format!("owner admin {token}"), None)
            .map_err(|error| ErrorReport::of(&error))?,
        None => buildnet_reapi::Access::open(),
    };
    let options = CacheOptions { access, ..CacheOptions::default() };
    let service =
        CacheService::open(store, &directory.join("clients"), options).map_err(|error| ErrorReport::of(&error))?;
    app.metrics().serve_caches(service.clone());
    let http = buildnet_http_cache::router(service.clone()).map_err(|error| ErrorReport::of(&error))?;
    let router = buildnet_reapi::router(service).merge(http);
    Ok(router.layer(from_fn_with_state(app.clone(), guard_caches)))
}
