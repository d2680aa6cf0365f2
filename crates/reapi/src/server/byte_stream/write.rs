//! Taking a blob in pieces. Not through tonic, which would copy the content twice.

use axum::extract::{Request, State};
use axum::response::Response;
use bazel_remote_apis::google::bytestream::WriteResponse;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::super::messages::{Messages, Parts};
use super::super::plain::{self, Unary};
use super::request::WriteRequest;
use super::upload::{Upload, Uploads, write_error};
use super::{Call, Streams, whole};
use crate::access::{Identity, Role};
use crate::compress::Compressor;
use crate::frame;
use crate::metrics::Outcome;
use crate::resource::Resource;
use crate::status::{from_cache, from_cas};

/// Every so many messages, look whether somebody else has finished the same blob.
const LOOK_EVERY: u32 = 32;

/// The method `Write`.
pub(in crate::server) async fn serve(State(streams): State<Streams>, request: Request) -> Response {
    let Streams { service, uploads } = &streams;
    let (head, body) = request.into_parts();
    let requests = Messages::new(body, service.limits().max_message_bytes);
    let request = tonic::Request::from_parts(MetadataMap::from_headers(head.headers), head.extensions, ());
    let mut call = Call::open(service, "write", &request);
    let result = write(&mut call, uploads, requests).await;
    plain::respond(call.close(result.map(|committed_size| Unary::new(frame::whole(&WriteResponse { committed_size })))))
}

/// Returns the committed size.
async fn write(call: &mut Call, uploads: &Uploads, mut requests: Messages) -> Result<i64, Status> {
    let first = next(&mut requests).await?.ok_or_else(|| Status::invalid_argument("the stream is empty"))?;
    let name = first.resource_name.clone();
    call.check_name(&name)?;
    let resource = Resource::write(&name)?;
    let identity = call.allow(&resource.instance, Role::Write)?;
    call.outcome = Outcome::Stored;
    if first.write_offset < 0 {
        return Err(Status::invalid_argument("the offset is negative"));
    }
    let digest = resource.digest;
    call.check_size(&digest)?;
    let whole_at_once = resource.compressor == Compressor::Identity
        && first.finish_write
        && first.write_offset == 0
        && first.data.len() as u64 == digest.size();
    if whole_at_once {
        call.received = first.data.len() as u64;
        let stored = call
            .service()
            .put_blobs(vec![(digest, first.data.into_bytes())])
            .await
            .map_err(|error| from_cache(&error))?;
        stored.into_iter().collect::<Result<(), _>>().map_err(|error| from_cas(&error))?;
        after_finish(&mut requests, &name).await?;
        return Ok(whole(&resource));
    }
    if exists(call, &resource).await? {
        return Ok(whole(&resource));
    }
    let upload = begin(call, uploads, &identity, &name, &resource, first.write_offset).await?;
    uploads.follow(&identity, &name, &upload);
    let mut feed = Feed { call, uploads, identity, name, resource, upload: Some(upload) };
    feed.run(first, &mut requests).await
}

/// A new upload, or the one that this continues.
async fn begin(
    call: &Call,
    uploads: &Uploads,
    identity: &Identity,
    name: &str,
    resource: &Resource,
    offset: i64,
) -> Result<Upload, Status> {
    if offset == 0 {
        let resource = resource.clone();
        let started = call.service().run(move |service| Upload::start(service, &resource)).await;
        return started.map_err(|error| from_cache(&error));
    }
    let upload = uploads
        .resume(identity, name)
        .ok_or_else(|| Status::invalid_argument(format!("offset {offset}, but nothing of this upload is here")))?;
    if i64::try_from(upload.next) == Ok(offset) {
        return Ok(upload);
    }
    let committed = upload.committed();
    uploads.park(identity, name, upload);
    Err(Status::invalid_argument(format!("offset {offset}, but {committed} bytes are here")))
}

struct Feed<'a> {
    call: &'a mut Call,
    uploads: &'a Uploads,
    identity: Identity,
    name: String,
    resource: Resource,
    /// Absent once it was finished, dropped, or is at work.
    upload: Option<Upload>,
}

/// Dropped when the client goes away: what came stays for a while.
impl Drop for Feed<'_> {
    fn drop(&mut self) {
        match self.upload.take() {
            Some(upload) => self.uploads.park(&self.identity, &self.name, upload),
            None => self.uploads.forget(&self.identity, &self.name),
        }
    }
}

impl Feed<'_> {
    async fn run(&mut self, first: WriteRequest, requests: &mut Messages) -> Result<i64, Status> {
        let mut request = first;
        let mut count = 0_u32;
        loop {
            self.check(&request)?;
            let finish = request.finish_write;
            self.feed(request.data).await?;
            if finish {
                after_finish(requests, &self.name).await?;
                return self.finish().await;
            }
            count += 1;
            if count.is_multiple_of(LOOK_EVERY) && exists(self.call, &self.resource).await? {
                self.upload = None;
                return Ok(whole(&self.resource));
            }
            match next(requests).await? {
                Some(next) => request = next,
                // Half-closed without `finish_write`: the rest may come later.
                None => return self.pause(),
            }
        }
    }

    /// Whether a request continues this upload. Otherwise it ends, and nothing of it is kept.
    fn check(&mut self, request: &WriteRequest) -> Result<(), Status> {
        let Some(upload) = &self.upload else { return Err(Status::internal("the upload is gone")) };
        let wrong = if !request.resource_name.is_empty() && request.resource_name != self.name {
            "the resource name changed in mid-stream".to_owned()
        } else if request.write_offset != signed(upload.next) {
            format!("offset {}, but {} was to come next", request.write_offset, upload.next)
        } else {
            return Ok(());
        };
        self.upload = None;
        Err(Status::invalid_argument(wrong))
    }

    async fn feed(&mut self, data: Parts) -> Result<(), Status> {
        self.call.received += data.len() as u64;
        let Some(mut upload) = self.upload.take() else { return Err(Status::internal("the upload is gone")) };
        let fed =
            self.call.service().run(move |_| data.iter().try_for_each(|part| upload.take(part)).map(|()| upload)).await;
        self.upload = Some(fed.map_err(|error| from_cache(&error))?);
        Ok(())
    }

    /// How much of the blob is here once what can be expanded is.
    fn pause(&mut self) -> Result<i64, Status> {
        let Some(upload) = self.upload.take() else { return Err(Status::internal("the upload is gone")) };
        let upload = upload.restart().map_err(|error| from_cache(&write_error(error)))?;
        Ok(signed(self.upload.insert(upload).committed()))
    }

    async fn finish(&mut self) -> Result<i64, Status> {
        let Some(upload) = self.upload.take() else { return Err(Status::internal("the upload is gone")) };
        let sent = signed(upload.next);
        self.call.service().run(move |_| upload.finish()).await.map_err(|error| from_cache(&error))?;
        Ok(sent)
    }
}

/// Nothing may follow `finish_write`.
async fn after_finish(requests: &mut Messages, name: &str) -> Result<(), Status> {
    match next(requests).await? {
        Some(_) => Err(Status::invalid_argument(format!("more came after finish_write of `{}`", name.escape_debug()))),
        None => Ok(()),
    }
}

async fn exists(call: &Call, resource: &Resource) -> Result<bool, Status> {
    let digest = resource.digest;
    let there = call.service().run(move |service| Ok(service.store().contains(&digest)?)).await;
    there.map_err(|error| from_cache(&error))
}

async fn next(requests: &mut Messages) -> Result<Option<WriteRequest>, Status> {
    let Some(message) = requests.next().await? else { return Ok(None) };
    let request = WriteRequest::parse(message);
    request.map(Some).map_err(|error| Status::internal(format!("failed to decode Protobuf message: {error}")))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
