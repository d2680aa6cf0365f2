//! What recipes came to, kept from one run to the next.
//!
//! A cached answer must be the one that reading the recipe again would give. So with each recipe is kept everything it depends on:
//!
//! - the configuration, which is read anew by every process (`fingerprint`): all variables, functions, handlers, and the source of every
//!   Python module of the layers;
//! - its place: layer, priority, appends;
//! - all that was looked at while it was read (`seen`): files read, names looked for and not found, directories listed, links, variables
//!   of the environment, by our reader and by the metadata's Python; each with the answer it had (`fact`);
//! - variables of the configuration that differ from run to run by themselves, such as the time of day, with the values it saw.
//!
//! A recipe for which a clock, randomness or a program was asked, or that could not be read, is read every time.

mod cache;
mod entry;
mod fact;
mod file;
mod fingerprint;
mod recorder;
mod seen;
mod touched;

pub use cache::{Cache, CacheOptions};
pub(crate) use entry::Entry;
pub(crate) use fact::{Environment, Fact, Look, Places, type_of};
pub(crate) use fingerprint::{Fingerprint, library_files, mark_fleeting};
pub(crate) use recorder::Recorder;
pub use seen::{Kind, Seen};
pub use touched::Touched;
