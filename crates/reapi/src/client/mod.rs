//! A client of any REAPI cache.

mod error;
mod target;
mod tls;
mod transfer;

use std::collections::HashMap;
use std::time::Duration;

use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;
use reapi::action_cache_client::ActionCacheClient;
use reapi::capabilities_client::CapabilitiesClient;
use reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

pub use self::error::RemoteError;
pub use self::target::Target;
pub use self::tls::TlsOptions;

/// Largest batch when the server names no limit, in bytes: gRPC's default message size, less room for the digests.
const DEFAULT_BATCH: u64 = (4 << 20) - (64 << 10);
/// Most digests in one FindMissingBlobs.
const MAX_DIGESTS: usize = 10_000;
/// Largest HTTP/2 frame that is taken, in bytes: the default of 16 KiB makes large streams many small ones.
pub(crate) const MAX_FRAME: u32 = 256 << 10;
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long one unary call may take.
const CALL: Duration = Duration::from_mins(1);

/// Adds the token to each request.
#[derive(Clone, Debug)]
pub(crate) struct Authorize {
    header: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

pub(crate) type Authorized = InterceptedService<Channel, Authorize>;

/// A connection to an instance of a REAPI cache. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct RemoteCache {
    instance: String,
    /// `grpc://host:port`.
    server: String,
    service: Authorized,
    max_batch: u64,
    functions: Vec<DigestFunction>,
    writable: bool,
    zstd: bool,
}

impl RemoteCache {
    /// Connects to `grpc://host:port[/instance]`, or the same with `grpcs` for TLS, and asks what the server can do. `token` is
    /// sent as a bearer token. Servers are trusted as the machine's certificates say.
    pub async fn connect(target: &str, token: Option<&str>) -> Result<Self, RemoteError> {
        Self::connect_with(target, token, &TlsOptions::default()).await
    }

    /// As [`RemoteCache::connect`], with other authorities or a certificate of our own.
    pub async fn connect_with(target: &str, token: Option<&str>, tls: &TlsOptions) -> Result<Self, RemoteError> {
        let Target { secure, authority, instance } = target.parse()?;
        let scheme = if secure { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{authority}"))
            .map_err(|_| RemoteError::Target { text: target.to_owned() })?
            .user_agent(concat!("buildnet/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| RemoteError::Target { text: target.to_owned() })?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(MAX_FRAME)
            .tcp_nodelay(true);
        if secure {
            let failed = |source| RemoteError::Connect { authority: authority.clone(), source };
            endpoint = endpoint.tls_config(tls.config()?).map_err(failed)?;
        }
        let channel =
            endpoint.connect().await.map_err(|source| RemoteError::Connect { authority: authority.clone(), source })?;
        let header = match token {
            None => None,
            Some(token) => {
                let mut header: MetadataValue<Ascii> =
                    format!("Bearer {token}").parse().map_err(|_| RemoteError::Token)?;
                header.set_sensitive(true);
                Some(header)
            }
        };
        let service = InterceptedService::new(channel, Authorize { header });
        let mut cache = Self {
            instance,
            server: format!("{}://{authority}", if secure { "grpcs" } else { "grpc" }),
            service,
            max_batch: DEFAULT_BATCH,
            functions: vec![DigestFunction::Sha256],
            writable: true,
            zstd: false,
        };
        cache.negotiate().await?;
        Ok(cache)
    }

    async fn negotiate(&mut self) -> Result<(), RemoteError> {
        let request = reapi::GetCapabilitiesRequest { instance_name: self.instance.clone() };
        let mut client = CapabilitiesClient::new(self.service.clone());
        let answer = client.get_capabilities(bounded(request)).await;
        let capabilities = answer.map_err(|status| self.failed("ask the capabilities of", status))?.into_inner();
        let cache = capabilities.cache_capabilities.ok_or_else(|| RemoteError::NoCache { target: self.target() })?;
        let supported = |function: &DigestFunction| cache.digest_functions.contains(&(function.to_reapi() as i32));
        self.functions = DigestFunction::ALL.into_iter().filter(supported).collect();
        self.writable = cache.action_cache_update_capabilities.is_some_and(|update| update.update_enabled);
        self.zstd = cache.supported_compressors.contains(&(reapi::compressor::Value::Zstd as i32));
        if let Ok(limit) = u64::try_from(cache.max_batch_total_size_bytes) {
            self.max_batch = if limit == 0 { DEFAULT_BATCH } else { limit.min(DEFAULT_BATCH) };
        }
        Ok(())
    }

    /// `grpc://host:port/instance`.
    pub fn target(&self) -> String {
        format!("{}/{}", self.server, self.instance)
    }

    /// Another instance of the same server, over the same connection. What the server allows is taken to be the same.
    #[must_use]
    pub fn with_instance(&self, instance: &str) -> Self {
        Self { instance: instance.to_owned(), ..self.clone() }
    }

    /// The instance.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the server takes digests of this function.
    pub fn supports(&self, function: DigestFunction) -> bool {
        self.functions.contains(&function)
    }

    /// Whether the server takes action results from this client.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Bytes of all blobs in one batch at most.
    pub fn max_batch(&self) -> u64 {
        self.max_batch
    }

    pub(crate) fn failed(&self, action: &'static str, status: Status) -> RemoteError {
        RemoteError::Call { action, target: self.target(), status: Box::new(status) }
    }

    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Authorized> {
        ContentAddressableStorageClient::new(self.service.clone()).max_decoding_message_size(16 << 20)
    }

    pub(crate) fn actions(&self) -> ActionCacheClient<Authorized> {
        ActionCacheClient::new(self.service.clone()).max_decoding_message_size(16 << 20)
    }

    pub(crate) fn streams(&self) -> ByteStreamClient<Authorized> {
        ByteStreamClient::new(self.service.clone()).max_decoding_message_size(16 << 20)
    }

    /// Those of the digests, all of one function, whose blobs the server has not.
    pub async fn find_missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, RemoteError> {
        let mut missing = Vec::new();
        for digests in digests.chunks(MAX_DIGESTS) {
            let function = digests[0].function();
            let request = reapi::FindMissingBlobsRequest {
                instance_name: self.instance.clone(),
                blob_digests: digests.iter().map(Digest::to_reapi).collect(),
                digest_function: function.to_reapi() as i32,
            };
            let answer = self.cas().find_missing_blobs(bounded(request)).await;
            let answer = answer.map_err(|status| self.failed("look for blobs in", status))?.into_inner();
            for digest in answer.missing_blob_digests {
                missing.push(self.own(function, &digest)?);
            }
        }
        Ok(missing)
    }

    fn own(&self, function: DigestFunction, digest: &reapi::Digest) -> Result<Digest, RemoteError> {
        Digest::from_reapi(function, digest).map_err(|_| RemoteError::Answer {
            target: self.target(),
            what: format!("names `{}` as a digest", digest.hash.chars().take(160).collect::<String>()),
        })
    }

    /// The result of an action; `None` when the server has none.
    pub async fn action_result(&self, action: &Digest) -> Result<Option<reapi::ActionResult>, RemoteError> {
        let request = reapi::GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.to_reapi()),
            digest_function: action.function().to_reapi() as i32,
            ..Default::default()
        };
        match self.actions().get_action_result(bounded(request)).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.failed("look an action up in", status)),
        }
    }

    /// Stores the result of an action, whose blobs must be there already.
    pub async fn put_action_result(&self, action: &Digest, result: &reapi::ActionResult) -> Result<(), RemoteError> {
        let request = reapi::UpdateActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.to_reapi()),
            action_result: Some(result.clone()),
            results_cache_policy: None,
            digest_function: action.function().to_reapi() as i32,
        };
        let answer = self.actions().update_action_result(bounded(request)).await;
        answer.map(drop).map_err(|status| self.failed("store an action's result in", status))
    }

    /// Reads blobs, all of one function, in as few batches as the server allows; those over the limit go as streams.
    /// Blobs that the server has not are left out. All content is verified.
    pub async fn read(&self, digests: &[Digest]) -> Result<HashMap<Digest, Bytes>, RemoteError> {
        let (small, large): (Vec<Digest>, Vec<Digest>) =
            digests.iter().partition(|digest| digest.size() <= self.max_batch / 2);
        let mut blobs = HashMap::with_capacity(digests.len());
        for batch in transfer::batches(&small, Digest::size, self.max_batch) {
            blobs.extend(self.read_batch(batch).await?);
        }
        for digest in large {
            if let Some(blob) = self.read_stream(&digest).await? {
                blobs.insert(digest, blob);
            }
        }
        Ok(blobs)
    }

    /// Stores blobs, all of one function, in as few batches as the server allows; those over the limit go as streams.
    pub async fn write(&self, blobs: &[(Digest, Bytes)]) -> Result<(), RemoteError> {
        let (small, large): (Vec<_>, Vec<_>) =
            blobs.iter().cloned().partition(|(digest, _)| digest.size() <= self.max_batch / 2);
        for batch in transfer::batches(&small, |(digest, _)| digest.size(), self.max_batch) {
            self.write_batch(batch).await?;
        }
        for (digest, blob) in large {
            self.write_stream(&digest, blob).await?;
        }
        Ok(())
    }
}

/// A request that must be answered within a time.
fn bounded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}
