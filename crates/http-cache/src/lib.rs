//! The HTTP cache protocols of other build tools, one file each, over one store.
//!
//! Every protocol is there twice: at the addresses that its clients expect, for the default instance, and the same below
//! `/i/{instance}/` (with `/` in the instance's name written as `%2F`). How each client is set up: `docs/remote-cache.md`.

mod admin;
mod bazel;
mod body;
mod caller;
mod ccache;
mod gradle;
pub mod hash_equivalence;
mod nx;
pub mod push;
mod reply;
mod sccache;
mod sstate;
mod turborepo;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use buildnet_reapi::{CacheError, CacheService, Protocol, admit};

use crate::caller::State;
use crate::hash_equivalence::Equivalences;

/// All adapters. WebSocket upgrades must be on where it is mounted (hash equivalence).
pub fn router(service: CacheService) -> Result<Router, CacheError> {
    let equivalences = Equivalences::open(&service.dir().join("hash-equivalence.sqlite"))?;
    Ok(router_with(service, equivalences))
}

/// As [`router`], with a database of equivalences that [`hash_equivalence::serve`] may serve over TCP, too.
pub fn router_with(service: CacheService, equivalences: Equivalences) -> Router {
    let adapters = Router::new()
        .merge(admin::routes())
        .merge(bazel::routes())
        .merge(ccache::routes())
        .merge(gradle::routes())
        .merge(nx::routes())
        .merge(sccache::routes())
        .merge(sstate::routes())
        .merge(turborepo::routes());
    let state = State::new(service.clone(), equivalences);
    let router = Router::new()
        .nest("/i/{instance}", adapters.clone())
        .merge(adapters)
        // Bazel and moon put the instance right before `ac` and `cas`.
        .merge(bazel::instance_routes())
        // Bodies are read as streams, within the limits of the service.
        .layer(DefaultBodyLimit::disable())
        .with_state(state.clone());
    let equivalence = hash_equivalence::routes();
    let equivalence = Router::new().nest("/i/{instance}", equivalence.clone()).merge(equivalence).with_state(state);
    admit(router, service, Protocol::Http).merge(equivalence).layer(from_fn(gradle::forgive))
}
