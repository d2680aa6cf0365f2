//! Python's `os.path` on text.

use super::Stop;
use crate::Value;

/// Everything before the last slash, without the slashes that end it unless it is nothing but slashes.
pub(in crate::python) fn dirname(path: &str) -> &str {
    let head = &path[..path.rfind('/').map_or(0, |at| at + 1)];
    let trimmed = head.trim_end_matches('/');
    if trimmed.is_empty() { head } else { trimmed }
}

/// A path without `.`, `..` and repeated slashes. Two leading slashes stay two, as POSIX has it.
pub(in crate::python) fn normpath(path: &str) -> String {
    let slashes = path.len() - path.trim_start_matches('/').len();
    let root = match slashes {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." || (root.is_empty() && parts.last().is_none_or(|last| *last == "..")) {
            parts.push(part);
        } else {
            parts.pop();
        }
    }
    let joined = format!("{root}{}", parts.join("/"));
    if joined.is_empty() { ".".to_owned() } else { joined }
}

/// The parts as one path, from the last absolute one on.
pub(in crate::python) fn join(parts: &[Value]) -> Result<Value, Stop> {
    let mut result = String::new();
    for (at, part) in parts.iter().enumerate() {
        let part = part.as_str().ok_or(Stop::Python)?;
        if part.starts_with('/') || at == 0 {
            part.clone_into(&mut result);
        } else {
            if !result.is_empty() && !result.ends_with('/') {
                result.push('/');
            }
            result.push_str(part);
        }
    }
    Ok(result.into())
}
