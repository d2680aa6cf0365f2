//! Who sends a request, about which key of which instance.

use std::convert::Infallible;
use std::ops::Deref;
use std::time::Instant;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header;
use axum::http::request::Parts;
use buildnet_reapi::metrics::{Outcome, Sample};
use buildnet_reapi::{CacheError, CacheService, Identity, Role};

use crate::hash_equivalence::Equivalences;

/// Longest name of a client that is kept, in characters.
const MAX_CLIENT: usize = 64;

/// What all adapters share.
#[derive(Clone, Debug)]
pub(crate) struct State {
    service: CacheService,
    pub(crate) equivalences: Equivalences,
}

impl State {
    pub(crate) fn new(service: CacheService, equivalences: Equivalences) -> Self {
        Self { service, equivalences }
    }
}

impl Deref for State {
    type Target = CacheService;

    fn deref(&self) -> &CacheService {
        &self.service
    }
}

/// One request from its arrival to its answer.
pub(crate) struct Caller {
    pub(crate) state: State,
    pub(crate) instance: String,
    /// The part of the path that is the key, decoded.
    pub(crate) key: String,
    identity: Option<Identity>,
    client: String,
    started: Instant,
}

impl FromRequestParts<State> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        let (mut instance, mut key) = (String::new(), String::new());
        if let Ok(parameters) = RawPathParams::from_request_parts(parts, state).await {
            for (name, value) in &parameters {
                match name {
                    "instance" => value.clone_into(&mut instance),
                    "key" => value.clone_into(&mut key),
                    _ => {}
                }
            }
        }
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
        let client = agent.split(['/', ' ']).next().unwrap_or("unknown").chars().take(MAX_CLIENT).collect();
        let identity = parts.extensions.get::<Identity>().cloned();
        Ok(Self { state: state.clone(), instance, key, identity, client, started: Instant::now() })
    }
}

impl Caller {
    /// Checks what the caller may do in its instance.
    pub(crate) fn allow(&self, role: Role) -> Result<Identity, CacheError> {
        self.state.authorize(self.identity.as_ref(), &self.instance, role)
    }

    /// Who calls; what they may do is checked by whoever does it.
    pub(crate) fn identity(&self) -> Result<Identity, CacheError> {
        let nobody = || CacheError::Denied { name: "nobody".into(), action: "administrate", instance: String::new() };
        self.identity.clone().ok_or_else(nobody)
    }

    /// Counts the request.
    pub(crate) fn count(
        &self,
        protocol: &'static str,
        operation: &'static str,
        outcome: Outcome,
        received: u64,
        sent: u64,
    ) {
        self.state.metrics().record(&Sample {
            protocol,
            operation,
            instance: &self.instance,
            client: &self.client,
            outcome,
            received,
            sent,
            latency: self.started.elapsed(),
        });
    }
}
