//! Keeping a build in the history while it runs.

use std::sync::Arc;

use buildnet_digest::Diagnostic as _;
use buildnet_event::{BuildId, Bus, EventKind, Level, Subscription};
use buildnet_history::{HistoryError, HistoryStore, Recorder, Retention};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Reads the events of one build and keeps them, from a thread that may block, until the build's end was told or `ended`.
pub(super) fn record(
    store: Arc<dyn HistoryStore>,
    mut events: Subscription,
    bus: &Bus,
    id: BuildId,
    ended: &CancellationToken,
) {
    let mut recorder = Recorder::new(store, Retention::default());
    let mut failed = false;
    let runtime = Handle::current();
    let next = |events: &mut Subscription| {
        runtime.block_on(async {
            tokio::select! {
                biased;
                event = events.next() => event,
                () = ended.cancelled() => None,
            }
        })
    };
    while let Some(event) = next(&mut events) {
        let (kept, last) = match event {
            Ok(event) if event.build == Some(id) => {
                (recorder.record(&event), matches!(event.kind, EventKind::BuildFinished { .. }))
            }
            Ok(_) => continue,
            Err(lagged) => {
                recorder.missed(lagged.missed);
                continue;
            }
        };
        if let Err(error) = kept
            && !failed
        {
            failed = true;
            tell(bus, id, &error);
        }
        if last {
            break;
        }
    }
}

fn tell(bus: &Bus, id: BuildId, error: &HistoryError) {
    let text = format!("this build is not kept in the history: {error}");
    tracing::warn!("{text}");
    bus.publish(Some(id), EventKind::Notice { level: Level::Warning, text, hint: error.hint() });
}
