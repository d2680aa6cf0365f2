//! The configuration of a build directory: `bblayers.conf`, the layers, `bitbake.conf`, and what they include and inherit.

mod base;
mod environment;
mod every;
mod layers;
mod patterns;
mod show;

pub use base::{BuildDir, Multiconfig, Options};
pub(crate) use environment::enters_metadata;
pub use every::{Outcome, ParseOptions};
pub use layers::{Layer, RecipeFile};
pub(crate) use patterns::Pattern;
pub use show::{Shown, show, write_environment};
