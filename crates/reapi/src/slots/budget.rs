//! Memory for messages that are being received: one budget for all requests, so that however many there are, and however
//! large the messages that they announce, what they take together is bounded.
//!
//! A gRPC message tells its length before it comes. So it is let in whole, or its request waits, holding nothing, while
//! HTTP/2's flow control stops the client; who waits for too long is told to come again later.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::frame::PREFIX;
use crate::status::busy;

/// The budget of a cache. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    total: usize,
    /// Longer messages are refused by whoever reads them.
    longest: usize,
    /// How long a request waits at most.
    patience: Duration,
}

impl Budget {
    pub(super) fn new(total: usize, longest: usize, patience: Duration) -> Self {
        // The length of a gRPC message is a u32.
        let total = total.clamp(1, u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(total)), total, longest, patience }
    }

    pub(super) fn taken(&self) -> usize {
        self.total - self.free.available_permits()
    }
}

/// What a request holds of the budget.
pub(super) type Held = Mutex<Option<OwnedSemaphorePermit>>;

type Waiting = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// Follows the messages of one request, and lets each in when there is room.
pub(super) struct Meter {
    budget: Budget,
    /// What was received and not let in.
    pub(super) stopped: Bytes,
    prefix: [u8; PREFIX],
    /// Bytes of a prefix that were let in.
    seen: usize,
    /// Bytes of a message that are still to come.
    left: usize,
    waiting: Option<Waiting>,
}

impl Meter {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, stopped: Bytes::new(), prefix: [0; PREFIX], seen: 0, left: 0, waiting: None }
    }

    /// The next bytes that may go on, of those that stopped here.
    pub(super) fn poll_pass(&mut self, held: &Held, context: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        if self.left == 0 {
            let count = (PREFIX - self.seen).min(self.stopped.len());
            self.prefix[self.seen..self.seen + count].copy_from_slice(&self.stopped[..count]);
            if self.seen + count < PREFIX {
                self.seen += count;
                return Poll::Ready(Ok(std::mem::take(&mut self.stopped)));
            }
            let [_, length @ ..] = self.prefix;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            ready!(self.poll_reserve(length, held, context))?;
            self.left = count.saturating_add(length);
            self.seen = 0;
        }
        let part = self.stopped.split_to(self.left.min(self.stopped.len()));
        self.left -= part.len();
        Poll::Ready(Ok(part))
    }

    /// Gives back what the message before took, which was dealt with when the next is asked for, and takes as much as this
    /// one needs.
    fn poll_reserve(&mut self, length: usize, held: &Held, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Budget { free, total, longest, patience } = &self.budget;
        let wanted = length.min(*longest).min(*total);
        let mut held = held.lock();
        if held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) == wanted {
            return Poll::Ready(Ok(()));
        }
        *held = None;
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        if self.waiting.is_none() {
            if let Ok(permit) = Arc::clone(free).try_acquire_many_owned(wanted) {
                *held = Some(permit);
                return Poll::Ready(Ok(()));
            }
            let acquired = tokio::time::timeout(*patience, Arc::clone(free).acquire_many_owned(wanted));
            self.waiting = Some(Box::pin(async move { acquired.await.ok()?.ok() }));
        }
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
        let acquired = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        *held = acquired;
        let full = || busy("the messages that are being received take all the memory they may");
        Poll::Ready(if held.is_some() { Ok(()) } else { Err(full()) })
    }
}
