//! What the incremental graph promises.

mod basics;
mod cycles;
mod flights;
mod model;
mod persist;
mod support;
