//! Reading a blob from an offset. Not through tonic, which would copy the content into its own buffer.

use axum::extract::{Request, State};
use axum::response::Response;
use bazel_remote_apis::google::bytestream::ReadRequest;
use buildnet_cas::BlobReader;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use prost::Message;
use tokio::sync::mpsc::Sender;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::plain;
use super::Call;
use super::pieces::{Framed, PIECE, Pieces};
use crate::access::Role;
use crate::backing::Wanted;
use crate::compress::{Compressor, Shrinker};
use crate::metrics::Outcome;
use crate::resource::Resource;
use crate::service::CacheService;
use crate::status::from_cache;

/// Most bytes of a request: a resource name and two numbers.
const MAX_REQUEST: usize = 16 << 10;

/// The method `Read`.
pub(in crate::server) async fn serve(State(service): State<CacheService>, request: Request) -> Response {
    let request = match plain::receive(request, MAX_REQUEST).await {
        Ok(request) => request,
        Err(status) => return status.into_http(),
    };
    let mut call = Call::open(&service, "read", &request);
    let message = ReadRequest::decode(request.into_inner())
        .map_err(|error| Status::internal(format!("failed to decode Protobuf message: {error}")));
    let result = match message {
        Ok(message) => read(&mut call, message).await,
        Err(status) => Err(status),
    };
    plain::respond(call.close(result.map(Framed::new)))
}

async fn read(call: &mut Call, request: ReadRequest) -> Result<Pieces, Status> {
    call.check_name(&request.resource_name)?;
    let Resource { instance, compressor, digest } = Resource::read(&request.resource_name)?;
    call.allow(&instance, Role::Read)?;
    let offset = u64::try_from(request.read_offset).ok().filter(|offset| *offset <= digest.size());
    let offset = offset.ok_or_else(|| {
        Status::out_of_range(format!("offset {} is not within the {} bytes", request.read_offset, digest.size()))
    })?;
    let limit = u64::try_from(request.read_limit).map_err(|_| Status::invalid_argument("the limit is negative"))?;
    if compressor != Compressor::Identity && limit != 0 {
        return Err(Status::invalid_argument("a compressed read takes no limit"));
    }
    let end = if limit == 0 { digest.size() } else { digest.size().min(offset.saturating_add(limit)) };
    let missing = move || Status::not_found(format!("{digest} is not in the cache"));
    call.outcome = Outcome::Hit;
    call.sent = end - offset;
    if compressor == Compressor::Identity && digest.size() <= PIECE as u64 {
        let blob = call.service().blob(digest).await.map_err(|error| from_cache(&error))?.ok_or_else(missing)?;
        // Both are at most the size of the blob, which is in memory.
        return Ok(Pieces::whole(blob.slice(usize::try_from(offset).unwrap_or(0)..usize::try_from(end).unwrap_or(0))));
    }
    let open = move |service: &CacheService| Ok(service.store().open_blob(&digest)?);
    let reader = call.service().look(|_| Wanted::blob(digest), open).await;
    let reader = reader.map_err(|error| from_cache(&error))?.ok_or_else(missing)?;
    Ok(match compressor {
        Compressor::Identity => Pieces::range(reader, offset, end),
        compressor => Pieces::stream(shrunk(call.service().clone(), compressor, reader, offset, end)),
    })
}

/// A range of a blob, compressed piece by piece outside the threads that serve connections.
fn shrunk(
    service: CacheService,
    compressor: Compressor,
    mut reader: BlobReader,
    offset: u64,
    end: u64,
) -> BoxStream<'static, std::io::Result<Bytes>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        // Each piece is read by itself, so that a stalled client holds no thread.
        let mut shrinker = match Shrinker::new(compressor) {
            Ok(shrinker) => Some(shrinker),
            Err(error) => return fail(&sender, error).await,
        };
        let mut position = offset;
        while let Some(mut used) = shrinker.take() {
            let piece = service
                .run(move |_| Ok((next(&mut reader, &mut used, &mut position, end), reader, used, position)))
                .await;
            let Ok((piece, returned, used, at)) = piece else { return };
            (reader, position) = (returned, at);
            let (bytes, last) = match piece {
                Ok(Some(bytes)) => {
                    shrinker = Some(used);
                    (bytes, false)
                }
                Ok(None) => match used.finish() {
                    Ok(bytes) => (bytes, true),
                    Err(error) => return fail(&sender, error).await,
                },
                Err(error) => return fail(&sender, error).await,
            };
            if !bytes.is_empty() && sender.send(Ok(bytes.into())).await.is_err() || last {
                return;
            }
        }
    });
    ReceiverStream::new(receiver).boxed()
}

/// The next piece as it is sent; `None` at the end.
fn next(
    reader: &mut BlobReader,
    shrinker: &mut Shrinker,
    position: &mut u64,
    end: u64,
) -> std::io::Result<Option<Vec<u8>>> {
    let length = usize::try_from(end - *position).unwrap_or(PIECE).min(PIECE);
    if length == 0 {
        return Ok(None);
    }
    let bytes: Bytes = reader.read_range(*position, length)?;
    if bytes.is_empty() {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the blob is shorter than its digest says"));
    }
    *position += bytes.len() as u64;
    shrinker.push(&bytes).map(Some)
}

async fn fail(sender: &Sender<std::io::Result<Bytes>>, error: std::io::Error) {
    // The client may be gone already.
    let _ = sender.send(Err(error)).await;
}
