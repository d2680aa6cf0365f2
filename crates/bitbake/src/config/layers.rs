//! Layers, and the recipes in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::patterns::Pattern;
use crate::Sym;
use crate::data::{Origin, Store};
use crate::error::{Error, Result};
use crate::metadata::is_kind;
use crate::python::{Message, Session};
use crate::version;

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name in BBFILE_COLLECTIONS.
    pub name: String,
    /// The pattern that its files match.
    pub pattern: String,
    /// Its priority: higher wins.
    pub priority: i64,
}

/// A recipe's file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecipeFile {
    /// Its path.
    pub path: String,
    /// The configuration it is read under; empty for the default one.
    pub multiconfig: String,
    /// The layer it belongs to.
    pub layer: Option<String>,
    /// The priority of that layer.
    pub priority: i64,
    /// Its appends, in order.
    pub appends: Vec<String>,
}

/// The layers with their priorities; what they depend on is there, in the version they want.
pub(super) fn layers(session: &mut Session, store: &mut Store) -> Result<Vec<Layer>> {
    let names = store.get_words(session, "BBFILE_COLLECTIONS")?;
    let mut priorities: BTreeMap<String, Option<i64>> = BTreeMap::new();
    let mut depends: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut problems = Vec::new();
    let mut lowest = 0;
    for name in &names {
        let text = store.get_text(session, &format!("BBFILE_PRIORITY_{name}"))?.unwrap_or_default();
        let priority = if text.is_empty() {
            None
        } else {
            text.trim()
                .parse::<i64>()
                .map_err(|_| problems.push(format!("BBFILE_PRIORITY_{name} is {text}, which is no number")))
                .ok()
        };
        if let Some(priority) = priority
            && (lowest == 0 || priority < lowest)
        {
            lowest = priority;
        }
        priorities.insert(name.clone(), priority);
        let mut needs = Vec::new();
        for (kind, required) in [("LAYERDEPENDS", true), ("LAYERRECOMMENDS", false)] {
            for need in layer_needs(session, store, &format!("{kind}_{name}"))? {
                let problem = unmet(session, store, &names, &need)?;
                match problem {
                    Some(problem) if required => {
                        problems.push(format!("the layer {name} depends on {problem}"));
                        needs.push(need.0);
                    }
                    Some(_) => {}
                    None => needs.push(need.0),
                }
            }
        }
        depends.insert(name.clone(), needs);
    }
    let mut result = Vec::new();
    for name in &names {
        let priority = layer_priority(name, lowest, &mut priorities, &depends, 0);
        match store.get_text(session, &format!("BBFILE_PATTERN_{name}"))? {
            None => problems.push(format!("BBFILE_PATTERN_{name} is not set")),
            Some(pattern) if pattern.is_empty() => {
                result.push(Layer { name: name.clone(), pattern: "^NULL$".into(), priority });
            }
            Some(pattern) => result.push(Layer { name: name.clone(), pattern: pattern.to_string(), priority }),
        }
    }
    if problems.is_empty() { Ok(result) } else { Err(Error::Configuration(problems)) }
}

/// A layer that another needs, and the version condition.
type Need = (String, Vec<String>);

fn layer_needs(session: &mut Session, store: &mut Store, var: &str) -> Result<Vec<Need>> {
    let text = store.get_text(session, var)?.unwrap_or_default();
    let mut needs: Vec<Need> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(condition) = rest.strip_prefix('(') {
            let (condition, after) = condition
                .split_once(')')
                .ok_or_else(|| Error::Fatal(format!("{var}: a parenthesis is not closed: {text}")))?;
            let last =
                needs.last_mut().ok_or_else(|| Error::Fatal(format!("{var}: a version without a layer: {text}")))?;
            last.1.push(condition.trim().to_owned());
            rest = after.trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(rest.len());
            needs.push((rest[..end].to_owned(), Vec::new()));
            rest = rest[end..].trim_start();
        }
    }
    Ok(needs)
}

/// What is missing of a need, in words.
fn unmet(
    session: &mut Session,
    store: &mut Store,
    names: &[String],
    (need, versions): &Need,
) -> Result<Option<String>> {
    if !names.contains(need) {
        return Ok(Some(format!("the layer {need}, which bblayers.conf does not list")));
    }
    for condition in versions {
        let Some(have) = store.get_text(session, &format!("LAYERVERSION_{need}"))?.filter(|v| !v.is_empty()) else {
            return Ok(Some(format!("version {condition} of the layer {need}, which does not say its version")));
        };
        let version = condition.trim_start_matches(['<', '>', '=', '!']);
        let operator = &condition[..condition.len() - version.len()];
        match version::holds(&have, operator, version.trim()) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(format!("version {condition} of the layer {need}, which is {have}"))),
            Err(error) => return Ok(Some(format!("version {condition} of the layer {need}, but {error}"))),
        }
    }
    Ok(None)
}

fn layer_priority(
    name: &str,
    lowest: i64,
    priorities: &mut BTreeMap<String, Option<i64>>,
    depends: &BTreeMap<String, Vec<String>>,
    depth: usize,
) -> i64 {
    if let Some(Some(known)) = priorities.get(name)
        && *known != 0
    {
        return *known;
    }
    // Layers that need each other in a circle stop counting once round.
    if depth > depends.len() {
        return lowest;
    }
    let needs = depends.get(name).cloned().unwrap_or_default();
    let highest =
        needs.iter().map(|need| layer_priority(need, lowest, priorities, depends, depth + 1)).fold(lowest, i64::max);
    priorities.insert(name.to_owned(), Some(highest + 1));
    highest + 1
}

/// What BBFILES names.
pub(super) struct Found {
    /// The recipes that BBMASK leaves, in the order of layer priority.
    pub(super) recipes: Vec<RecipeFile>,
    /// The directories that were listed.
    pub(super) listed: Vec<PathBuf>,
    /// How many files BBMASK hides.
    pub(super) masked: usize,
}

/// Finds the recipes of a configuration.
pub(super) fn recipe_files(
    session: &mut Session,
    store: &mut Store,
    layers: &[Layer],
    multiconfig: &str,
) -> Result<Found> {
    let mut listed = Vec::new();
    let mut ordered: Vec<&Layer> = layers.iter().collect();
    // Python sorts the patterns in reverse, so that a layer inside another comes first.
    ordered.sort_by(|a, b| b.pattern.cmp(&a.pattern));
    let ordered: Vec<(&Layer, Pattern)> =
        ordered.into_iter().map(|layer| (layer, Pattern::at_start(&layer.pattern))).collect();
    let layer_of = |path: &str| ordered.iter().find(|(_, pattern)| pattern.matches(path)).map(|(layer, _)| *layer);
    let mut patterns = store.get_words(session, "BBFILES")?;
    patterns.sort_by_key(|pattern| layer_of(pattern).map_or(0, |layer| layer.priority));
    store.set(session, Sym::new("BBFILES_PRIORITIZED"), patterns.join(" ").into(), Origin::internal())?;
    let mut files: Vec<String> = Vec::new();
    let mut seen = rustc_hash::FxHashSet::default();
    for pattern in &patterns {
        let found = if Path::new(pattern).is_dir() {
            files_below(Path::new(pattern), &mut listed)
        } else {
            glob(pattern, &mut listed)
        };
        files.extend(found.into_iter().filter(|file| seen.insert(file.clone())));
    }
    let masks = masks(session, store)?;
    let all = files.len();
    files.retain(|file| !masks.iter().any(|mask| mask.matches(file)));
    let masked = all - files.len();
    let appends: Vec<(String, String)> = files
        .iter()
        .filter(|file| is_kind(file, "bbappend"))
        .map(|file| (base_name(file).replace(".bbappend", ".bb"), file.clone()))
        .collect();
    let mut recipes = Vec::new();
    for path in files.into_iter().filter(|file| is_kind(file, "bb")) {
        let name = base_name(&path).to_owned();
        let matching = appends.iter().filter(|(target, _)| {
            *target == name || target.split_once('%').is_some_and(|(prefix, _)| name.starts_with(prefix))
        });
        let appends = matching.map(|(_, file)| file.clone()).collect();
        let layer = layer_of(&path);
        recipes.push(RecipeFile {
            layer: layer.map(|l| l.name.clone()),
            priority: layer.map_or(0, |l| l.priority),
            multiconfig: multiconfig.to_owned(),
            appends,
            path,
        });
    }
    Ok(Found { recipes, listed, masked })
}

fn masks(session: &mut Session, store: &mut Store) -> Result<Vec<Pattern>> {
    let mut masks: Vec<Pattern> = Vec::new();
    for mask in store.get_words(session, "BBMASK")? {
        // A leading bar would mask everything, and comes of joining lists.
        let pattern = mask.strip_prefix('|').unwrap_or(&mask);
        match Pattern::anywhere(pattern) {
            Some(pattern) => masks.push(pattern),
            None => session
                .messages
                .push(Message { level: 40, text: format!("BBMASK contains {mask}, which is no regular expression") }),
        }
    }
    Ok(masks)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Recipes and appends anywhere below a directory.
fn files_below(directory: &Path, listed: &mut Vec<PathBuf>) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        listed.push(directory.clone());
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !["SCCS", "CVS", ".svn"].iter().any(|ignored| name == *ignored) {
                    waiting.push(path);
                }
            } else if let Some(path) = path.to_str().filter(|path| is_kind(path, "bb") || is_kind(path, "bbappend")) {
                found.push(path.to_owned());
            }
        }
    }
    found.sort_unstable();
    found
}

/// Python's `glob.glob`, sorted: `*`, `?` and `[…]` match within one name, and not a leading dot.
fn glob(pattern: &str, listed: &mut Vec<PathBuf>) -> Vec<String> {
    let mut found = vec![if pattern.starts_with('/') { "/".to_owned() } else { String::new() }];
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    for part in parts {
        let mut next = Vec::new();
        let matcher = part.contains(['*', '?', '[']).then(|| {
            globset::GlobBuilder::new(part).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
        });
        for base in &found {
            match &matcher {
                None => {
                    let path = if base.is_empty() || base.ends_with('/') {
                        format!("{base}{part}")
                    } else {
                        format!("{base}/{part}")
                    };
                    if Path::new(&path).exists() {
                        next.push(path);
                    } else {
                        // That it is not there counts.
                        listed.push(path.into());
                    }
                }
                Some(None) => {}
                Some(Some(matcher)) => {
                    let directory = if base.is_empty() { "." } else { base };
                    listed.push(directory.into());
                    let Ok(entries) = std::fs::read_dir(directory) else { continue };
                    for entry in entries.flatten() {
                        let name = entry.file_name();
                        let Some(name) = name.to_str() else { continue };
                        if matcher.is_match(name) && (!name.starts_with('.') || part.starts_with('.')) {
                            next.push(if base.is_empty() || base.ends_with('/') {
                                format!("{base}{name}")
                            } else {
                                format!("{base}/{name}")
                            });
                        }
                    }
                }
            }
        }
        found = next;
    }
    found.sort_unstable();
    found
}
