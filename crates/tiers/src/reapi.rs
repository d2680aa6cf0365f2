//! Another REAPI cache as the far side.

use std::time::{Duration, Instant};

use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::client::Target;
use buildnet_reapi::{EntryKey, RemoteCache, TlsOptions};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::{Receiver, Sender};

use crate::backend::Backend;
use crate::error::{BackendError, Failure};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a failure to connect is shared with others.
const SHARED: Duration = Duration::from_secs(1);

/// A REAPI cache, connected to when it is first needed.
///
/// Entries of instance `I` are those of instance `I` below the address's own instance. Entries that are no REAPI actions are kept
/// under their derived key, as if it were an action's digest.
pub struct ReapiBackend {
    target: String,
    instance: String,
    token: Option<String>,
    tls: TlsOptions,
    connection: OnceCell<RemoteCache>,
    /// When connecting failed last, and how: whoever waited for the connection meanwhile shares the failure.
    refused: Mutex<Option<(Instant, BackendError)>>,
}

impl std::fmt::Debug for ReapiBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out.
        f.debug_struct("ReapiBackend").field("target", &self.target).finish_non_exhaustive()
    }
}

impl ReapiBackend {
    /// The cache at `grpc://host:port[/instance]` or `grpcs://…`. Fails for an address that is none; connects later.
    pub fn new(target: &str, token: Option<String>) -> Result<Self, BackendError> {
        let Target { instance, .. } = target.parse::<Target>()?;
        let tls = TlsOptions::default();
        let (connection, refused) = (OnceCell::new(), Mutex::default());
        Ok(Self { target: target.to_owned(), instance, token, tls, connection, refused })
    }

    /// Trusts these authorities, and shows this certificate, over `grpcs://`.
    #[must_use]
    pub fn with_tls(self, tls: TlsOptions) -> Self {
        Self { tls, ..self }
    }

    async fn remote(&self, function: Option<DigestFunction>) -> Result<&RemoteCache, BackendError> {
        let connect = || async {
            if let Some((at, error)) = &*self.refused.lock()
                && at.elapsed() < SHARED
            {
                return Err(error.clone());
            }
            let connecting = RemoteCache::connect_with(&self.target, self.token.as_deref(), &self.tls);
            let connected = tokio::time::timeout(CONNECT, connecting).await;
            let connected = connected.map_err(|_| BackendError::timeout(&self.target, CONNECT.as_secs()));
            let connected = connected.and_then(|connected| connected.map_err(BackendError::from));
            connected.inspect_err(|error| *self.refused.lock() = Some((Instant::now(), error.clone())))
        };
        let remote = self.connection.get_or_try_init(connect).await?;
        match function.filter(|function| !remote.supports(*function)) {
            None => Ok(remote),
            Some(function) => Err(BackendError::new(
                Failure::Denied,
                format!("{} takes no digests of the function {}", self.target, function.name()),
            )
            .with_hint("use a cache that takes them, such as `buildnet start`")),
        }
    }

    /// The instance and the digest that an entry has there.
    fn place(&self, key: &EntryKey) -> (String, Digest) {
        let Some(action) = key.action else {
            // Its size is out of what clients may name; the hash alone tells it apart.
            let named = Digest::from_hex(key.key.function(), &key.key.hex(), 1);
            return (self.instance.clone(), named.unwrap_or(key.key));
        };
        let instance = match (self.instance.as_str(), key.instance.as_str()) {
            (below, "") => below.to_owned(),
            ("", above) => above.to_owned(),
            (below, above) => format!("{below}/{above}"),
        };
        (instance, action)
    }
}

fn function_of(digests: &[Digest]) -> Option<DigestFunction> {
    digests.first().map(Digest::function)
}

#[tonic::async_trait]
impl Backend for ReapiBackend {
    fn name(&self) -> String {
        self.target.clone()
    }

    fn supports(&self, function: DigestFunction) -> bool {
        self.connection.get().is_none_or(|remote| remote.supports(function))
    }

    async fn writable(&self) -> Result<bool, BackendError> {
        Ok(self.remote(None).await?.is_writable())
    }

    async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, BackendError> {
        Ok(self.remote(function_of(digests)).await?.find_missing(digests).await?)
    }

    async fn read(&self, digests: &[Digest]) -> Result<Vec<(Digest, Bytes)>, BackendError> {
        Ok(self.remote(function_of(digests)).await?.read(digests).await?.into_iter().collect())
    }

    async fn read_pieces(&self, digest: &Digest, pieces: Sender<Bytes>) -> Result<bool, BackendError> {
        Ok(self.remote(Some(digest.function())).await?.download(digest, &pieces).await?)
    }

    async fn write(&self, blobs: Vec<(Digest, Bytes)>) -> Result<(), BackendError> {
        let function = blobs.first().map(|(digest, _)| digest.function());
        Ok(self.remote(function).await?.write(&blobs).await?)
    }

    async fn write_pieces(&self, digest: &Digest, pieces: Receiver<Bytes>) -> Result<(), BackendError> {
        Ok(self.remote(Some(digest.function())).await?.upload_pieces(digest, pieces).await?)
    }

    async fn result(&self, key: &EntryKey) -> Result<Option<reapi::ActionResult>, BackendError> {
        let (instance, action) = self.place(key);
        let remote = self.remote(Some(action.function())).await?.with_instance(&instance);
        Ok(remote.action_result(&action).await?)
    }

    async fn put_result(&self, key: &EntryKey, result: &reapi::ActionResult) -> Result<(), BackendError> {
        let (instance, action) = self.place(key);
        let remote = self.remote(Some(action.function())).await?.with_instance(&instance);
        Ok(remote.put_action_result(&action, result).await?)
    }

    /// REAPI has no way to remove an entry.
    async fn forget(&self, _key: &EntryKey) -> Result<Option<bool>, BackendError> {
        Ok(None)
    }
}
