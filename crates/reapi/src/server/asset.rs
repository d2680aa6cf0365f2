//! Remote Asset: blobs and directories by URI (`remote_asset.proto`). What was pushed can be fetched; the server itself
//! reaches out to no origin, so that nobody can make it talk to hosts that only it can reach.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use bazel_remote_apis::build::bazel::remote::asset::v1::fetch_server::Fetch;
use bazel_remote_apis::build::bazel::remote::asset::v1::push_server::Push;
use bazel_remote_apis::build::bazel::remote::asset::v1::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse, PushBlobRequest,
    PushBlobResponse, PushDirectoryRequest, PushDirectoryResponse, Qualifier,
};
use bazel_remote_apis::google::rpc;
use buildnet_digest::protobuf::Timestamp;
use buildnet_digest::{Digest, DigestFunction, reapi};
use tonic::{Request, Response, Status};

use super::call::Call;
use crate::access::Role;
use crate::digests::{digest_of, function_of, required};
use crate::metrics::Outcome;
use crate::service::CacheService;
use crate::status::{from_cache, missing_blobs, unsupported_qualifier};

/// Most URIs of one request.
const MAX_URIS: usize = 64;
/// Qualifiers that clients may send for assets that nobody pushed, without a complaint.
const KNOWN: [&str; 6] =
    ["resource_type", "checksum.sri", "directory", "vcs.branch", "vcs.commit", "bazel.canonical_id"];

#[derive(Clone)]
pub(super) struct Assets {
    service: CacheService,
}

impl Assets {
    pub(super) fn new(service: CacheService) -> Self {
        Self { service }
    }
}

/// What is asked for, blob or directory.
struct Wanted {
    protocol: &'static str,
    instance: String,
    function: i32,
    uris: Vec<String>,
    qualifiers: Vec<Qualifier>,
    oldest: Option<Timestamp>,
}

/// What was found.
struct Found {
    uri: String,
    digest: reapi::Digest,
    function: DigestFunction,
    expires_at: Option<Timestamp>,
    qualifiers: Vec<Qualifier>,
}

/// What is pushed, blob or directory.
struct Pushed {
    protocol: &'static str,
    instance: String,
    function: i32,
    uris: Vec<String>,
    qualifiers: Vec<Qualifier>,
    expires_at: Option<Timestamp>,
    digest: Option<reapi::Digest>,
    blobs: Vec<reapi::Digest>,
    directories: Vec<reapi::Digest>,
}

#[tonic::async_trait]
impl Fetch for Assets {
    async fn fetch_blob(&self, request: Request<FetchBlobRequest>) -> Result<Response<FetchBlobResponse>, Status> {
        let mut call = Call::open(&self.service, "fetch_blob", &request);
        let request = request.into_inner();
        let wanted = Wanted {
            protocol: "asset-blob",
            instance: request.instance_name,
            function: request.digest_function,
            uris: request.uris,
            qualifiers: request.qualifiers,
            oldest: request.oldest_content_accepted,
        };
        let found = fetch(&mut call, wanted).await;
        call.close(found.map(|found| FetchBlobResponse {
            status: Some(rpc::Status::default()),
            uri: found.uri,
            qualifiers: found.qualifiers,
            expires_at: found.expires_at,
            blob_digest: Some(found.digest),
            digest_function: found.function.to_reapi() as i32,
        }))
    }

    async fn fetch_directory(
        &self,
        request: Request<FetchDirectoryRequest>,
    ) -> Result<Response<FetchDirectoryResponse>, Status> {
        let mut call = Call::open(&self.service, "fetch_directory", &request);
        let request = request.into_inner();
        let wanted = Wanted {
            protocol: "asset-directory",
            instance: request.instance_name,
            function: request.digest_function,
            uris: request.uris,
            qualifiers: request.qualifiers,
            oldest: request.oldest_content_accepted,
        };
        let found = fetch(&mut call, wanted).await;
        call.close(found.map(|found| FetchDirectoryResponse {
            status: Some(rpc::Status::default()),
            uri: found.uri,
            qualifiers: found.qualifiers,
            expires_at: found.expires_at,
            root_directory_digest: Some(found.digest),
            digest_function: found.function.to_reapi() as i32,
        }))
    }
}

#[tonic::async_trait]
impl Push for Assets {
    async fn push_blob(&self, request: Request<PushBlobRequest>) -> Result<Response<PushBlobResponse>, Status> {
        let mut call = Call::open(&self.service, "push_blob", &request);
        let request = request.into_inner();
        let pushed = Pushed {
            protocol: "asset-blob",
            instance: request.instance_name,
            function: request.digest_function,
            uris: request.uris,
            qualifiers: request.qualifiers,
            expires_at: request.expire_at,
            digest: request.blob_digest,
            blobs: request.references_blobs,
            directories: request.references_directories,
        };
        let result = push(&mut call, pushed).await;
        call.close(result.map(|()| PushBlobResponse {}))
    }

    async fn push_directory(
        &self,
        request: Request<PushDirectoryRequest>,
    ) -> Result<Response<PushDirectoryResponse>, Status> {
        let mut call = Call::open(&self.service, "push_directory", &request);
        let request = request.into_inner();
        let pushed = Pushed {
            protocol: "asset-directory",
            instance: request.instance_name,
            function: request.digest_function,
            uris: request.uris,
            qualifiers: request.qualifiers,
            expires_at: request.expire_at,
            digest: request.root_directory_digest,
            blobs: request.references_blobs,
            directories: request.references_directories,
        };
        let result = push(&mut call, pushed).await;
        call.close(result.map(|()| PushDirectoryResponse {}))
    }
}

fn check_uris(uris: &[String]) -> Result<(), Status> {
    match uris.len() {
        0 => Err(Status::invalid_argument("no URI is given")),
        count if count > MAX_URIS => Err(Status::invalid_argument(format!("{count} URIs, {MAX_URIS} are the limit"))),
        _ => Ok(()),
    }
}

/// The key of an asset: its URI and its qualifiers in any order, each after its length.
fn key(uri: &str, qualifiers: &[Qualifier]) -> String {
    let mut sorted: Vec<_> = qualifiers.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
    sorted.sort_unstable();
    let mut key = format!("{}:{uri}", uri.len());
    for text in sorted.iter().flat_map(|(name, value)| [name, value]) {
        // Writing to a string cannot fail.
        let _ = write!(key, "{}:{text}", text.len());
    }
    key
}

async fn fetch(call: &mut Call, wanted: Wanted) -> Result<Found, Status> {
    call.allow(&wanted.instance, Role::Read)?;
    check_uris(&wanted.uris)?;
    let function = function_of(wanted.function, None)?;
    let unknown = wanted
        .qualifiers
        .iter()
        .map(|qualifier| qualifier.name.as_str())
        .find(|name| !KNOWN.contains(name) && !name.starts_with("http_header"))
        .map(unsupported_qualifier);
    call.outcome = Outcome::Hit;
    let look = move |service: &CacheService| {
        for uri in wanted.uris {
            let name = key(&uri, &wanted.qualifiers);
            let Some(result) = service.named_result(function, wanted.protocol, &wanted.instance, &name)? else {
                continue;
            };
            let times = result.execution_metadata.unwrap_or_default();
            let expires_at = times.worker_completed_timestamp;
            let too_old = wanted
                .oldest
                .is_some_and(|oldest| times.queued_timestamp.is_some_and(|at| seconds(&at) < seconds(&oldest)));
            if too_old || expires_at.is_some_and(|at| seconds(&at) <= now()) {
                continue;
            }
            let file = result.output_files.into_iter().next().and_then(|file| file.digest);
            let directory = result.output_directories.into_iter().next().and_then(|tree| tree.root_directory_digest);
            // What an asset refers to follows it, so the asset itself is the first of its kind.
            let digest = if wanted.protocol == "asset-directory" { directory } else { file };
            if let Some(digest) = digest {
                return Ok(Some(Found { uri, digest, function, expires_at, qualifiers: wanted.qualifiers }));
            }
        }
        Ok(None)
    };
    let found = call.service().run(look).await.map_err(|error| from_cache(&error))?;
    found.ok_or_else(|| unknown.unwrap_or_else(|| Status::not_found("nobody pushed this asset")))
}

async fn push(call: &mut Call, pushed: Pushed) -> Result<(), Status> {
    let writer = call.allow(&pushed.instance, Role::Write)?;
    check_uris(&pushed.uris)?;
    let digest = required(pushed.function, pushed.digest.as_ref(), "the digest")?;
    let function = digest.function();
    for other in pushed.blobs.iter().chain(&pushed.directories) {
        digest_of(function, other)?;
    }
    let is_directory = pushed.protocol == "asset-directory";
    let own = Some(digest.to_reapi());
    let (blob, directory) = if is_directory { (None, own) } else { (own, None) };
    let blobs = blob.into_iter().chain(pushed.blobs);
    let directories = directory.into_iter().chain(pushed.directories);
    let result = reapi::ActionResult {
        output_files: blobs.map(|digest| reapi::OutputFile { digest: Some(digest), ..Default::default() }).collect(),
        output_directories: directories
            .map(|root| reapi::OutputDirectory { root_directory_digest: Some(root), ..Default::default() })
            .collect(),
        execution_metadata: Some(reapi::ExecutedActionMetadata {
            queued_timestamp: Some(Timestamp { seconds: now(), nanos: 0 }),
            worker_completed_timestamp: pushed.expires_at,
            ..Default::default()
        }),
        ..Default::default()
    };
    call.outcome = Outcome::Stored;
    let store = move |service: &CacheService| -> Result<Vec<Digest>, _> {
        let missing = service.store().find_missing(&[digest])?;
        if missing.is_empty() {
            for uri in &pushed.uris {
                let name = key(uri, &pushed.qualifiers);
                service.put_named_result(function, pushed.protocol, &writer, &pushed.instance, &name, &result)?;
            }
        }
        Ok(missing)
    };
    let missing = call.service().run(store).await.map_err(|error| from_cache(&error))?;
    if missing.is_empty() { Ok(()) } else { Err(missing_blobs(&missing)) }
}

fn seconds(time: &Timestamp) -> i64 {
    time.seconds
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_depend_on_order_and_do_not_collide() {
        let qualifier = |name: &str, value: &str| Qualifier { name: name.into(), value: value.into() };
        let (a, b) = (qualifier("a", "1"), qualifier("b", "2"));
        assert_eq!(key("u", &[a.clone(), b.clone()]), key("u", &[b, a.clone()]));
        assert_ne!(key("u", &[a]), key("u1:a1:1", &[]));
        assert_ne!(key("u", &[qualifier("ab", "")]), key("u", &[qualifier("a", "b")]));
    }
}
