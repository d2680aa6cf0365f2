//! Remote Asset: blobs and directories by URI (`remote_asset.proto`). What was pushed can be fetched; what was not is fetched from its
//! origin where the server's options allow that one.

mod entry;
mod fetch;
mod qualifiers;

use bazel_remote_apis::build::bazel::remote::asset::v1::fetch_server::Fetch;
use bazel_remote_apis::build::bazel::remote::asset::v1::push_server::Push;
use bazel_remote_apis::build::bazel::remote::asset::v1::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse, PushBlobRequest,
    PushBlobResponse, PushDirectoryRequest, PushDirectoryResponse, Qualifier,
};
use bazel_remote_apis::google::rpc;
use buildnet_digest::protobuf::{Duration, Timestamp};
use buildnet_digest::{Digest, DigestFunction, reapi};
use tonic::{Request, Response, Status};

use super::call::Call;
use crate::access::Role;
use crate::digests::{digest_of, required};
use crate::metrics::Outcome;
use crate::service::CacheService;
use crate::status::{from_cache, missing_blobs};

/// Most URIs of one request.
const MAX_URIS: usize = 64;

#[derive(Clone)]
pub(super) struct Assets {
    service: CacheService,
}

impl Assets {
    pub(super) fn new(service: CacheService) -> Self {
        Self { service }
    }
}

/// What an asset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blob,
    Directory,
}

impl Kind {
    /// The name under which assets of this kind are kept; the same URI may name one of each.
    fn protocol(self) -> &'static str {
        match self {
            Self::Blob => "asset-blob",
            Self::Directory => "asset-directory",
        }
    }
}

/// What is asked for.
struct Wanted {
    kind: Kind,
    instance: String,
    function: i32,
    uris: Vec<String>,
    qualifiers: Vec<Qualifier>,
    oldest: Option<Timestamp>,
    timeout: Option<Duration>,
}

/// What is answered: an asset, or why its origin did not give it.
struct Answer {
    status: rpc::Status,
    uri: String,
    qualifiers: Vec<Qualifier>,
    expires_at: Option<Timestamp>,
    digest: Option<Digest>,
    function: DigestFunction,
}

/// What is pushed.
struct Pushed {
    kind: Kind,
    instance: String,
    function: i32,
    uris: Vec<String>,
    qualifiers: Vec<Qualifier>,
    expires_at: Option<Timestamp>,
    digest: Option<reapi::Digest>,
    blobs: Vec<reapi::Digest>,
    directories: Vec<reapi::Digest>,
}

/// Requests and answers about blobs and about directories have the same fields, but for the name of one.
macro_rules! messages {
    ($kind:ident, $fetch:ident, $fetched:ident, $push:ident, $digest:ident) => {
        impl From<$fetch> for Wanted {
            fn from(request: $fetch) -> Self {
                Self {
                    kind: Kind::$kind,
                    instance: request.instance_name,
                    function: request.digest_function,
                    uris: request.uris,
                    qualifiers: request.qualifiers,
                    oldest: request.oldest_content_accepted,
                    timeout: request.timeout,
                }
            }
        }

        impl From<Answer> for $fetched {
            fn from(answer: Answer) -> Self {
                Self {
                    status: Some(answer.status),
                    uri: answer.uri,
                    qualifiers: answer.qualifiers,
                    expires_at: answer.expires_at,
                    $digest: answer.digest.map(|digest| digest.to_reapi()),
                    digest_function: answer.function.to_reapi() as i32,
                }
            }
        }

        impl From<$push> for Pushed {
            fn from(request: $push) -> Self {
                Self {
                    kind: Kind::$kind,
                    instance: request.instance_name,
                    function: request.digest_function,
                    uris: request.uris,
                    qualifiers: request.qualifiers,
                    expires_at: request.expire_at,
                    digest: request.$digest,
                    blobs: request.references_blobs,
                    directories: request.references_directories,
                }
            }
        }
    };
}

messages!(Blob, FetchBlobRequest, FetchBlobResponse, PushBlobRequest, blob_digest);
messages!(Directory, FetchDirectoryRequest, FetchDirectoryResponse, PushDirectoryRequest, root_directory_digest);

#[tonic::async_trait]
impl Fetch for Assets {
    async fn fetch_blob(&self, request: Request<FetchBlobRequest>) -> Result<Response<FetchBlobResponse>, Status> {
        let mut call = Call::open(&self.service, "fetch_blob", &request);
        let answer = fetch::fetch(&mut call, request.into_inner().into()).await;
        call.close(answer.map(Into::into))
    }

    async fn fetch_directory(
        &self,
        request: Request<FetchDirectoryRequest>,
    ) -> Result<Response<FetchDirectoryResponse>, Status> {
        let mut call = Call::open(&self.service, "fetch_directory", &request);
        let answer = fetch::fetch(&mut call, request.into_inner().into()).await;
        call.close(answer.map(Into::into))
    }
}

#[tonic::async_trait]
impl Push for Assets {
    async fn push_blob(&self, request: Request<PushBlobRequest>) -> Result<Response<PushBlobResponse>, Status> {
        let mut call = Call::open(&self.service, "push_blob", &request);
        let pushed = push(&mut call, request.into_inner().into()).await;
        call.close(pushed.map(|()| PushBlobResponse {}))
    }

    async fn push_directory(
        &self,
        request: Request<PushDirectoryRequest>,
    ) -> Result<Response<PushDirectoryResponse>, Status> {
        let mut call = Call::open(&self.service, "push_directory", &request);
        let pushed = push(&mut call, request.into_inner().into()).await;
        call.close(pushed.map(|()| PushDirectoryResponse {}))
    }
}

fn check_uris(uris: &[String]) -> Result<(), Status> {
    match uris.len() {
        0 => Err(Status::invalid_argument("no URI is given")),
        count if count > MAX_URIS => Err(Status::invalid_argument(format!("{count} URIs, {MAX_URIS} are the limit"))),
        _ => Ok(()),
    }
}

async fn push(call: &mut Call, pushed: Pushed) -> Result<(), Status> {
    let writer = call.allow(&pushed.instance, Role::Write)?;
    check_uris(&pushed.uris)?;
    qualifiers::check_unique(&pushed.qualifiers)?;
    let digest = required(pushed.function, pushed.digest.as_ref(), "the digest")?;
    let of = |digests: &[reapi::Digest]| {
        digests.iter().map(|other| digest_of(digest.function(), other)).collect::<Result<Vec<_>, _>>()
    };
    let entry = entry::Entry {
        kind: pushed.kind,
        digest,
        since: entry::now(),
        expires_at: pushed.expires_at,
        blobs: of(&pushed.blobs)?,
        directories: of(&pushed.directories)?,
    };
    call.outcome = Outcome::Stored;
    let store = move |service: &CacheService| {
        let missing = service.store().find_missing(&[digest])?;
        if missing.is_empty() {
            for uri in &pushed.uris {
                entry.put(service, &writer, &pushed.instance, uri, &pushed.qualifiers)?;
            }
        }
        Ok(missing)
    };
    let missing = call.service().run(store).await.map_err(|error| from_cache(&error))?;
    if missing.is_empty() { Ok(()) } else { Err(missing_blobs(&missing)) }
}
