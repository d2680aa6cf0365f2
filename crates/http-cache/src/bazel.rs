//! Bazel's HTTP cache: GET and PUT of `/ac/{hash}` and `/cas/{hash}`, SHA-256
//! (<https://bazel.build/remote/caching#http-caching>). The same entries as over gRPC: action results are checked for
//! completeness, and blobs for their hash.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::metrics::Outcome;
use buildnet_reapi::{CacheError, CacheService, Role};
use prost::Message;

use crate::body::{self, invalid};
use crate::caller::{Caller, State};
use crate::reply;

const PROTOCOL: &str = "bazel-http";
const FUNCTION: DigestFunction = DigestFunction::Sha256;
/// The size in the digests of actions, which HTTP does not tell.
const NO_SIZE: u64 = 1;
/// Largest action result in bytes.
const MAX_RESULT: usize = 8 << 20;

pub(crate) fn routes() -> Router<State> {
    Router::new()
        .route("/ac/{key}", get(load_result).put(store_result))
        .route("/cas/{key}", get(load_blob).put(store_blob))
}

/// With the instance in front.
pub(crate) fn instance_routes() -> Router<State> {
    Router::new()
        .route("/{instance}/ac/{key}", get(load_result).put(store_result))
        .route("/{instance}/cas/{key}", get(load_blob).put(store_blob))
}

fn digest_of(hash: &str, size: u64) -> Result<Digest, CacheError> {
    Digest::from_hex(FUNCTION, hash, size).map_err(|error| invalid(&error.to_string()))
}

async fn load_result(caller: Caller) -> Response {
    let result = async {
        caller.allow(Role::Read)?;
        let action = digest_of(&caller.key, NO_SIZE)?;
        let instance = caller.instance.clone();
        let look = move |service: &CacheService| {
            Ok(service.action_result(&instance, &action)?.map(|result| result.encode_to_vec()))
        };
        caller.state.look(|service| service.wanted_action(&caller.instance, &action), look).await
    };
    match result.await {
        Ok(Some(bytes)) => {
            caller.count(PROTOCOL, "get_ac", Outcome::Hit, 0, bytes.len() as u64);
            bytes.into_response()
        }
        Ok(None) => {
            caller.count(PROTOCOL, "get_ac", Outcome::Miss, 0, 0);
            reply::missing()
        }
        Err(error) => {
            caller.count(PROTOCOL, "get_ac", Outcome::Failed, 0, 0);
            reply::failure(&error)
        }
    }
}

async fn store_result(caller: Caller, content: Body) -> Response {
    let stored = async {
        let writer = caller.allow(Role::Write)?;
        let action = digest_of(&caller.key, NO_SIZE)?;
        let bytes = body::receive_small(&caller.state, content, MAX_RESULT).await?;
        let size = bytes.len() as u64;
        let result = reapi::ActionResult::decode(bytes).map_err(|_| invalid("this is no ActionResult"))?;
        let digests = result.output_files.iter().map(|file| file.digest.as_ref());
        if digests.into_iter().any(|digest| digest.is_none_or(|digest| Digest::from_reapi(FUNCTION, digest).is_err())) {
            return Err(invalid("an output file of this ActionResult has no SHA-256 digest"));
        }
        let instance = caller.instance.clone();
        caller.state.run(move |service| service.put_action_result(&writer, &instance, &action, &result)).await?;
        Ok(size)
    };
    let stored = reply::counted(&caller, PROTOCOL, stored.await);
    stored.map_or_else(|error| reply::failure(&error), |_| StatusCode::OK.into_response())
}

/// The digest of the blob with the hash that the client asks for, through whichever protocol it came.
async fn resolve(caller: &Caller) -> Result<Option<Digest>, CacheError> {
    caller.allow(Role::Read)?;
    let asked = digest_of(&caller.key, 0)?;
    caller.state.run(move |service| Ok(service.store().find_by_hash(FUNCTION, asked.hash())?)).await
}

async fn load_blob(caller: Caller, headers: HeaderMap) -> Response {
    let found = async {
        match resolve(&caller).await? {
            Some(digest) => Ok(body::send(&caller.state, digest, &headers).await?.map(|response| (digest, response))),
            None => Ok(None),
        }
    };
    match found.await {
        Ok(Some((digest, response))) => {
            caller.count(PROTOCOL, "get_cas", Outcome::Hit, 0, digest.size());
            response
        }
        Ok(None) => {
            caller.count(PROTOCOL, "get_cas", Outcome::Miss, 0, 0);
            reply::missing()
        }
        Err(error) => {
            caller.count(PROTOCOL, "get_cas", Outcome::Failed, 0, 0);
            reply::failure(&error)
        }
    }
}

async fn store_blob(caller: Caller, content: Body) -> Response {
    let stored = async {
        caller.allow(Role::Write)?;
        digest_of(&caller.key, 0)?;
        let digest = body::receive(&caller.state, FUNCTION, content).await?;
        if digest.hex() != caller.key {
            return Err(invalid(&format!("the content has the hash {}", digest.hex())));
        }
        Ok(digest.size())
    };
    let stored = reply::counted(&caller, PROTOCOL, stored.await);
    stored.map_or_else(|error| reply::failure(&error), |_| StatusCode::OK.into_response())
}
