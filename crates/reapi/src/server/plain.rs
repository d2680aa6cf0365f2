//! Methods that go around tonic: it would decode every digest into a string of its own, and copy contents.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::messages::Messages;

/// The one message of a request, of at most so many bytes.
pub(super) async fn receive(request: Request, most: usize) -> Result<tonic::Request<Bytes>, Status> {
    let (head, body) = request.into_parts();
    let message = Messages::new(body, most).single().await?;
    Ok(tonic::Request::from_parts(MetadataMap::from_headers(head.headers), head.extensions, message))
}

/// An answer with this body, or none but a status.
pub(super) fn respond<B>(result: Result<tonic::Response<B>, Status>) -> Response
where
    B: http_body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    match result {
        Ok(body) => {
            let mut response = Response::new(Body::new(body.into_inner()));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(status) => status.into_http(),
    }
}

/// The end of an answer.
pub(super) fn trailers(status: &Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(trailers)
}

/// The body of an answer with one message, framed.
pub(super) struct Unary {
    message: Option<Bytes>,
    ended: bool,
}

impl Unary {
    pub(super) fn new(framed: Bytes) -> Self {
        Self { message: Some(framed), ended: false }
    }
}

impl http_body::Body for Unary {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        let ended = std::mem::replace(&mut self.ended, true);
        Poll::Ready((!ended).then(|| trailers(&Status::new(Code::Ok, "")).map(Frame::trailers)))
    }
}
