//! Splitting blobs into chunks by their content, and putting them together again.

use std::io::Write;

use buildnet_cas::CasError;
use buildnet_digest::{Digest, reapi};
use bytes::Bytes;
use fastcdc::v2020::{Normalization, StreamCDC};
use futures::{Stream, StreamExt};
use tonic::{Status, Streaming};

use super::call::Call;
use crate::access::Role;
use crate::backing::Wanted;
use crate::digests::{blob_name, digest_of, function_of, required};
use crate::metrics::Outcome;
use crate::namespace;
use crate::service::{CacheError, CacheService};
use crate::status::from_cache;

/// The average chunk in bytes, REAPI's recommendation; the least is a quarter of it, the most four times it.
pub(super) const AVERAGE_CHUNK: u32 = 512 << 10;
/// Chunks are stored in groups of this many bytes.
const GROUP: usize = 4 << 20;
/// Most chunks of one blob.
const MAX_CHUNKS: usize = 1 << 20;
/// Digests in one message of a mapping.
const PAGE: usize = 10_000;

const FAST_CDC: i32 = reapi::chunking_function::Value::FastCdc2020 as i32;

/// The chunks of a blob, which are then in the store, and the function that made them.
pub(super) async fn split(
    call: &mut Call,
    instance: &str,
    function: i32,
    digest: Option<&reapi::Digest>,
) -> Result<(Vec<Digest>, i32), Status> {
    call.allow(instance, Role::Read)?;
    let digest = required(function, digest, "blob_digest")?;
    let chunks = call.service().look(|_| Wanted::blob(digest), move |service| chunks_of(service, &digest)).await;
    let chunks = chunks.map_err(|error| from_cache(&error))?;
    call.outcome = Outcome::Hit;
    chunks.ok_or_else(|| Status::not_found(format!("{} is not in the cache", blob_name(&digest))))
}

/// A mapping in messages below the usual limit of 4 MiB.
pub(super) fn pages(
    chunks: &[Digest],
    function: i32,
) -> impl Stream<Item = Result<reapi::GetChunkMappingResponse, Status>> + use<> {
    let mut pages: Vec<_> = chunks
        .chunks(PAGE)
        .map(|chunks| reapi::GetChunkMappingResponse {
            chunk_digests: chunks.iter().map(Digest::to_reapi).collect(),
            chunking_function: 0,
        })
        .collect();
    if pages.is_empty() {
        pages.push(reapi::GetChunkMappingResponse::default());
    }
    pages[0].chunking_function = function;
    futures::stream::iter(pages.into_iter().map(Ok))
}

/// The mapping of a blob as an action result, so that the store checks that all chunks are there.
fn mapping(service: &CacheService, digest: &Digest) -> Result<Option<(Vec<Digest>, i32)>, CacheError> {
    let Some(result) = service.store().action_result(&namespace::chunks_key(digest))? else { return Ok(None) };
    let chunks = result.output_files.iter().filter_map(|file| file.digest.as_ref());
    let chunks = chunks.map(|chunk| Digest::from_reapi(digest.function(), chunk)).collect::<Result<_, _>>();
    Ok(chunks.ok().map(|chunks| (chunks, result.exit_code)))
}

fn remember(service: &CacheService, digest: &Digest, chunks: &[Digest], function: i32) -> Result<(), CacheError> {
    let file = |chunk: &Digest| reapi::OutputFile { digest: Some(chunk.to_reapi()), ..Default::default() };
    let result = reapi::ActionResult {
        output_files: chunks.iter().map(file).collect(),
        exit_code: function,
        ..Default::default()
    };
    Ok(service.store().put_action_result(&namespace::chunks_key(digest), &result)?)
}

fn chunks_of(service: &CacheService, digest: &Digest) -> Result<Option<(Vec<Digest>, i32)>, CacheError> {
    if digest.size() == 0 {
        return Ok(Some((Vec::new(), FAST_CDC)));
    }
    if let Some(known) = mapping(service, digest)? {
        // The chunks count as used now, and so does the blob itself, if it is still there.
        service.store().contains(digest)?;
        return Ok(Some(known));
    }
    let Some(reader) = service.store().open_blob(digest)? else { return Ok(None) };
    let average = AVERAGE_CHUNK as usize;
    let cutter = StreamCDC::with_level(reader, average / 4, average, average * 4, Normalization::Level2);
    let mut chunks = Vec::new();
    let mut group: Vec<(Digest, Bytes)> = Vec::new();
    let mut bytes = 0;
    for chunk in cutter {
        let chunk = chunk.map_err(|error| CacheError::Io {
            action: "split",
            path: blob_name(digest).into(),
            source: error.into(),
        })?;
        let name = digest.function().digest(&chunk.data);
        bytes += chunk.data.len();
        chunks.push(name);
        group.push((name, chunk.data.into()));
        if bytes >= GROUP {
            store(service, &mut group)?;
            bytes = 0;
        }
    }
    store(service, &mut group)?;
    remember(service, digest, &chunks, FAST_CDC)?;
    Ok(Some((chunks, FAST_CDC)))
}

fn store(service: &CacheService, group: &mut Vec<(Digest, Bytes)>) -> Result<(), CacheError> {
    for result in service.store().put_batch(group) {
        result?;
    }
    group.clear();
    Ok(())
}

pub(super) async fn splice(call: &mut Call, request: reapi::SpliceBlobRequest) -> Result<Digest, Status> {
    call.allow(&request.instance_name, Role::Write)?;
    let digest = required(request.digest_function, request.blob_digest.as_ref(), "blob_digest")?;
    let chunks = request.chunk_digests.iter().map(|chunk| digest_of(digest.function(), chunk));
    let chunks = chunks.collect::<Result<Vec<_>, _>>()?;
    join(call, digest, chunks, request.chunking_function).await
}

pub(super) async fn register(
    call: &mut Call,
    mut requests: Streaming<reapi::RegisterChunkMappingRequest>,
) -> Result<Digest, Status> {
    let first = requests.next().await.ok_or_else(|| Status::invalid_argument("the stream is empty"))??;
    call.allow(&first.instance_name, Role::Write)?;
    let digest = required(first.digest_function, first.blob_digest.as_ref(), "blob_digest")?;
    let function = function_of(first.digest_function, first.blob_digest.as_ref())?;
    let mut chunks = Vec::new();
    let mut page = Some(first.chunk_digests);
    while let Some(digests) = page {
        for chunk in &digests {
            chunks.push(digest_of(function, chunk)?);
        }
        if chunks.len() > MAX_CHUNKS {
            return Err(Status::resource_exhausted("the blob has more than a million chunks"));
        }
        let next = tokio::time::timeout(call.service().limits().idle, requests.next()).await;
        let next = next.map_err(|_| Status::deadline_exceeded("nothing came for too long"))?;
        page = next.transpose()?.map(|request| request.chunk_digests);
    }
    join(call, digest, chunks, first.chunking_function).await
}

async fn join(call: &mut Call, digest: Digest, chunks: Vec<Digest>, function: i32) -> Result<Digest, Status> {
    let total = chunks.iter().map(Digest::size).fold(0, u64::saturating_add);
    if total != digest.size() {
        return Err(Status::invalid_argument(format!("the chunks have {total} bytes, {digest} has {}", digest.size())));
    }
    call.check_size(&digest)?;
    call.outcome = Outcome::Stored;
    if call.service().backing().is_some() {
        pull_chunks(call.service(), digest, &chunks).await.map_err(|error| from_cache(&error))?;
    }
    let joined = call.service().run(move |service| assemble(service, &digest, &chunks, function)).await;
    match joined.map_err(|error| from_cache(&error))? {
        Joined::Done => Ok(digest),
        Joined::Missing(chunk) => Err(Status::not_found(format!("chunk {} is not in the cache", blob_name(&chunk)))),
        Joined::Otherwise => Err(Status::already_exists("the blob is there, split into other chunks")),
    }
}

/// Brings the chunks that are only behind, unless the blob itself is here.
async fn pull_chunks(service: &CacheService, digest: Digest, chunks: &[Digest]) -> Result<(), CacheError> {
    if service.missing(vec![digest]).await?.is_empty() {
        return Ok(());
    }
    let missing = service.missing(chunks.to_vec()).await?;
    if !missing.is_empty() {
        service.pull(|_| Wanted::Blobs(missing)).await;
    }
    Ok(())
}

enum Joined {
    Done,
    Missing(Digest),
    Otherwise,
}

fn assemble(service: &CacheService, digest: &Digest, chunks: &[Digest], function: i32) -> Result<Joined, CacheError> {
    if service.store().contains(digest)? {
        let other = mapping(service, digest)?.is_some_and(|(known, _)| known != chunks);
        return Ok(if other { Joined::Otherwise } else { Joined::Done });
    }
    let mut writer = service.store().writer(*digest)?;
    for chunk in chunks {
        let Some(bytes) = service.store().read(chunk)? else { return Ok(Joined::Missing(*chunk)) };
        writer.write_all(&bytes).map_err(|source| write_error(source, digest))?;
    }
    writer.commit()?;
    remember(service, digest, chunks, function)?;
    Ok(Joined::Done)
}

fn write_error(source: std::io::Error, digest: &Digest) -> CacheError {
    let path = blob_name(digest).into();
    match source.kind() {
        std::io::ErrorKind::StorageFull => CacheError::Cas(CasError::DiskFull { path, source }),
        _ => CacheError::Io { action: "write", path, source },
    }
}
