//! Builds of workspaces, the same in the program and in the daemon.
//!
//! A [`Service`] takes [`BuildRequest`]s and answers with streams of [`Line`]s. Requests that ask for the same thing while it is being
//! built share one build; builds of one workspace run one after the other, those of different workspaces side by side.

pub mod bitbake;
pub mod dispatch;
pub mod flight;
pub mod line;
pub mod local;
pub mod request;
pub mod stream;
pub mod workbench;

pub use self::flight::BuildInfo;
pub use bitbake::{Bitbake, BitbakeRequest};
pub use dispatch::{Cancelled, Service, ServiceOptions};
pub use line::{Line, Note};
pub use local::{LocalOptions, LocalWorkbench};
pub use request::BuildRequest;
pub use stream::BuildStream;
pub use workbench::{Job, Workbench};
