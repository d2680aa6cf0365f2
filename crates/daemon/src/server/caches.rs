//! The caches of other build tools, on the daemon's port.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use buildnet_cas::Durability;
use buildnet_event::{Bus, EventKind, Level};
use buildnet_http_cache::hash_equivalence::{self, Equivalences};
use buildnet_reapi::metrics::Regression;
use buildnet_reapi::namespace::Overlay;
use buildnet_reapi::{Backing, CacheOptions, CacheService, Limits, Origins};
use buildnet_tiers::Tier;
use tokio::net::TcpListener;

use super::connections::notice_the_vanished;
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
    /// Where assets may be fetched from.
    pub origins: Origins,
    /// Where BitBake's hash equivalence is served over TCP, too.
    pub hash_equivalence: Option<TcpListener>,
    /// When clients of that count as gone, see [`ConnectionOptions::vanished`](super::ConnectionOptions).
    pub vanished: Duration,
    /// Whether results are taken of known actions alone.
    pub demand_actions: bool,
    /// What stands behind the cache; see [`backing`](super::backing()). Whoever serves closes it at the end.
    pub backing: Option<Tier>,
}

/// Tells on `bus` which clients used to hit and do no more. Never returns.
async fn tell_regressions(service: CacheService, bus: Bus) {
    loop {
        for Regression { instance, client, before, now } in service.metrics().regressions().await {
            let place =
                if instance.is_empty() { "the default instance".to_owned() } else { format!("instance {instance}") };
            let text = format!(
                "{client} stopped hitting the cache in {place}: {now} % of its lookups hit, {before} % did before"
            );
            let hint = "compare one of its actions with the same one of before: `buildnet why --action A --other B`";
            bus.publish(None, EventKind::Notice { level: Level::Warning, text, hint: Some(hint.to_owned()) });
        }
    }
}

/// The gRPC services of the Remote Execution API's caching side and the HTTP caches, over the cache that builds of this machine use
/// as well.
///
/// What clients upload is on disk before they are told so. Where there are tokens every client must show one, in the way of its
/// protocol.
pub fn caches(app: &App, serving: CacheServing) -> Result<Router, ErrorReport> {
    let builds = app.service().store_for("")?;
    // One store with one index in memory; only what it promises when it takes something differs.
    let store = builds.with_durability(Durability::Synced);
    store.load().map_err(|error| ErrorReport::of(&error))?;
    let directory = builds.dir();
    let CacheServing { limits, overlays, origins, hash_equivalence, vanished, demand_actions, backing } = serving;
    if let Some(tier) = &backing {
        super::backing::resume(tier, &store, &directory.join("clients"))?;
    }
    let backing = backing.map(|tier| Arc::new(tier) as Arc<dyn Backing>);
    let access = app.access().tokens().clone();
    let options = CacheOptions { access, limits, overlays, backing, origins, demand_actions };
    let service =
        CacheService::open(store, &directory.join("clients"), options).map_err(|error| ErrorReport::of(&error))?;
    let equivalences = Equivalences::open(&service.dir().join("hash-equivalence.sqlite"));
    let equivalences = equivalences.map_err(|error| ErrorReport::of(&error))?;
    app.metrics().serve_caches(service.clone());
    tokio::spawn(tell_regressions(service.clone(), app.service().bus().clone()));
    if let Some(listener) = hash_equivalence {
        notice_the_vanished(&listener, vanished)
            .map_err(|error| ErrorReport::environment("hash equivalence cannot be served").because(&error))?;
        let app = app.clone();
        let lets_in = move |ends: &super::guard::Ends| is_same_user(&app, ends);
        let lines = hash_equivalence::serve_to(listener, service.clone(), equivalences.clone(), move |local, peer| {
            lets_in(&super::guard::Ends::new(local, peer))
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
