//! Paths as configuration writes them.

use crate::error::ProblemKind;

/// The path without `.` segments, doubled or trailing slashes. Refuses absolute paths, `..`, NUL bytes.
pub(crate) fn normalize(path: &str) -> Result<String, ProblemKind> {
    if path.starts_with('/') {
        return Err(ProblemKind::AbsolutePath(path.into()));
    }
    if path.contains('\0') {
        return Err(ProblemKind::InvalidValue { value: path.escape_debug().to_string(), expected: "path".into() });
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => return Err(ProblemKind::ParentPath(path.into())),
            segment => segments.push(segment),
        }
    }
    Ok(segments.join("/"))
}

/// `path` relative to `base`, both relative to the root, `..` resolved by name. None if it leaves the root.
pub(crate) fn resolve(base: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut segments: Vec<&str> = base.split('/').filter(|segment| !segment.is_empty()).collect();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop()?;
            }
            segment => segments.push(segment),
        }
    }
    Some(segments.join("/"))
}

/// The way from directory `from` to the root: `../` once per segment.
pub(crate) fn up(from: &str) -> String {
    "../".repeat(from.split('/').filter(|segment| !segment.is_empty()).count())
}

/// Whether `path` is `directory` or lies below it; everything lies below the empty directory.
pub(crate) fn is_within(path: &str, directory: &str) -> bool {
    directory.is_empty() || path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a pattern contains wildcards.
pub(crate) fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '{'])
}

/// A literal path as a pattern that matches it alone.
pub(crate) fn escape_glob(path: &str) -> String {
    globset::escape(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalizes_and_refuses() {
        assert_eq!(normalize("./a//b/./c/").unwrap(), "a/b/c");
        assert_eq!(normalize("."), Ok(String::new()));
        assert!(matches!(normalize("/etc"), Err(ProblemKind::AbsolutePath(_))));
        assert!(matches!(normalize("a/../../b"), Err(ProblemKind::ParentPath(_))));
        assert_eq!(resolve("a/b", "../c"), Some("a/c".into()));
        assert_eq!(resolve("a", "../../c"), None);
        assert!(is_within("a/b", "a") && !is_within("ab", "a"));
    }
}
