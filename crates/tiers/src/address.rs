//! From an address to a far side.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{BackendError, Failure};
use crate::reapi::ReapiBackend;

/// What may be needed to be let in. Its `Debug` form tells none of it.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Token of a REAPI cache.
    pub token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

impl Credentials {
    /// From environment variables: `token` names the one with the token.
    pub fn from_environment(environment: &BTreeMap<String, String>, token: &str) -> Self {
        let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        Self { token: get(token) }
    }
}

/// The far side at an address. Fails for an address that cannot be; connects when it is first needed.
pub fn open(address: &str, credentials: &Credentials) -> Result<Arc<dyn Backend>, BackendError> {
    match address.split_once("://") {
        Some(("grpc" | "grpcs", _)) => Ok(Arc::new(ReapiBackend::new(address, credentials.token.clone())?)),
        _ => {
            let shown: String = address.chars().take(200).collect();
            Err(BackendError::new(Failure::Denied, format!("`{shown}` is no address of a cache"))
                .with_hint("write it as `grpc://host:9876/main`, `grpcs://host:443` or `s3://bucket/prefix`"))
        }
    }
}
