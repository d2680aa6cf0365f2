//! Small languages inside values.

mod depends;

pub use depends::{DependsError, Need, depends_names, depends_versions};
