//! `ContentAddressableStorage`: which blobs are there, and many small ones at once.

use bazel_remote_apis::google::rpc;
use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use reapi::batch_read_blobs_response::Response as ReadItem;
use reapi::batch_update_blobs_response::Response as UpdateItem;
use reapi::content_addressable_storage_server::ContentAddressableStorage as Service;
use tonic::{Code, Request, Response, Status, Streaming};

use super::call::Call;
use super::{chunking, tree};
use crate::access::Role;
use crate::backing::Wanted;
use crate::compress::Compressor;
use crate::digests::{digest_of, function_of};
use crate::metrics::Outcome;
use crate::prompt::AT_ONCE;
use crate::service::CacheService;
use crate::status::{from_cache, from_cas};

/// Below this size compressing saves nothing that matters. In bytes.
const WORTH_COMPRESSING: u64 = 1024;

pub(super) struct Cas {
    service: CacheService,
}

impl Cas {
    pub(super) fn new(service: CacheService) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl Service for Cas {
    type GetTreeStream = BoxStream<'static, Result<reapi::GetTreeResponse, Status>>;
    type GetChunkMappingStream = BoxStream<'static, Result<reapi::GetChunkMappingResponse, Status>>;

    async fn find_missing_blobs(
        &self,
        _: Request<reapi::FindMissingBlobsRequest>,
    ) -> Result<Response<reapi::FindMissingBlobsResponse>, Status> {
        // The route of `find::serve` goes before this service's.
        Err(Status::unimplemented("missing blobs are found elsewhere"))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<reapi::BatchUpdateBlobsRequest>,
    ) -> Result<Response<reapi::BatchUpdateBlobsResponse>, Status> {
        let mut call = Call::open(&self.service, "batch_update_blobs", &request);
        let result = batch_update(&mut call, request.into_inner()).await;
        call.close(result)
    }

    async fn batch_read_blobs(
        &self,
        request: Request<reapi::BatchReadBlobsRequest>,
    ) -> Result<Response<reapi::BatchReadBlobsResponse>, Status> {
        let mut call = Call::open(&self.service, "batch_read_blobs", &request);
        let result = batch_read(&mut call, request.into_inner()).await;
        call.close(result)
    }

    async fn get_tree(&self, request: Request<reapi::GetTreeRequest>) -> Result<Response<Self::GetTreeStream>, Status> {
        let mut call = Call::open(&self.service, "get_tree", &request);
        let result = tree::get_tree(&mut call, request.into_inner()).await;
        call.close(result)
    }

    async fn split_blob(
        &self,
        request: Request<reapi::SplitBlobRequest>,
    ) -> Result<Response<reapi::SplitBlobResponse>, Status> {
        let mut call = Call::open(&self.service, "split_blob", &request);
        let request = request.into_inner();
        let result =
            chunking::split(&mut call, &request.instance_name, request.digest_function, request.blob_digest.as_ref());
        let result = result.await.map(|(chunks, function)| reapi::SplitBlobResponse {
            chunk_digests: chunks.iter().map(Digest::to_reapi).collect(),
            chunking_function: function,
        });
        call.close(result)
    }

    async fn get_chunk_mapping(
        &self,
        request: Request<reapi::GetChunkMappingRequest>,
    ) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        let mut call = Call::open(&self.service, "get_chunk_mapping", &request);
        let request = request.into_inner();
        let result =
            chunking::split(&mut call, &request.instance_name, request.digest_function, request.blob_digest.as_ref());
        let result = result.await.map(|(chunks, function)| chunking::pages(&chunks, function).boxed());
        call.close(result)
    }

    async fn splice_blob(
        &self,
        request: Request<reapi::SpliceBlobRequest>,
    ) -> Result<Response<reapi::SpliceBlobResponse>, Status> {
        let mut call = Call::open(&self.service, "splice_blob", &request);
        let result = chunking::splice(&mut call, request.into_inner()).await;
        call.close(result.map(|digest| reapi::SpliceBlobResponse { blob_digest: Some(digest.to_reapi()) }))
    }

    async fn register_chunk_mapping(
        &self,
        request: Request<Streaming<reapi::RegisterChunkMappingRequest>>,
    ) -> Result<Response<reapi::RegisterChunkMappingResponse>, Status> {
        let mut call = Call::open(&self.service, "register_chunk_mapping", &request);
        let result = chunking::register(&mut call, request.into_inner()).await;
        call.close(result.map(|digest| reapi::RegisterChunkMappingResponse { blob_digest: Some(digest.to_reapi()) }))
    }
}

async fn batch_update(
    call: &mut Call,
    request: reapi::BatchUpdateBlobsRequest,
) -> Result<reapi::BatchUpdateBlobsResponse, Status> {
    call.allow(&request.instance_name, Role::Write)?;
    let sample = request.requests.first().and_then(|item| item.digest.as_ref());
    let function = function_of(request.digest_function, sample)?;
    // What the blobs take in memory once they are expanded counts, too.
    let size = |item: &reapi::batch_update_blobs_request::Request| {
        let claimed = item.digest.as_ref().and_then(|digest| u64::try_from(digest.size_bytes).ok()).unwrap_or(0);
        claimed.max(item.data.len() as u64)
    };
    within_limit(call, request.requests.iter().map(size))?;
    call.received = request.requests.iter().map(|item| item.data.len() as u64).sum();
    call.outcome = Outcome::Stored;
    let prompt = request.requests.iter().map(size).sum::<u64>() <= AT_ONCE as u64
        && request.requests.iter().all(|item| item.compressor == Compressor::Identity.to_reapi());
    let expand = move |service: &CacheService| Ok(expand(service, function, request.requests));
    // What is not compressed and not large is expanded and hashed faster than it is handed on.
    let service = call.service();
    let expanded = if prompt { expand(service) } else { service.run(expand).await };
    let (mut responses, places, blobs) = expanded.map_err(|error| from_cache(&error))?;
    let results = service.put_blobs(blobs).await.map_err(|error| from_cache(&error))?;
    for (place, result) in places.into_iter().zip(results) {
        if let Err(error) = result {
            responses[place].status = Some(rpc_status(&from_cas(&error)));
        }
    }
    Ok(reapi::BatchUpdateBlobsResponse { responses })
}

/// Answers to a batch as if all its blobs could be stored, the places in it of those that can be tried, and these.
type Expanded = (Vec<UpdateItem>, Vec<usize>, Vec<(Digest, Bytes)>);

fn expand(
    service: &CacheService,
    function: DigestFunction,
    requests: Vec<reapi::batch_update_blobs_request::Request>,
) -> Expanded {
    let mut responses = Vec::with_capacity(requests.len());
    let mut blobs: Vec<(Digest, Bytes)> = Vec::with_capacity(requests.len());
    let mut places = Vec::with_capacity(requests.len());
    for item in requests {
        let blob = blob_of(service, function, item.digest.as_ref(), item.compressor, item.data.into());
        let status = match blob {
            Ok(blob) => {
                places.push(responses.len());
                blobs.push(blob);
                ok()
            }
            Err(status) => rpc_status(&status),
        };
        responses.push(UpdateItem { digest: item.digest, status: Some(status) });
    }
    (responses, places, blobs)
}

/// A blob of a batch, expanded. Whether it is what its digest says is checked by the store.
fn blob_of(
    service: &CacheService,
    function: DigestFunction,
    digest: Option<&reapi::Digest>,
    compressor: i32,
    data: Bytes,
) -> Result<(Digest, Bytes), Status> {
    let digest = digest.ok_or_else(|| Status::invalid_argument("the digest is missing"))?;
    let digest = digest_of(function, digest)?;
    service.check_size(&digest).map_err(|error| from_cache(&error))?;
    let compressor = Compressor::from_reapi(compressor)
        .ok_or_else(|| Status::invalid_argument(format!("compressor {compressor} is not supported")))?;
    let expanded = compressor.expand(data, digest.size());
    Ok((digest, expanded.map_err(|error| Status::invalid_argument(format!("{digest}: {error}")))?))
}

async fn batch_read(
    call: &mut Call,
    request: reapi::BatchReadBlobsRequest,
) -> Result<reapi::BatchReadBlobsResponse, Status> {
    call.allow(&request.instance_name, Role::Read)?;
    let function = function_of(request.digest_function, request.digests.first())?;
    within_limit(call, request.digests.iter().map(|digest| u64::try_from(digest.size_bytes).unwrap_or(0)))?;
    let compressor = request
        .acceptable_compressors
        .iter()
        .filter_map(|value| Compressor::from_reapi(*value))
        .find(|compressor| *compressor == Compressor::Zstd)
        .unwrap_or(Compressor::Identity);
    let cached = read_cached(call.service(), function, compressor, &request.digests);
    if cached.is_none() && call.service().backing().is_some() {
        pull_missing(call.service(), function, &request.digests).await?;
    }
    let read = move |service: &CacheService| {
        Ok(request.digests.into_iter().map(|digest| read_item(service, function, compressor, digest)).collect())
    };
    let responses: Vec<ReadItem> = match cached {
        Some(responses) => responses,
        None => call.service().run(read).await.map_err(|error| from_cache(&error))?,
    };
    call.sent = responses.iter().map(|item| item.data.len() as u64).sum();
    let found = responses.iter().filter(|item| item.status.as_ref().is_some_and(|status| status.code == 0)).count();
    call.outcome = if found == responses.len() { Outcome::Hit } else { Outcome::Miss };
    Ok(reapi::BatchReadBlobsResponse { responses })
}

/// All blobs of a batch, when memory has them and they go as they are.
fn read_cached(
    service: &CacheService,
    function: DigestFunction,
    compressor: Compressor,
    digests: &[reapi::Digest],
) -> Option<Vec<ReadItem>> {
    let total = digests.iter().map(|digest| u64::try_from(digest.size_bytes).unwrap_or(0)).fold(0, u64::saturating_add);
    if compressor != Compressor::Identity || total > AT_ONCE as u64 {
        return None;
    }
    let item = |digest: &reapi::Digest| {
        let blob = service.store().read_cached(&digest_of(function, digest).ok()?)?;
        Some(ReadItem { digest: Some(digest.clone()), data: blob.into(), status: Some(ok()), ..Default::default() })
    };
    digests.iter().map(item).collect()
}

/// Brings those blobs of a batch that are not here from the tier behind.
async fn pull_missing(
    service: &CacheService,
    function: DigestFunction,
    digests: &[reapi::Digest],
) -> Result<(), Status> {
    let digests: Vec<Digest> = digests.iter().filter_map(|digest| digest_of(function, digest).ok()).collect();
    let missing = service.run(move |service| Ok(service.store().find_missing(&digests)?)).await;
    let missing = missing.map_err(|error| from_cache(&error))?;
    if !missing.is_empty() {
        service.pull(|_| Wanted::Blobs(missing)).await;
    }
    Ok(())
}

fn read_item(
    service: &CacheService,
    function: DigestFunction,
    compressor: Compressor,
    digest: reapi::Digest,
) -> ReadItem {
    let blob = digest_of(function, &digest)
        .and_then(|digest| service.store().read(&digest).map_err(|error| from_cas(&error)))
        .and_then(|blob| blob.ok_or_else(|| Status::not_found("the blob is not in the cache")));
    match blob {
        Ok(blob) => {
            let worth = blob.len() as u64 >= WORTH_COMPRESSING;
            let shrunk = (worth && compressor != Compressor::Identity)
                .then(|| compressor.shrink(&blob).ok().filter(|shrunk| shrunk.len() < blob.len()))
                .flatten();
            let (data, compressor) = shrunk.map_or((blob, Compressor::Identity), |shrunk| (shrunk, compressor));
            ReadItem { digest: Some(digest), data: data.into(), compressor: compressor.to_reapi(), status: Some(ok()) }
        }
        Err(status) => ReadItem { digest: Some(digest), status: Some(rpc_status(&status)), ..Default::default() },
    }
}

fn within_limit(call: &Call, sizes: impl Iterator<Item = u64>) -> Result<(), Status> {
    let limit = call.service().limits().max_batch_bytes;
    let total = sizes.fold(0_u64, u64::saturating_add);
    if total > limit {
        return Err(Status::invalid_argument(format!("the batch has {total} bytes, {limit} are the limit")));
    }
    Ok(())
}

fn ok() -> rpc::Status {
    rpc::Status { code: Code::Ok as i32, ..Default::default() }
}

fn rpc_status(status: &Status) -> rpc::Status {
    rpc::Status { code: status.code() as i32, message: status.message().to_owned(), ..Default::default() }
}
