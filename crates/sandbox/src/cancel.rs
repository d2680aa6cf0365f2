//! Stopping a command from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cancels every [`run`](crate::run) it was given to; clones act as one. Once cancelled it stays so.
#[derive(Clone, Debug, Default)]
pub struct CancelHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    /// Readable once cancelled, so that a run can wait for it together with the command's output. Absent when the process has no
    /// descriptor left; then the flag alone is looked at, some times a second.
    #[cfg(isolation)]
    event: std::sync::OnceLock<Option<rustix::fd::OwnedFd>>,
}

impl CancelHandle {
    /// A handle that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Kills the commands that run under this handle, and prevents further ones.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        #[cfg(isolation)]
        if let Some(Some(event)) = self.shared.event.get() {
            // An eventfd refuses a write only when its counter is full: then it is readable already.
            let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
        }
    }

    /// Whether [`CancelHandle::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// A descriptor that becomes readable when cancelled. The caller looks at [`CancelHandle::is_cancelled`] after taking it,
    /// because a cancellation before it existed did not write to it.
    #[cfg(isolation)]
    pub(crate) fn event(&self) -> Option<rustix::fd::BorrowedFd<'_>> {
        use rustix::event::{EventfdFlags, eventfd};
        use rustix::fd::AsFd;
        let event = self.shared.event.get_or_init(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok());
        event.as_ref().map(AsFd::as_fd)
    }
}
