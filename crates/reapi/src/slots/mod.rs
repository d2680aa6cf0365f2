//! Requests in flight, and the patience with their clients.
//!
//! Every request holds one of a bounded number of slots until its answer is sent, so a client must not be able to hold one for
//! ever: not by sending a byte now and then, nor by reading nothing. Only the time that the server waits for the client counts,
//! against an allowance: [`Limits::idle`](crate::Limits::idle) to begin with, and what each byte takes at
//! [`Limits::min_rate`](crate::Limits::min_rate). When it is used up, the request is cut: what was sent ends with an error, what
//! was to be sent is dropped with its memory, and the slot is free again.

mod body;
mod pace;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub(crate) use self::body::TooSlow;
use self::body::{Received, Sent};
use self::pace::Pace;

/// Shortest time between two looks at the clients.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
/// Looks within the time that a client may do nothing.
const LOOKS: u32 = 8;

/// The end of a connection, which a request that waits in vain for its client asks for. Whoever serves connections puts one
/// into each request's extensions, and closes the connection when it is asked to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hangup {
    asked: Arc<Notify>,
}

impl Hangup {
    /// Asks for the end of the connection.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Waits until somebody asks for the end.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}

/// All slots of a cache. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    watched: Arc<Watched>,
}

#[derive(Debug)]
struct Watched {
    slots: Mutex<HashMap<u64, Arc<Slot>>>,
    next: AtomicU64,
    started: AtomicBool,
    patience: Duration,
    min_rate: u64,
}

impl Slots {
    pub(crate) fn new(count: usize, patience: Duration, min_rate: u64) -> Self {
        let watched = Watched {
            slots: Mutex::default(),
            next: AtomicU64::new(0),
            started: AtomicBool::new(false),
            patience,
            min_rate,
        };
        Self { free: Arc::new(Semaphore::new(count)), watched: Arc::new(watched) }
    }

    pub(crate) fn free(&self) -> &Arc<Semaphore> {
        &self.free
    }

    /// Takes a slot for a request, if there is a free one, and watches what the request brings.
    pub(crate) fn take(&self, request: Request) -> Option<(Request, Taken)> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        self.watch();
        let watched = &self.watched;
        let pace = || Mutex::new(Pace::new(watched.patience, watched.min_rate));
        let slot = Arc::new(Slot {
            received: pace(),
            sent: pace(),
            answer: Mutex::new(Answer { body: None, permit: Some(permit) }),
            hangup: request.extensions().get::<Hangup>().cloned(),
        });
        let number = watched.next.fetch_add(1, Ordering::Relaxed);
        watched.slots.lock().insert(number, Arc::clone(&slot));
        let taken = Taken { slot, number, watched: Arc::clone(watched) };
        let request = request.map(|body| Body::new(Received::new(body, Arc::clone(&taken.slot))));
        Some((request, taken))
    }

    /// Starts to look at the clients, once, in the runtime that serves the first request.
    fn watch(&self) {
        if self.watched.started.swap(true, Ordering::Relaxed) {
            return;
        }
        let watched = Arc::downgrade(&self.watched);
        let pause = (self.watched.patience / LOOKS).max(SHORTEST_LOOK);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(watched) = Weak::upgrade(&watched) else { return };
                let now = Instant::now();
                let slots: Vec<Arc<Slot>> = watched.slots.lock().values().map(Arc::clone).collect();
                for slot in slots {
                    slot.look(now);
                }
            }
        });
    }
}

/// A slot in use. Dropped when the answer is sent or the request is given up.
pub(crate) struct Taken {
    slot: Arc<Slot>,
    number: u64,
    watched: Arc<Watched>,
}

impl Taken {
    /// Keeps the slot until the answer's body is sent.
    pub(crate) fn answer(self, response: Response) -> Response {
        response.map(|body| {
            self.slot.answer.lock().body = Some(body);
            Body::new(Sent::new(self))
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.watched.slots.lock().remove(&self.number);
    }
}

#[derive(Debug)]
struct Slot {
    received: Mutex<Pace>,
    sent: Mutex<Pace>,
    answer: Mutex<Answer>,
    hangup: Option<Hangup>,
}

/// What is left to send.
#[derive(Debug)]
struct Answer {
    body: Option<Body>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// Cuts the request if its client has used up the allowance.
    fn look(&self, now: Instant) {
        // What the request brings ends with an error, and what serves it answers.
        self.received.lock().look(now);
        if self.sent.lock().look(now) {
            // Dropped outside the lock: a body may do much when it ends.
            let answer = {
                let mut answer = self.answer.lock();
                (answer.body.take(), answer.permit.take())
            };
            drop(answer);
            tracing::debug!("a client that reads too slowly is dropped");
            if let Some(hangup) = &self.hangup {
                hangup.ask();
            }
        }
    }
}
