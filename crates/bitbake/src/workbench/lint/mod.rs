//! What is legal in metadata and probably not meant.
//!
//! Every finding carries the name of its check, which stays the same from version to version ([`CHECKS`]). `statement` looks at one
//! file's syntax tree, `across` at what files have to do with each other, `recipes` at what they came to.

mod across;
mod recipes;
mod statement;

use std::path::{Path, PathBuf};

use super::finding::in_file;
use super::{Finding, Severity, Workbench};
use crate::error::{Place, Result};
use crate::graph::Universe;
use crate::syntax::{Dialect, SyntaxKind, SyntaxNode, SyntaxToken, Tree};

/// The checks: name, and what it finds.
pub const CHECKS: &[(&str, &str)] = &[
    ("syntax", "what cannot be read, also in files that nothing uses"),
    ("old-override", "overrides and operators behind `_`, as they were written before `:`"),
    ("operator-space", "no white space around an operator"),
    ("operator-combination", "`:append`, `:prepend` or `:remove` together with `+=`, `=+`, `.=` or `=.`"),
    ("append-without-space", "words joined to the list that they are added to"),
    ("overwritten-assignment", "a value that the next assignment throws away"),
    ("deferred-overwrites", "a value that a class throws away, which `inherit_defer` reads after the recipe"),
    ("python-tab", "a tab in the indentation of Python"),
    ("mixed-indentation", "tabs and spaces in the indentation of one shell function"),
    ("missing-include", "an included file that is not there"),
    ("unused-include", "a `.inc` file that nothing includes"),
    ("missing-license", "a recipe without LICENSE"),
    ("missing-summary", "a recipe without SUMMARY and DESCRIPTION"),
    ("missing-task", "a task that follows one that the recipe does not have"),
    ("unprovided-dependency", "a need at build time that nothing provides"),
    ("ambiguous-provider", "a virtual name with several providers, and no preference"),
];

/// Files that are larger are looked at by nobody.
const LARGEST: u64 = 4 << 20;

/// A file of metadata.
struct File {
    path: String,
    text: String,
    tree: Tree,
}

impl File {
    fn read(path: &Path) -> Option<Self> {
        if std::fs::metadata(path).ok()?.len() > LARGEST {
            return None;
        }
        let (path, text) = (path.to_str()?.to_owned(), std::fs::read_to_string(path).ok()?);
        let tree = Tree::of(&text, &Dialect::of_file(&path, true));
        Some(Self { path, text, tree })
    }

    fn is(&self, extension: &str) -> bool {
        crate::metadata::is_kind(&self.path, extension)
    }

    /// A finding at a token.
    fn at(&self, token: &SyntaxToken, id: &str, message: String) -> Finding {
        let range = token.text_range();
        let place = in_file(&self.path, &self.text, range.start().into()..range.end().into());
        found(Some(place), id, message)
    }

    /// A finding about the whole file.
    fn whole(&self, id: &str, message: String) -> Finding {
        found(Some(Place::file(self.path.as_str())), id, message)
    }
}

fn found(place: Option<Place>, id: &str, message: String) -> Finding {
    Finding { severity: Severity::Warning, place, message, id: Some(id.to_owned()) }
}

/// The first token of a kind.
fn token(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxToken> {
    node.children_with_tokens().filter_map(rowan::NodeOrToken::into_token).find(|token| token.kind() == kind)
}

/// Everything that the checks find in the layers and in their recipes; with `paths`, only what lies in these files or below these
/// directories.
pub fn lint(bench: &Workbench, universe: &mut Universe, paths: &[String]) -> Result<Vec<Finding>> {
    let mut session = bench.dir.session(false);
    let mut store = bench.dir.store.copy();
    let layers = store.get_words(&mut session, "BBLAYERS")?;
    let path = store.get_text(&mut session, "BBPATH")?.unwrap_or_default();
    bench.dir.give_back(session);
    let mut names = Vec::new();
    for layer in &layers {
        metadata_below(Path::new(layer), &mut names);
    }
    names.sort_unstable();
    names.dedup();
    let files: Vec<File> = names.iter().filter_map(|name| File::read(name)).collect();
    let mut findings: Vec<Finding> = files.iter().flat_map(statement::check).collect();
    findings.extend(across::check(&files, &path, &universe.recipes));
    findings.extend(recipes::check(universe)?);
    let wanted = |finding: &Finding| {
        let file = finding.place.as_ref().map_or("", |place| &place.file);
        paths.is_empty() || paths.iter().any(|path| Path::new(file).starts_with(path))
    };
    findings.retain(wanted);
    findings.sort_by(|a, b| key(a).cmp(&key(b)));
    findings.dedup();
    Ok(findings)
}

fn key(finding: &Finding) -> (Option<(&str, u32, u32)>, &str) {
    let place = finding.place.as_ref();
    (place.map(|place| (place.file.as_str(), place.line, place.column)), &finding.message)
}

/// The metadata files below a directory. Links are not followed: a layer that links to itself has an end.
fn metadata_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, hidden) = (entry.path(), entry.file_name().as_encoded_bytes().starts_with(b"."));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !hidden => metadata_below(&path, found),
            Ok(kind) if kind.is_file() && is_metadata(&path) => found.push(path),
            _ => {}
        }
    }
}

fn is_metadata(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|own| ["conf", "bb", "bbclass", "inc", "bbappend"].contains(&own))
}
