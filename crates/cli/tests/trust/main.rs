//! Who may use the daemon's cache, and what it says of its use: through the real program and its real port.

mod behind;
mod equivalence;
mod house;
mod limits;
mod listen;
mod overlays;
mod refusals;
mod stats;
mod support;
mod tls;
mod tokens;
mod why;
