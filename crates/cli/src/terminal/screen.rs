//! Puts text on a terminal: what stays scrolls up, what changes stays below.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::live::{LiveLine, Size};

/// A terminal, and what of it is ours.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    out: W,
    size: Size,
    /// The live lines as they were written last.
    live: Vec<LiveLine>,
    cursor_hidden: bool,
}

impl<W: Write> Screen<W> {
    pub(crate) fn new(out: W, size: Size) -> Self {
        Self { out, size, live: Vec::new(), cursor_hidden: false }
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// The terminal has another size from now on.
    pub(crate) fn resize(&mut self, size: Size) {
        self.size = size;
    }

    /// Writes lines that stay (each ends with a line end) and the new live lines in the place of the old ones.
    ///
    /// All of it is one write within a synchronized update, each line is overwritten before what is left of the old one is erased, and
    /// nothing is erased that is written again: so nothing flickers, also where the terminal does not know synchronized updates.
    pub(crate) fn update(&mut self, stays: &str, live: Vec<LiveLine>) -> io::Result<()> {
        if stays.is_empty() && live == self.live {
            return Ok(());
        }
        let mut text = String::with_capacity(stays.len() + 256);
        text.push_str("\x1b[?2026h");
        if !self.cursor_hidden && !live.is_empty() {
            text.push_str("\x1b[?25l");
            self.cursor_hidden = true;
        }
        self.home(&mut text);
        for line in stays.lines() {
            let _ = write!(text, "{line}\x1b[K\r\n");
        }
        // Characters that this terminal shows wider than we think must not push lines around.
        text.push_str("\x1b[?7l");
        for (index, line) in live.iter().enumerate() {
            let end = if index + 1 < live.len() { "\r\n" } else { "" };
            let _ = write!(text, "{}\x1b[K{end}", line.text);
        }
        text.push_str("\x1b[?7h\x1b[J");
        if live.is_empty() && self.cursor_hidden {
            text.push_str("\x1b[?25h");
            self.cursor_hidden = false;
        }
        text.push_str("\x1b[?2026l");
        self.live = live;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Moves to the first live line. A terminal that became narrower has folded them.
    fn home(&self, text: &mut String) {
        let rows: usize = self.live.iter().map(|line| line.columns.div_ceil(self.size.columns.max(1)).max(1)).sum();
        text.push('\r');
        if rows > 1 {
            let _ = write!(text, "\x1b[{}A", (rows - 1).min(self.size.rows.saturating_sub(1)));
        }
    }

    /// Removes the live lines and gives the cursor back.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if self.live.is_empty() && !self.cursor_hidden { Ok(()) } else { self.update("", Vec::new()) }
    }
}
