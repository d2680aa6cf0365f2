//! CPython in worker processes, evaluating against the datastore.
//!
//! BuildNet links no Python. A worker is the host's `python3`, running our own runtime (`runtime`): a `bb` package and a datastore
//! whose every access is a message (`marshal`, `worker`). A [`Session`] is one thread's view: it owns one worker, and answers what
//! Python asks of its stores (`calls`). While Python waits for a variable, expanding that variable may need Python again; requests
//! and calls nest to any depth on the same pipes.

mod calls;
mod conversation;
mod library;
mod local;
mod marshal;
mod memo;
mod native;
mod runtime;
mod session;
mod worker;

pub(crate) use local::Functions;
pub(crate) use memo::Memory;
pub(crate) use native::Programs;
pub use runtime::Runtime;
pub use session::{Evaluations, Handler, LibraryFunction, Message, Session};
pub use worker::Launch;
pub(crate) use worker::Waiting;
