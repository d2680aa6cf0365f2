//! Reading a blob from an offset.

use bazel_remote_apis::google::bytestream::{ReadRequest, ReadResponse};
use buildnet_cas::BlobReader;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc::Sender;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Call;
use crate::access::Role;
use crate::backing::Wanted;
use crate::compress::{Compressor, Shrinker};
use crate::metrics::Outcome;
use crate::resource::Resource;
use crate::service::CacheService;
use crate::status::from_cache;

/// Bytes of content in one message. A slow client costs a few of these.
const PIECE: usize = 256 << 10;

type Pieces = BoxStream<'static, Result<ReadResponse, Status>>;

pub(super) async fn read(call: &mut Call, request: ReadRequest) -> Result<Pieces, Status> {
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
        let read = move |service: &CacheService| Ok(service.store().read(&digest)?);
        let blob = call.service().look(|_| Wanted::blob(digest), read).await;
        let blob = blob.map_err(|error| from_cache(&error))?.ok_or_else(missing)?;
        // Both are at most the size of the blob, which is in memory.
        let range = usize::try_from(offset).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        let piece = ReadResponse { data: if range.len() == blob.len() { blob } else { blob.slice(range) }.into() };
        return Ok(futures::stream::iter([Ok(piece)]).boxed());
    }
    let open = move |service: &CacheService| Ok(service.store().open_blob(&digest)?);
    let reader = call.service().look(|_| Wanted::blob(digest), open).await;
    let mut reader = reader.map_err(|error| from_cache(&error))?.ok_or_else(missing)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let service = call.service().clone();
    tokio::spawn(async move {
        // Each piece is read by itself, so that a stalled client holds no thread.
        let mut shrinker = match Shrinker::new(compressor) {
            Ok(shrinker) => Some(shrinker),
            Err(error) => return fail(&sender, &error).await,
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
                    Err(error) => return fail(&sender, &error).await,
                },
                Err(error) => return fail(&sender, &error).await,
            };
            if !bytes.is_empty() && sender.send(Ok(ReadResponse { data: bytes })).await.is_err() || last {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver).boxed())
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

async fn fail(sender: &Sender<Result<ReadResponse, Status>>, error: &std::io::Error) {
    tracing::error!(%error, "reading a blob failed");
    // The client may be gone already.
    let _ = sender.send(Err(Status::data_loss(format!("the blob cannot be read: {error}")))).await;
}
