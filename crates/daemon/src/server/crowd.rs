//! Who is connected. Connections are bounded, and a client that only holds one must not keep another out: where there is no place
//! left, the connection without a request that has been quiet for longest makes room.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use buildnet_reapi::Hangup;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// All connections.
pub(super) struct Crowd {
    places: usize,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    seats: Mutex<Seats>,
    /// Somebody left or became quiet.
    changed: Notify,
}

#[derive(Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, State>,
}

struct State {
    /// Requests in flight.
    requests: usize,
    /// Whether there ever was a request.
    spoke: bool,
    quiet_since: Instant,
    hangup: Hangup,
}

impl Crowd {
    pub(super) fn new(places: usize) -> Self {
        Self { places, inner: Arc::default() }
    }

    /// A place for one more connection, as soon as there is one.
    pub(super) async fn enter(&self) -> Seat {
        loop {
            let changed = self.inner.changed.notified();
            if let Some(seat) = self.try_enter() {
                return seat;
            }
            changed.await;
        }
    }

    fn try_enter(&self) -> Option<Seat> {
        let mut seats = self.inner.seats.lock();
        if seats.taken.len() >= self.places {
            let quiet = seats.taken.iter().filter(|(_, state)| state.requests == 0);
            let (&number, _) = quiet.min_by_key(|(_, state)| state.quiet_since)?;
            // Its place is free at once; the connection ends as soon as its task runs.
            seats.taken.remove(&number)?.hangup.ask();
        }
        let number = seats.next;
        seats.next += 1;
        let hangup = Hangup::default();
        let state = State { requests: 0, spoke: false, quiet_since: Instant::now(), hangup: hangup.clone() };
        seats.taken.insert(number, state);
        drop(seats);
        Some(Seat { number, hangup, inner: Arc::clone(&self.inner) })
    }
}

/// The place of one connection. Dropped when it ends.
pub(super) struct Seat {
    number: u64,
    hangup: Hangup,
    inner: Arc<Inner>,
}

impl Seat {
    /// How requests of this connection can ask for its end.
    pub(super) fn hangup(&self) -> &Hangup {
        &self.hangup
    }

    /// Waits until the connection is to be ended: it is asked to, or it never had a request within `patience`.
    pub(super) async fn ended(&self, patience: Duration) {
        let silent = async {
            tokio::time::sleep(patience).await;
            let spoke = self.inner.seats.lock().taken.get(&self.number).is_some_and(|state| state.spoke);
            if spoke {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.hangup.asked() => {}
            () = silent => {}
        }
    }

    /// Notes a request, which lasts until its answer is sent.
    pub(super) fn request(&self) -> Underway {
        if let Some(state) = self.inner.seats.lock().taken.get_mut(&self.number) {
            state.requests += 1;
            state.spoke = true;
        }
        Underway { number: self.number, inner: Arc::clone(&self.inner) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.inner.seats.lock().taken.remove(&self.number);
        self.inner.changed.notify_one();
    }
}

/// A request that is not answered yet.
pub(super) struct Underway {
    number: u64,
    inner: Arc<Inner>,
}

impl Underway {
    /// Keeps the request underway until the answer's body is sent.
    pub(super) fn until_sent(self, response: Response) -> Response {
        response.map(|body| Body::new(Kept { body, _request: self }))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(state) = self.inner.seats.lock().taken.get_mut(&self.number) {
            state.requests -= 1;
            state.quiet_since = Instant::now();
        }
        self.inner.changed.notify_one();
    }
}

/// A body that keeps its request underway.
struct Kept {
    body: Body,
    _request: Underway,
}

impl HttpBody for Kept {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn the_quietest_without_a_request_makes_room() {
        let crowd = Crowd::new(3);
        let (working, quietest, quiet) = (crowd.enter().await, crowd.enter().await, crowd.enter().await);
        let request = working.request();
        drop(quiet.request());
        let newcomer = crowd.enter().await;
        quietest.ended(LONG).await;
        // Its place was taken over already: that its task ends frees no second one.
        drop(quietest);
        let (first, second) = (quiet.request(), newcomer.request());
        assert!(crowd.try_enter().is_none(), "all have requests");
        drop(request);
        let last = crowd.enter().await;
        working.ended(LONG).await;
        drop((first, second, last));
    }

    #[tokio::test]
    async fn whoever_waits_is_let_in_when_somebody_leaves() {
        let crowd = Arc::new(Crowd::new(1));
        let seat = crowd.enter().await;
        let request = seat.request();
        let waiting = tokio::spawn({
            let crowd = Arc::clone(&crowd);
            async move { crowd.enter().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop((request, seat));
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn who_never_says_anything_is_dropped() {
        let crowd = Crowd::new(2);
        let (silent, speaking) = (crowd.enter().await, crowd.enter().await);
        drop(speaking.request());
        let patience = Duration::from_millis(20);
        silent.ended(patience).await;
        assert!(tokio::time::timeout(patience * 5, speaking.ended(patience)).await.is_err());
    }
}
