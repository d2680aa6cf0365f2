//! Who may use the daemon's cache, and what it says of its use: through the real program and its real port.

mod listen;
mod support;
mod tokens;
