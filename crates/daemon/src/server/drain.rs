//! What is left of a request that was refused before it ended.
//!
//! A refusal is sent at once, but some clients lose it when the server then stops to take what they still send: over HTTP/2 curl up to
//! 7.88 tells a stream that is reset, also with `NO_ERROR`, and over HTTP/1.1 the kernel resets a connection that is closed with
//! bytes unread. So the rest is read and dropped for a while; who then still sends is cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Request, Response, StatusCode, Version, header};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use parking_lot::Mutex;

/// Bytes that are read of what is left. Clients that look at answers while they send have seen it long before.
const MOST: u64 = 16 << 20;
/// How long it is read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a body goes when whoever serves its request is done with it.
#[derive(Default)]
struct Rest(Mutex<Left>);

#[derive(Default)]
enum Left {
    /// It is still read, or was read to its end.
    #[default]
    Nothing,
    Body(Incoming),
    /// The answer is known, and nobody wants the rest.
    Answered,
}

/// Gives the request a body that is not lost when it is dropped early.
pub(super) fn watch(request: Request<Incoming>) -> (Request<Body>, Watched) {
    // Reading on would ask for a body that the client holds back until it is asked.
    let held_back = request.version() < Version::HTTP_2 && request.headers().contains_key(header::EXPECT);
    if held_back || request.body().is_end_stream() {
        return (request.map(Body::new), Watched { rest: None });
    }
    let rest = Arc::<Rest>::default();
    let watched = Watched { rest: Some(Arc::clone(&rest)) };
    (request.map(|body| Body::new(Kept { body: Some(body), rest })), watched)
}

/// The request's body, wherever it is.
pub(super) struct Watched {
    rest: Option<Arc<Rest>>,
}

impl Watched {
    /// Takes note of the answer. If it is a refusal, what is left of the request is read and dropped in the background.
    pub(super) fn answered<B>(self, response: &Response<B>) {
        let Some(rest) = self.rest else { return };
        let left = std::mem::replace(&mut *rest.0.lock(), Left::Answered);
        let status = response.status();
        // Who was too slow has had its time.
        let refused = (status.is_client_error() || status.is_server_error()) && status != StatusCode::REQUEST_TIMEOUT;
        if let Left::Body(body) = left
            && refused
        {
            tokio::spawn(tokio::time::timeout(PATIENCE, drain(body)));
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut taken = 0;
    while let Some(Ok(frame)) = body.frame().await {
        taken += frame.data_ref().map_or(0, Bytes::len) as u64;
        if taken > MOST {
            return;
        }
    }
}

/// A body that is handed on when it is dropped before its end.
struct Kept {
    body: Option<Incoming>,
    rest: Arc<Rest>,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        let mut left = self.rest.0.lock();
        if matches!(*left, Left::Nothing) {
            *left = Left::Body(body);
        }
    }
}
