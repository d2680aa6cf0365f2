//! What several tests need.

use std::path::PathBuf;

/// The host's Python; `None`, said loudly, where there is none.
pub(crate) fn python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("python3")).find(|file| file.exists());
    if found.is_none() {
        eprintln!("SKIPPED: there is no python3 on PATH");
    }
    found
}
