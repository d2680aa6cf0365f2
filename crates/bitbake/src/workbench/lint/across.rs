//! Checks of what files have to do with each other: includes, classes, what a recipe must say somewhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::super::Finding;
use super::{File, token};
use crate::metadata::join;
use crate::recipe::RecipeInfo;
use crate::syntax::{SyntaxKind, SyntaxNode, SyntaxToken, token_texts};

/// What one of several included or inherited files must say for a recipe.
const SAID: [&str; 3] = ["LICENSE", "SUMMARY", "DESCRIPTION"];

struct Layers<'f> {
    files: &'f [File],
    by_path: HashMap<&'f str, usize>,
    /// Classes by name; several layers may have one.
    classes: HashMap<&'f str, Vec<usize>>,
    /// The directories that names are looked for in.
    path: Vec<&'f str>,
}

pub(super) fn check(files: &[File], path: &str, recipes: &[Arc<RecipeInfo>]) -> Vec<Finding> {
    let by_path = files.iter().enumerate().map(|(index, file)| (file.path.as_str(), index)).collect();
    let mut classes: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        let name = file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".bbclass"));
        if let Some(name) = name {
            classes.entry(name).or_default().push(index);
        }
    }
    let layers = Layers { files, by_path, classes, path: path.split(':').filter(|part| !part.is_empty()).collect() };
    let mut findings = Vec::new();
    layers.includes(&mut findings);
    layers.deferred(&mut findings);
    layers.unsaid(recipes, &mut findings);
    findings
}

fn is_include(node: &SyntaxNode) -> bool {
    matches!(node.kind(), SyntaxKind::Include | SyntaxKind::Require | SyntaxKind::IncludeAll)
}

/// The words of a text; a reference in them, whatever is in it, is a `*`.
fn words(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut depth = 0_usize;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '$' if rest.peek() == Some(&'{') => {
                if depth == 0 {
                    plain.push('*');
                }
                depth += 1;
                rest.next();
            }
            '{' if depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain.split_whitespace().map(str::to_owned).collect()
}

/// The words of a statement's argument, with the token where the statement has them.
fn argument(node: &SyntaxNode) -> Option<(Vec<String>, SyntaxToken)> {
    let text = token_texts(node, SyntaxKind::Argument).concat();
    Some((words(&text), token(node, SyntaxKind::Argument)?))
}

fn patterns<'p>(patterns: impl Iterator<Item = &'p str>) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let anywhere = if pattern.starts_with(['/', '*']) { pattern.to_owned() } else { format!("**/{pattern}") };
        if let Ok(glob) = GlobBuilder::new(&anywhere).literal_separator(false).build() {
            set.add(glob);
        }
    }
    set.build().unwrap_or_else(|_| GlobSet::empty())
}

impl Layers<'_> {
    /// The file that a name means in an include of another.
    fn find(&self, from: &File, name: &str) -> Option<usize> {
        let beside = from.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut candidates = std::iter::once(&beside).chain(&self.path).map(|directory| join(directory, name));
        candidates.find_map(|path| self.by_path.get(path.as_str()).copied())
    }

    fn is_there(&self, from: &File, name: &str) -> bool {
        let beside = from.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        std::iter::once(&beside).chain(&self.path).any(|directory| Path::new(&join(directory, name)).exists())
    }

    fn includes(&self, findings: &mut Vec<Finding>) {
        let (mut plain, mut open): (HashSet<String>, HashSet<String>) = (HashSet::new(), HashSet::new());
        for file in self.files {
            for node in file.tree.nodes().filter(is_include) {
                let Some((names, token)) = argument(&node) else { continue };
                for name in names {
                    // Configurations include what users may have.
                    if !name.contains('*') && !file.is("conf") && !self.is_there(file, &name) {
                        let message = format!("{name} is in no layer");
                        findings.push(file.at(&token, "missing-include", message));
                    }
                    if name.contains('*') {
                        open.insert(name)
                    } else {
                        plain.insert(name)
                    };
                }
            }
        }
        let open = patterns(open.iter().map(String::as_str).filter(|pattern| !pattern.trim_matches('*').is_empty()));
        for file in self.files.iter().filter(|file| file.is("inc")) {
            let mut endings = file.path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &file.path[at + 1..]);
            let used = plain.contains(&file.path) || endings.any(|ending| plain.contains(ending));
            if !used && !open.is_match(&file.path) {
                findings.push(file.whole("unused-include", "nothing in the layers includes this file".to_owned()));
            }
        }
    }

    /// Variables that a recipe assigns and a deferred class, which is read after it, assigns, too.
    fn deferred(&self, findings: &mut Vec<Finding>) {
        for file in self.files.iter().filter(|file| !file.is("bbclass") && !file.is("conf")) {
            let deferred: Vec<SyntaxNode> =
                file.tree.nodes().filter(|node| node.kind() == SyntaxKind::InheritDefer).collect();
            for node in deferred {
                let text = token_texts(&node, SyntaxKind::Argument).concat();
                let names = text.split(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
                let classes: Vec<&str> = names.filter(|name| self.classes.contains_key(*name)).collect();
                for class in classes {
                    findings.extend(self.overwritten(file, class));
                }
            }
        }
    }

    fn overwritten(&self, file: &File, class: &str) -> Vec<Finding> {
        let assigned = |file: &File, wanted: &[&str]| -> BTreeMap<String, SyntaxToken> {
            let nodes = file.tree.nodes().filter(|node| node.kind() == SyntaxKind::Assignment);
            let plain = nodes.filter(|node| {
                token(node, SyntaxKind::Flag).is_none()
                    && token(node, SyntaxKind::Operator).is_some_and(|sign| wanted.contains(&sign.text()))
            });
            plain.filter_map(|node| token(&node, SyntaxKind::Name)).map(|name| (name.text().to_owned(), name)).collect()
        };
        let own = assigned(file, &["=", ":=", "?=", "+=", "=+", ".=", "=."]);
        let theirs =
            self.classes[class].iter().flat_map(|index| assigned(&self.files[*index], &["=", ":="]).into_keys());
        let theirs: HashSet<String> = theirs.collect();
        let lost = own.into_iter().filter(|(name, _)| theirs.contains(name) && !name.contains(':'));
        lost.map(|(name, token)| {
            let message = format!("the class {class} is read after the recipe, and assigns {name} anew");
            file.at(&token, "deferred-overwrites", message)
        })
        .collect()
    }

    fn unsaid(&self, recipes: &[Arc<RecipeInfo>], findings: &mut Vec<Finding>) {
        let paths: HashSet<&str> =
            recipes.iter().filter(|recipe| recipe.skipped.is_none()).map(|recipe| recipe.path.as_str()).collect();
        for index in paths.iter().filter_map(|path| self.by_path.get(*path)) {
            let mut said = [false; SAID.len()];
            self.says(*index, &mut said, &mut HashSet::new());
            let file = &self.files[*index];
            if !said[0] {
                findings.push(file.whole("missing-license", "the recipe has no LICENSE".to_owned()));
            }
            if !said[1] && !said[2] {
                findings
                    .push(file.whole("missing-summary", "the recipe has neither SUMMARY nor DESCRIPTION".to_owned()));
            }
        }
    }

    /// What of [`SAID`] a file, or what it includes or inherits, assigns. A name that is not plain may say everything.
    fn says(&self, index: usize, said: &mut [bool; SAID.len()], seen: &mut HashSet<usize>) {
        if !seen.insert(index) || said.iter().all(|said| *said) {
            return;
        }
        let file = &self.files[index];
        for node in file.tree.nodes() {
            match node.kind() {
                SyntaxKind::Assignment => {
                    let name = token(&node, SyntaxKind::Name);
                    let base = name.as_ref().and_then(|name| name.text().split(':').next());
                    if let Some(at) = SAID.iter().position(|wanted| Some(*wanted) == base) {
                        said[at] = true;
                    }
                }
                SyntaxKind::Include | SyntaxKind::Require | SyntaxKind::IncludeAll => {
                    for name in argument(&node).into_iter().flat_map(|(names, _)| names) {
                        if name.contains('*') {
                            let glob = patterns(std::iter::once(name.as_str()));
                            let matching = self.files.iter().enumerate().filter(|(_, file)| glob.is_match(&file.path));
                            matching.for_each(|(index, _)| self.says(index, said, seen));
                        } else if let Some(index) = self.find(file, &name) {
                            self.says(index, said, seen);
                        }
                    }
                }
                SyntaxKind::Inherit | SyntaxKind::InheritDefer => {
                    let text = token_texts(&node, SyntaxKind::Argument).concat();
                    let names = text.split(|c: char| !(c.is_alphanumeric() || "_-.".contains(c)));
                    for index in names.filter_map(|name| self.classes.get(name)).flatten() {
                        self.says(*index, said, seen);
                    }
                }
                _ => {}
            }
        }
    }
}
