//! Doing a thing once, however many ask for it at the same time.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use buildnet_digest::Digest;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// What is under way, by digest.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Digest, Arc<OnceCell<bool>>>>,
}

impl Flights {
    /// Runs `work` unless it runs for the same digest already: then its outcome is this caller's, too. When the caller that runs it
    /// goes away, another one goes on from the start.
    pub(crate) async fn join<F: Future<Output = bool>>(&self, digest: &Digest, work: impl FnOnce() -> F) -> bool {
        let cell = Arc::clone(self.under_way.lock().entry(*digest).or_default());
        let guard = Landing { flights: self, digest, cell };
        *guard.cell.get_or_init(work).await
    }
}

/// Removes a flight when the last of its callers leaves.
struct Landing<'f> {
    flights: &'f Flights,
    digest: &'f Digest,
    cell: Arc<OnceCell<bool>>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        let ended = self.cell.initialized();
        // Ours and the map's: nobody else waits.
        if under_way.get(self.digest).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell))
            && (ended || Arc::strong_count(&self.cell) == 2)
        {
            under_way.remove(self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use buildnet_digest::DigestFunction;

    use super::*;

    #[tokio::test]
    async fn many_callers_cost_one_call_and_leave_nothing_behind() {
        let (flights, calls) = (Flights::default(), AtomicU32::new(0));
        let digest = DigestFunction::Blake3.digest(b"x");
        let work = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            true
        };
        let all = futures::future::join_all((0..50).map(|_| flights.join(&digest, work))).await;
        assert!(all.into_iter().all(|outcome| outcome));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(flights.under_way.lock().is_empty());
        assert!(flights.join(&digest, work).await);
        assert_eq!(calls.load(Ordering::Relaxed), 2, "what has ended is not remembered");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_is_replaced() {
        let flights = Flights::default();
        let digest = DigestFunction::Blake3.digest(b"x");
        let mut first = Box::pin(flights.join(&digest, futures::future::pending));
        assert!(futures::poll!(first.as_mut()).is_pending());
        let mut second = Box::pin(flights.join(&digest, || async { true }));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        assert!(second.await);
        assert!(flights.under_way.lock().is_empty());
    }
}
