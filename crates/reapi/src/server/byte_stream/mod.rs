//! `ByteStream`: large blobs in pieces (`google/bytestream/bytestream.proto`, with REAPI's resource names).

mod pieces;
pub(super) mod read;
mod request;
mod upload;
pub(super) mod write;

use std::sync::Arc;

use bazel_remote_apis::google::bytestream::byte_stream_server::ByteStream;
use bazel_remote_apis::google::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use self::upload::Uploads;
use super::call::Call;
use crate::access::Role;
use crate::compress::Compressor;
use crate::resource::Resource;
use crate::service::CacheService;
use crate::status::from_cache;

/// The service. Clones share the uploads.
#[derive(Clone)]
pub(super) struct Streams {
    service: CacheService,
    uploads: Arc<Uploads>,
}

impl Streams {
    pub(super) fn new(service: CacheService) -> Self {
        let uploads = Arc::new(Uploads::new(service.limits()));
        Self { service, uploads }
    }
}

#[tonic::async_trait]
impl ByteStream for Streams {
    type ReadStream = BoxStream<'static, Result<ReadResponse, Status>>;

    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        // The route of `read::serve` goes before this service's.
        Err(Status::unimplemented("reads are served elsewhere"))
    }

    async fn write(&self, _: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        // The route of `write::serve` goes before this service's.
        Err(Status::unimplemented("writes are served elsewhere"))
    }

    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        let mut call = Call::open(&self.service, "query_write_status", &request);
        let result = query(&mut call, &self.uploads, &request.get_ref().resource_name).await;
        call.close(result)
    }
}

async fn query(call: &mut Call, uploads: &Uploads, name: &str) -> Result<QueryWriteStatusResponse, Status> {
    let resource = Resource::write(name)?;
    let identity = call.allow(&resource.instance, Role::Write)?;
    if let Some(committed) = uploads.committed(&identity, name) {
        let committed_size = i64::try_from(committed).unwrap_or(i64::MAX);
        return Ok(QueryWriteStatusResponse { committed_size, complete: false });
    }
    let there = call.service().run(move |service| Ok(service.store().contains(&resource.digest)?)).await;
    if there.map_err(|error| from_cache(&error))? {
        return Ok(QueryWriteStatusResponse { committed_size: whole(&resource), complete: true });
    }
    Err(Status::not_found("nothing of this upload is here"))
}

/// The committed size of an upload whose blob is there: how many bytes a compressed one would have had is not known,
/// which REAPI writes as -1.
fn whole(resource: &Resource) -> i64 {
    match resource.compressor {
        Compressor::Identity => i64::try_from(resource.digest.size()).unwrap_or(i64::MAX),
        Compressor::Zstd | Compressor::Deflate => -1,
    }
}
