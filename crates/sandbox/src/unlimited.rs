//! Where there are no limits but time.

use std::process::Command;

use crate::error::SandboxError;
use crate::exit::{Status, Usage};
use crate::request::Limits;

/// Limits that are not enforced on this platform.
pub(crate) struct PlainLimits;

impl PlainLimits {
    /// Nothing to prepare.
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
    pub(crate) fn new(_: &Limits) -> Result<Self, SandboxError> {
        Ok(PlainLimits)
    }

    /// Nothing to apply.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn apply(&self, _: &mut Command) {}

    /// Never.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn exceeded(&self, _: u32) -> bool {
        false
    }

    /// Nothing to add.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(crate) fn finish(&self, status: Status, _: &mut Usage) -> Status {
        status
    }
}
