//! What a person sees of a build.
//!
//! [`progress`] is what is known so far, [`messages`] what is told once and stays, [`live`] the lines that change, [`screen`] puts both
//! on a terminal without flicker, and [`session`] drives it all. Nothing here looks at a clock: time comes in as milliseconds.

pub(crate) mod input;
pub(crate) mod live;
pub(crate) mod messages;
pub(crate) mod progress;
pub(crate) mod screen;
pub(crate) mod session;
pub(crate) mod style;
pub(crate) mod text;

#[cfg(test)]
mod tests;
