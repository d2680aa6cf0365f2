//! A cache beyond this machine, as builds see it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use buildnet_cas::Store;
use buildnet_digest::{Digest, reapi};
use buildnet_event::Level;
use tokio_util::sync::CancellationToken;

use super::session::Session;

/// Something that takes time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// When the wait for uploads is told for the first time, and then again and again.
const TELL: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// A cache that is asked for what the local one has not, and gets what was built.
///
/// It never fails a build: what it cannot do it tells whoever made it, and the build goes on as if it were empty.
pub trait RemoteCache: fmt::Debug + Send + Sync {
    /// Brings the result of an action with every blob that it names into the store, each verified. False when there is none.
    fn fetch<'a>(&'a self, store: &'a Store, action: &'a Digest) -> Pending<'a, bool>;

    /// Has a result that the store holds, what it names, and further blobs sent in the background. Returns at once.
    fn publish(&self, store: &Store, action: &Digest, result: &reapi::ActionResult, further: Vec<Digest>);

    /// Results and bytes that are still to be sent.
    fn left(&self) -> (u64, u64);

    /// Returns when nothing is left to be sent.
    fn settle(&self) -> Pending<'_, ()>;
}

/// Waits until everything is sent, and tells how much is left if that takes long. Cancelling ends the wait, and the sending.
pub(super) async fn settle(remote: &Arc<dyn RemoteCache>, session: &Session, cancel: &CancellationToken) {
    let mut settled = remote.settle();
    for wait in TELL.into_iter().chain(std::iter::repeat(TELL[1])) {
        tokio::select! {
            () = &mut settled => return,
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let (results, bytes) = remote.left();
        let noun = if results == 1 { "result" } else { "results" };
        let text = format!("sending {results} {noun} ({} MB) to the remote cache", bytes.div_ceil(1_000_000));
        session.notice(Level::Info, text, None);
    }
}
