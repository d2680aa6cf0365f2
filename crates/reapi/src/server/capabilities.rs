//! What the server can do (`Capabilities` service).

use bazel_remote_apis::build::bazel::semver::SemVer;
use buildnet_digest::{DigestFunction, reapi};
use reapi::capabilities_server::Capabilities as Service;
use tonic::{Request, Response, Status};

use super::call::Call;
use super::chunking::AVERAGE_CHUNK;
use crate::access::Role;
use crate::compress::Compressor;
use crate::service::CacheService;

pub(super) struct Capabilities {
    service: CacheService,
}

impl Capabilities {
    pub(super) fn new(service: CacheService) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl Service for Capabilities {
    async fn get_capabilities(
        &self,
        request: Request<reapi::GetCapabilitiesRequest>,
    ) -> Result<Response<reapi::ServerCapabilities>, Status> {
        let mut call = Call::open(&self.service, "get_capabilities", &request);
        let identity = call.allow(&request.get_ref().instance_name, Role::Read);
        let limits = *self.service.limits();
        let result = identity.map(|identity| capabilities(&limits, identity.role >= Role::Write));
        call.close(result)
    }
}

fn capabilities(limits: &crate::service::Limits, update_enabled: bool) -> reapi::ServerCapabilities {
    let compressors = vec![Compressor::Zstd.to_reapi(), Compressor::Deflate.to_reapi()];
    let cache = reapi::CacheCapabilities {
        digest_functions: DigestFunction::ALL.iter().map(|function| function.to_reapi() as i32).collect(),
        action_cache_update_capabilities: Some(reapi::ActionCacheUpdateCapabilities { update_enabled }),
        cache_priority_capabilities: None,
        max_batch_total_size_bytes: i64::try_from(limits.max_batch_bytes).unwrap_or(i64::MAX),
        symlink_absolute_path_strategy: reapi::symlink_absolute_path_strategy::Value::Allowed as i32,
        supported_compressors: compressors.clone(),
        supported_batch_update_compressors: compressors,
        max_cas_blob_size_bytes: i64::try_from(limits.max_blob_bytes).unwrap_or(i64::MAX),
        split_blob_support: true,
        splice_blob_support: true,
        fast_cdc_2020_params: Some(reapi::FastCdc2020Params {
            avg_chunk_size_bytes: u64::from(AVERAGE_CHUNK),
            seed: 0,
        }),
        rep_max_cdc_params: None,
    };
    let version = |minor| Some(SemVer { major: 2, minor, ..Default::default() });
    reapi::ServerCapabilities {
        cache_capabilities: Some(cache),
        execution_capabilities: None,
        deprecated_api_version: None,
        low_api_version: version(0),
        high_api_version: version(13),
    }
}
