//! What a session reacts to, and the signals among it.

use std::os::fd::AsFd;
use std::sync::mpsc::SyncSender;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::Line;
use nix::sys::signal::{SigSet, Signal};

use super::live::Size;

/// Inputs that wait for a session: whoever sends more waits, so that a terminal that is stopped costs bounded memory.
pub(crate) const QUEUE: usize = 1024;

/// Something that happened to a session.
#[derive(Debug)]
pub(crate) enum Input {
    /// The build told something.
    Line(Line),
    /// The build told everything, or the connection broke.
    Ended(Result<(), ErrorReport>),
    /// Ctrl-C, or a request to end.
    Interrupt,
    /// The terminal has another size.
    Resized,
    /// A file changed while nothing is built.
    Changed,
}

/// Signals that are taken as input, blocked for the whole process. Must be made before the first thread is; commands that are run get
/// an empty mask from the standard library.
#[derive(Debug)]
pub(crate) struct Signals {
    set: SigSet,
}

impl Signals {
    /// Takes the signals over.
    pub(crate) fn take() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGWINCH] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self { set })
    }

    /// Sends what arrives as input, from a thread of its own, for as long as somebody listens.
    pub(crate) fn forward(self, inputs: SyncSender<Input>) {
        std::thread::spawn(move || {
            while let Ok(signal) = self.set.wait() {
                let input = if signal == Signal::SIGWINCH { Input::Resized } else { Input::Interrupt };
                if inputs.send(input).is_err() {
                    break;
                }
            }
        });
    }
}

/// The size of a terminal; none if it is none.
pub(crate) fn terminal_size(terminal: impl AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
    // Some terminals, such as those of CI systems, say zero.
    Some(if columns == 0 || rows == 0 { Size { columns: 80, rows: 24 } } else { Size { columns, rows } })
}
