//! Bodies that tell whose turn it is.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::budget::Meter;
use super::{Slot, Taken};

type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Why a body ends when its client is too slow. gRPC finds its status in the error's source.
#[derive(Debug)]
pub(crate) struct TooSlow {
    status: Status,
}

impl TooSlow {
    /// What the client is told.
    pub(crate) const MESSAGE: &str = "the client is too slow";

    fn error() -> axum::Error {
        axum::Error::new(Self { status: Status::deadline_exceeded(Self::MESSAGE) })
    }

    /// Whether an error has this one among its causes.
    pub(crate) fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut error = Some(error);
        while let Some(cause) = error {
            if cause.is::<Self>() {
                return true;
            }
            error = cause.source();
        }
        false
    }
}

impl fmt::Display for TooSlow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Self::MESSAGE)
    }
}

impl Error for TooSlow {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

/// What a client sends.
pub(super) struct Received {
    body: Body,
    /// Of a request that consists of gRPC messages.
    meter: Option<Meter>,
    slot: Arc<Slot>,
}

impl Received {
    pub(super) fn new(body: Body, meter: Option<Meter>, slot: Arc<Slot>) -> Self {
        Self { body, meter, slot }
    }
}

/// What the client sends next, or that it is the client's turn.
fn poll_client(body: &mut Body, slot: &Slot, context: &mut Context<'_>) -> Polled {
    let polled = Pin::new(body).poll_frame(context);
    let mut pace = slot.received.lock();
    match &polled {
        _ if pace.is_cut() => return Poll::Ready(Some(Err(TooSlow::error()))),
        Poll::Pending => pace.wait_with(Instant::now(), context),
        Poll::Ready(frame) => {
            pace.resume(Instant::now());
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            pace.moved(data.map_or(0, Bytes::len));
        }
    }
    drop(pace);
    polled
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let Self { body, meter, slot } = &mut *self;
        let Some(meter) = meter else { return poll_client(body, slot, context) };
        while meter.stopped.is_empty() {
            match ready!(poll_client(body, slot, context)) {
                Some(Ok(frame)) if frame.is_data() => meter.stopped = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let passed = ready!(meter.poll_pass(&slot.memory, context));
        Poll::Ready(Some(passed.map(Frame::data).map_err(axum::Error::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.meter.as_ref().is_none_or(|meter| meter.stopped.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        if self.meter.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// Given up by whoever serves the request: the client is waited for no longer.
impl Drop for Received {
    fn drop(&mut self) {
        self.slot.received.lock().resume(Instant::now());
    }
}

/// What a client is sent. What lies in its way until the next poll is the client, who does not read.
pub(super) struct Sent {
    taken: Taken,
}

impl Sent {
    pub(super) fn new(taken: Taken) -> Self {
        Self { taken }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let slot = &self.taken.slot;
        slot.sent.lock().resume(Instant::now());
        let mut answer = slot.answer.lock();
        let Some(body) = &mut answer.body else { return Poll::Ready(Some(Err(TooSlow::error()))) };
        let polled = Pin::new(body).poll_frame(context);
        drop(answer);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let mut pace = slot.sent.lock();
            pace.moved(frame.data_ref().map_or(0, Bytes::len));
            pace.wait(Instant::now());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.taken.slot.answer.lock().body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.taken.slot.answer.lock().body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
