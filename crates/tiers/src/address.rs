//! From an address to a far side.

use std::collections::BTreeMap;
use std::sync::Arc;

use buildnet_reapi::TlsOptions;

use crate::backend::Backend;
use crate::error::{BackendError, Failure};
use crate::reapi::ReapiBackend;
use crate::s3::{S3Backend, S3Location};

/// What may be needed to be let in. Its `Debug` form tells none of it.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Token of a REAPI cache.
    pub token: Option<String>,
    /// Access key and secret key of an object store; none to ask without a signature.
    pub keys: Option<(String, String)>,
    /// Session token that belongs to the keys.
    pub session: Option<String>,
    /// Region where the address names none.
    pub region: Option<String>,
    /// Endpoint where the address names none.
    pub endpoint: Option<String>,
    /// Whom to trust and what to show over TLS.
    pub tls: TlsOptions,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

impl Credentials {
    /// From environment variables: `token` names the one with the token; those of object stores have the names that AWS gave them.
    pub fn from_environment(environment: &BTreeMap<String, String>, token: &str) -> Self {
        let get = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let keys = get("AWS_ACCESS_KEY_ID").zip(get("AWS_SECRET_ACCESS_KEY"));
        Self {
            token: get(token),
            keys,
            session: get("AWS_SESSION_TOKEN"),
            region: get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")),
            endpoint: get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL")),
            tls: TlsOptions::default(),
        }
    }

    /// With whom to trust, and what to show, over TLS.
    #[must_use]
    pub fn with_tls(self, tls: TlsOptions) -> Self {
        Self { tls, ..self }
    }
}

/// The far side at an address. Fails for an address that cannot be; connects when it is first needed.
pub fn open(address: &str, credentials: &Credentials) -> Result<Arc<dyn Backend>, BackendError> {
    match address.split_once("://") {
        Some(("s3", _)) => Ok(Arc::new(S3Backend::new(S3Location::parse(address, credentials)?, credentials)?)),
        Some(("grpc" | "grpcs", _)) => {
            let backend = ReapiBackend::new(address, credentials.token.clone())?;
            Ok(Arc::new(backend.with_tls(credentials.tls.clone())))
        }
        _ => {
            let shown: String = address.chars().take(200).collect();
            Err(BackendError::new(Failure::Denied, format!("`{shown}` is no address of a cache"))
                .with_hint("write it as `grpc://host:9876/main`, `grpcs://host:443` or `s3://bucket/prefix`"))
        }
    }
}
