//! `buildnet.yaml`: its keys, and its reading.

mod daemon;
mod file;
mod options;
mod settings;
mod units;

pub(crate) use daemon::DaemonConfig;
pub use daemon::{DaemonSettings, LimitSettings};
pub(crate) use file::{ConfigFile, PackageConfig, UserFile};
pub(crate) use options::{Commands, HooksConfig, SandboxChoice, TaskConfig, TaskOptions};
pub(crate) use settings::CacheConfig;
pub use settings::{ClientTls, Overrides, Settings, SettingsOverride};
pub(crate) use units::{Seconds, Size};

use std::path::Path;
use std::sync::Arc;

use crate::decode::{Decode, Decoder};
use crate::error::{Problem, ProblemKind};
use crate::text::SourceText;
use crate::yaml;

/// Name of the workspace's configuration file.
pub const FILE_NAME: &str = "buildnet.yaml";

/// Largest configuration or manifest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Reads a text file of the workspace; `shown` is its path in messages. None if there is none.
pub(crate) fn read(path: &Path, shown: &str) -> Result<Option<Arc<SourceText>>, Problem> {
    use std::io::Read as _;
    let unreadable = |reason: String| Problem::new(ProblemKind::Unreadable { path: shown.into(), reason });
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error.to_string()).hint("make it readable for you, or remove it")),
    };
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("larger than {} MiB", MAX_FILE >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable("its content is not UTF-8".into()))?;
    Ok(Some(Arc::new(SourceText { path: shown.into(), text })))
}

/// Decodes a file; what is wrong is added to `problems`, and the rest is returned.
pub(crate) fn decode<T: Decode + Default>(source: &Arc<SourceText>, problems: &mut Vec<Problem>) -> T {
    match yaml::parse(source) {
        Ok(node) => T::decode(&node, &mut Decoder { source, problems }).unwrap_or_default(),
        Err(problem) => {
            problems.push(problem);
            T::default()
        }
    }
}

/// The JSON schema of `buildnet.yaml`, indented, with a newline at the end.
///
/// # Panics
/// Never: a schema is plain JSON.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(ConfigFile);
    schema.insert("title".into(), "buildnet.yaml".into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
