//! Requests in flight, and the patience with their clients.
//!
//! Every request holds one of a bounded number of slots until its answer is sent, so a client must not be able to hold one for
//! ever: not by sending a byte now and then, nor by reading nothing. Only the time that the server waits for the client counts,
//! against an allowance: [`Limits::idle`](crate::Limits::idle) to begin with, and what each byte takes at
//! [`Limits::min_rate`](crate::Limits::min_rate). When it is used up, the request is cut: what was sent ends with an error, what
//! was to be sent is dropped with its memory, and the slot is free again.
//!
//! What gRPC messages take in memory while they are received has a budget of its own ([`budget`]).

mod body;
mod budget;
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
use self::budget::{Budget, Held, Meter};
use self::pace::Pace;
use crate::server::Protocol;
use crate::service::Limits;

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
    budget: Budget,
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
    pub(crate) fn new(limits: &Limits) -> Self {
        let watched = Watched {
            slots: Mutex::default(),
            next: AtomicU64::new(0),
            started: AtomicBool::new(false),
            patience: limits.idle,
            min_rate: limits.min_rate,
        };
        let budget = Budget::new(limits.max_receiving_bytes, limits.max_message_bytes, limits.idle);
        Self { free: Arc::new(Semaphore::new(limits.max_in_flight)), budget, watched: Arc::new(watched) }
    }

    /// Bytes of the messages that are being received or dealt with.
    pub(crate) fn receiving(&self) -> usize {
        self.budget.taken()
    }

    pub(crate) fn free(&self) -> &Arc<Semaphore> {
        &self.free
    }

    /// Takes a slot for a request, if there is a free one, and watches what the request brings.
    pub(crate) fn take(&self, request: Request, protocol: Protocol) -> Option<(Request, Taken)> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        self.watch();
        let watched = &self.watched;
        let pace = || Mutex::new(Pace::new(watched.patience, watched.min_rate));
        let slot = Arc::new(Slot {
            received: pace(),
            sent: pace(),
            answer: Mutex::new(Answer { body: None, permit: Some(permit) }),
            hangup: request.extensions().get::<Hangup>().cloned(),
            memory: Held::default(),
        });
        let number = watched.next.fetch_add(1, Ordering::Relaxed);
        watched.slots.lock().insert(number, Arc::clone(&slot));
        let taken = Taken { slot, number, watched: Arc::clone(watched) };
        let meter = (protocol == Protocol::Grpc).then(|| Meter::new(self.budget.clone()));
        let request = request.map(|body| Body::new(Received::new(body, meter, Arc::clone(&taken.slot))));
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
        // What was asked is dealt with.
        drop(self.slot.memory.lock().take());
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
    /// For the message that is being received or dealt with.
    memory: Held,
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
