//! Globs of input files, and how far a walk must go to find what they can match.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// A pattern that is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no glob: {message}")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub message: String,
}

/// Checks one pattern: a glob, relative, without `.` and `..`.
pub fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    let error = |message: &str| PatternError { pattern: pattern.to_owned(), message: message.to_owned() };
    if pattern.starts_with('/') {
        return Err(error("it is absolute; patterns are relative"));
    }
    if pattern.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(error("it has an empty, `.` or `..` segment"));
    }
    glob(pattern).map(|_| ())
}

fn glob(pattern: &str) -> Result<globset::Glob, PatternError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| PatternError { pattern: pattern.to_owned(), message: error.kind().to_string() })
}

/// Compiles patterns into one set.
pub(super) fn compile<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<GlobSet, PatternError> {
    let mut builder = GlobSetBuilder::new();
    let mut all = Vec::new();
    for pattern in patterns {
        builder.add(glob(pattern)?);
        all.push(pattern);
    }
    builder.build().map_err(|error| PatternError { pattern: all.join(", "), message: error.to_string() })
}

/// Whether a pattern names exactly one path.
pub(super) fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}

/// Where a pattern's matches can lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Directory below the base in which all matches lie; empty for the base itself.
    pub(super) prefix: String,
    /// How many levels of directories below the prefix must be listed, the prefix being the first; none for all.
    pub(super) levels: Option<usize>,
}

/// The reach of a pattern with wildcards.
pub(super) fn reach(pattern: &str) -> Reach {
    let segments: Vec<&str> = pattern.split('/').collect();
    let literal = segments.iter().take(segments.len() - 1).take_while(|segment| is_literal(segment)).count();
    let rest = &segments[literal..];
    // A brace group may hold separators: `{a,b/c}`; then the number of levels is not the number of segments.
    let levels =
        if rest.iter().any(|segment| *segment == "**" || segment.contains('{')) { None } else { Some(rest.len()) };
    Reach { prefix: segments[..literal].join("/"), levels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_only_where_a_pattern_can_match() {
        let reached = |pattern: &str| {
            let reach = reach(pattern);
            (reach.prefix, reach.levels)
        };
        assert_eq!(reached("*.json"), (String::new(), Some(1)));
        assert_eq!(reached("src/*/mod.rs"), ("src".to_owned(), Some(2)));
        assert_eq!(reached("src/**/*.ts"), ("src".to_owned(), None));
        assert_eq!(reached("{a,b/c}"), (String::new(), None));
    }

    #[test]
    fn refuses_patterns_that_leave_the_base() {
        for pattern in ["/etc/*", "../x", "a/./b", "a//b", "", "[a"] {
            assert!(check_pattern(pattern).is_err(), "{pattern:?}");
        }
        assert!(check_pattern("src/**/*.{ts,tsx}").is_ok());
    }
}
