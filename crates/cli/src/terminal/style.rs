//! Colours and symbols.

use std::fmt;

use buildnet_event::Tier;

/// How to write on this terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// Escape sequences for colours may be written.
    pub(crate) color: bool,
    /// The terminal shows more than ASCII.
    pub(crate) unicode: bool,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Good,
    Bad,
    Warn,
    Info,
    Dim,
    Bold,
}

impl Ink {
    /// Parameters of SGR (ECMA-48, 8.3.117): the basic colours, which every theme makes readable.
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Info => "36",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

/// A text in an ink.
pub(crate) struct Painted<T> {
    text: T,
    code: Option<&'static str>,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.fmt(f),
        }
    }
}

impl Style {
    /// Neither colours nor symbols.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { color: false, unicode: true };

    pub(crate) fn paint<T: fmt::Display>(self, ink: Ink, text: T) -> Painted<T> {
        Painted { text, code: self.color.then_some(ink.code()) }
    }

    pub(crate) const fn check(self) -> &'static str {
        if self.unicode { "✓" } else { "+" }
    }

    pub(crate) const fn cross(self) -> &'static str {
        if self.unicode { "✗" } else { "x" }
    }

    pub(crate) const fn bar(self) -> &'static str {
        if self.unicode { "│" } else { "|" }
    }

    pub(crate) const fn dot(self) -> &'static str {
        if self.unicode { "·" } else { "-" }
    }

    pub(crate) const fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// A picture of a wheel that turns.
    pub(crate) fn spinner(self, now_ms: u64) -> &'static str {
        const BRAILLE: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
        const ASCII: [&str; 4] = ["|", "/", "-", "\\"];
        let pictures: &[&str] = if self.unicode { &BRAILLE } else { &ASCII };
        let turn = usize::try_from(now_ms / 100).unwrap_or(0);
        pictures[turn % pictures.len()]
    }

    pub(crate) const fn tier_ink(tier: Tier) -> Ink {
        match tier {
            Tier::Instant | Tier::Cached => Ink::Good,
            Tier::Incremental => Ink::Info,
            Tier::Full => Ink::Bold,
        }
    }
}
