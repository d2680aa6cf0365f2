//! Bounded fan-out of events to any number of readers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::event::{BuildId, Event, EventKind};

/// Bytes of text that a stream holds at most; the events that carry more than that are dropped, oldest first.
const MAX_TEXT: usize = 64 << 20;

/// A stream of events with a bounded memory of the last ones.
///
/// Publishing never waits and never fails: a reader that falls behind by more than the capacity gets [`Lagged`] and continues at
/// the oldest event still held. Cloning is cheap and yields the same stream.
#[derive(Clone, Debug)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    changed: Notify,
    capacity: usize,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Sequence number of the next event.
    next: u64,
    /// Bytes of text in the events.
    text: usize,
    closed: bool,
}

/// A reader missed events: it read too slowly, or asked for ones that are no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged {
    /// How many were missed.
    pub missed: u64,
}

impl Bus {
    /// A stream that holds the last `capacity` events for its readers.
    pub fn new(capacity: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                ring: Mutex::new(Ring { events: VecDeque::new(), next: 1, text: 0, closed: false }),
                changed: Notify::new(),
                capacity: capacity.max(1),
            }),
        }
    }

    /// Publishes an event and returns it with its sequence number and time.
    pub fn publish(&self, build: Option<BuildId>, kind: EventKind) -> Arc<Event> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut ring = self.shared.ring.lock();
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let event = Arc::new(Event { seq: ring.next, time_ms, build, kind });
        ring.next += 1;
        ring.text += text_of(&event);
        ring.events.push_back(Arc::clone(&event));
        while ring.events.len() > self.shared.capacity || (ring.text > MAX_TEXT && ring.events.len() > 1) {
            let dropped = ring.events.pop_front().map_or(0, |event| text_of(&event));
            ring.text -= dropped;
        }
        drop(ring);
        self.shared.changed.notify_waiters();
        event
    }

    /// Ends the stream: readers get what is left, then the end.
    pub fn close(&self) {
        self.shared.ring.lock().closed = true;
        self.shared.changed.notify_waiters();
    }

    /// Sequence number of the last event published; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.shared.ring.lock().next - 1
    }

    /// Reads from the next event on.
    pub fn subscribe(&self) -> Subscription {
        let next = self.shared.ring.lock().next;
        Subscription { bus: self.clone(), next }
    }

    /// Reads from the event after `seq` on; 0 reads all that are held.
    pub fn subscribe_after(&self, seq: u64) -> Subscription {
        Subscription { bus: self.clone(), next: seq.saturating_add(1) }
    }
}

/// One reader's place in a [`Bus`].
#[derive(Debug)]
pub struct Subscription {
    bus: Bus,
    next: u64,
}

impl Subscription {
    /// The next event if one is there.
    pub fn try_next(&mut self) -> Option<Result<Arc<Event>, Lagged>> {
        let shared = Arc::clone(&self.bus.shared);
        let ring = shared.ring.lock();
        self.take(&ring)
    }

    /// The next event, waiting for it; none once the stream is closed and read to its end.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, Lagged>> {
        let shared = Arc::clone(&self.bus.shared);
        loop {
            // Registered before the look at the ring, so that no wake-up is missed between the two.
            let changed = shared.changed.notified();
            {
                let ring = shared.ring.lock();
                if let Some(event) = self.take(&ring) {
                    return Some(event);
                }
                if ring.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    fn take(&mut self, ring: &Ring) -> Option<Result<Arc<Event>, Lagged>> {
        // A reader that resumes from another process's stream may ask for a future event: it waits from now on.
        self.next = self.next.min(ring.next);
        let oldest = ring.next - ring.events.len() as u64;
        if self.next < oldest {
            let missed = oldest - self.next;
            self.next = oldest;
            return Some(Err(Lagged { missed }));
        }
        let index = usize::try_from(self.next - oldest).ok()?;
        let event = Arc::clone(ring.events.get(index)?);
        self.next += 1;
        Some(Ok(event))
    }
}

/// Bytes of the texts of an event that may be long.
fn text_of(event: &Event) -> usize {
    match &event.kind {
        EventKind::TaskOutput { text, .. } | EventKind::Notice { text, .. } => text.len(),
        EventKind::TaskFinished(task) => task.log_tail.as_ref().map_or(0, String::len),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;

    fn notice(text: &str) -> EventKind {
        EventKind::Notice { level: Level::Info, text: text.to_owned(), hint: None }
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let bus = Bus::new(2);
        let mut slow = bus.subscribe();
        for text in ["a", "b", "c"] {
            bus.publish(None, notice(text));
        }
        assert_eq!(slow.try_next(), Some(Err(Lagged { missed: 1 })));
        assert_eq!(slow.try_next().unwrap().unwrap().seq, 2);
        assert_eq!(slow.try_next().unwrap().unwrap().seq, 3);
        assert_eq!(slow.try_next(), None);
    }

    #[test]
    fn long_texts_are_not_held_without_bound() {
        let bus = Bus::new(1_000_000);
        let mut reader = bus.subscribe();
        let piece = "x".repeat(1 << 20);
        for _ in 0..100 {
            bus.publish(None, notice(&piece));
        }
        assert_eq!(reader.try_next(), Some(Err(Lagged { missed: 36 })));
        assert_eq!(bus.last_seq(), 100);
    }

    #[test]
    fn a_reader_resumes_after_the_event_it_saw() {
        let bus = Bus::new(8);
        for text in ["a", "b", "c"] {
            bus.publish(None, notice(text));
        }
        assert_eq!(bus.subscribe_after(1).try_next().unwrap().unwrap().seq, 2);
        assert_eq!(bus.subscribe_after(0).try_next().unwrap().unwrap().seq, 1);
        assert_eq!(bus.subscribe_after(99).try_next(), None);
    }

    #[tokio::test]
    async fn a_closed_stream_ends_after_its_last_event() {
        let bus = Bus::new(8);
        let mut reader = bus.subscribe();
        bus.publish(None, notice("a"));
        bus.close();
        assert!(reader.next().await.is_some());
        assert!(reader.next().await.is_none());
    }
}
