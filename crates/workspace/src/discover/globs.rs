//! The member patterns of workspace manifests.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::GlobBuilder;

use super::Discovery;
use crate::error::{Problem, ProblemKind};
use crate::model::join;
use crate::text::{Location, SourceText};

/// Directories that no member pattern enters.
const NEVER: [&str; 3] = ["node_modules", ".git", ".buildnet"];

/// Deepest directory below the root that a `**` reaches.
const MAX_DEPTH: usize = 32;

/// The directories, relative to the root, that match any pattern and none that begins with `!`, and have a file `manifest`.
/// Patterns that are wrong are noted at their place in `source`.
pub(super) fn expand(
    discovery: &mut Discovery<'_>,
    patterns: &[String],
    manifest: &str,
    source: &Arc<SourceText>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut excluded = Vec::new();
    for written in patterns {
        let result = match written.strip_prefix('!') {
            Some(pattern) => {
                glob(pattern.trim_start_matches("./").trim_end_matches('/')).map(|glob| excluded.push(glob))
            }
            None => crate::paths::normalize(written).and_then(|pattern| {
                let segments: Vec<&str> = pattern.split('/').filter(|segment| !segment.is_empty()).collect();
                walk(discovery, String::new(), &segments, &mut found, 0)
            }),
        };
        if let Err(kind) = result {
            let hint = "members lie below the workspace's root";
            discovery.problems.push(Problem::new(kind).at(Location::find(source, written)).hint(hint));
        }
    }
    found.retain(|directory| {
        !excluded.iter().any(|glob| glob.is_match(directory)) && discovery.root.join(directory).join(manifest).is_file()
    });
    found
}

fn glob(pattern: &str) -> Result<globset::GlobMatcher, ProblemKind> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| ProblemKind::InvalidPattern { pattern: pattern.into(), reason: error.kind().to_string() })
}

fn walk(
    discovery: &mut Discovery<'_>,
    directory: String,
    segments: &[&str],
    found: &mut BTreeSet<String>,
    depth: usize,
) -> Result<(), ProblemKind> {
    let Some((&first, rest)) = segments.split_first() else {
        found.insert(directory);
        return Ok(());
    };
    if depth > MAX_DEPTH {
        return Ok(());
    }
    if !crate::paths::has_wildcard(first) {
        return walk(discovery, join(&directory, first), rest, found, depth + 1);
    }
    if first == "**" {
        walk(discovery, directory.clone(), rest, found, depth + 1)?;
    }
    let matcher = glob(if first == "**" { "*" } else { first })?;
    for (name, is_directory) in discovery.list(&directory) {
        if !is_directory || NEVER.contains(&name.as_str()) || !matcher.is_match(&name) {
            continue;
        }
        let rest = if first == "**" { segments } else { rest };
        walk(discovery, join(&directory, &name), rest, found, depth + 1)?;
    }
    Ok(())
}
