//! From a tree to packages.

use std::collections::BTreeSet;
use std::sync::Arc;

use globset::{Glob, GlobMatcher};

use super::QueryError;
use super::parse::{Expression, Operator, Place, Word, error};
use crate::model::{Package, Workspace};
use crate::{paths, suggest};

const FUNCTIONS: [&str; 6] = ["all", "deps", "rdeps", "allrdeps", "attr", "kind"];
const ATTRIBUTES: [&str; 8] = ["name", "lang", "language", "path", "kind", "version", "tag", "task"];

/// Packages by their number in the workspace's order.
type Set = BTreeSet<usize>;

struct Evaluator<'w> {
    query: &'w str,
    packages: Vec<&'w Package>,
    /// What each package depends on, and what depends on it.
    forward: Vec<Vec<usize>>,
    backward: Vec<Vec<usize>>,
}

pub(super) fn evaluate(
    workspace: &Workspace,
    query: &str,
    expression: &Expression,
) -> Result<Vec<Arc<str>>, QueryError> {
    let packages: Vec<&Package> = workspace.packages.values().collect();
    let number = |name: &Arc<str>| packages.binary_search_by(|package| package.name.cmp(name)).ok();
    let forward: Vec<Vec<usize>> =
        packages.iter().map(|package| package.dependencies.iter().filter_map(number).collect()).collect();
    let mut backward = vec![Vec::new(); packages.len()];
    for (from, targets) in forward.iter().enumerate() {
        for &target in targets {
            backward[target].push(from);
        }
    }
    let evaluator = Evaluator { query, packages, forward, backward };
    let set = evaluator.set(expression)?;
    Ok(set.into_iter().map(|number| Arc::clone(&evaluator.packages[number].name)).collect())
}

impl Evaluator<'_> {
    fn set(&self, expression: &Expression) -> Result<Set, QueryError> {
        match expression {
            Expression::Word(word) => self.named(word),
            Expression::Call { function, arguments } => self.call(function, arguments),
            Expression::Chain { first, rest } => {
                let mut set = self.set(first)?;
                for (operator, expression) in rest {
                    let other = self.set(expression)?;
                    match operator {
                        Operator::Union => set.extend(other),
                        Operator::Intersect => set.retain(|number| other.contains(number)),
                        Operator::Except => set.retain(|number| !other.contains(number)),
                    }
                }
                Ok(set)
            }
        }
    }

    fn named(&self, word: &Word) -> Result<Set, QueryError> {
        if let Ok(found) = self.packages.binary_search_by(|package| (*package.name).cmp(&word.text)) {
            return Ok(Set::from([found]));
        }
        if !paths::has_wildcard(&word.text) {
            let mut error = error(self.query, word.place, format!("there is no package `{}`", word.text));
            error.hint = suggest::hint(&word.text, self.packages.iter().map(|package| &*package.name));
            return Err(error);
        }
        let glob = self.glob(word)?;
        Ok(self.filter(|package| glob.is_match(&*package.name)))
    }

    fn filter(&self, keep: impl Fn(&Package) -> bool) -> Set {
        self.packages.iter().enumerate().filter(|(_, package)| keep(package)).map(|(number, _)| number).collect()
    }

    fn glob(&self, word: &Word) -> Result<GlobMatcher, QueryError> {
        let glob =
            Glob::new(&word.text).map_err(|problem| error(self.query, word.place, problem.kind().to_string()))?;
        Ok(glob.compile_matcher())
    }

    fn call(&self, function: &Word, arguments: &[Expression]) -> Result<Set, QueryError> {
        let everywhere = |_: &usize| true;
        match (function.text.as_str(), arguments) {
            ("all", []) => Ok((0..self.packages.len()).collect()),
            ("deps", [set]) => Ok(reach(&self.forward, self.set(set)?, None, everywhere)),
            ("deps", [set, depth]) => Ok(reach(&self.forward, self.set(set)?, Some(self.depth(depth)?), everywhere)),
            ("rdeps" | "allrdeps", [set]) => Ok(reach(&self.backward, self.set(set)?, None, everywhere)),
            ("rdeps" | "allrdeps", [set, depth]) if is_number(depth) => {
                Ok(reach(&self.backward, self.set(set)?, Some(self.depth(depth)?), everywhere))
            }
            ("rdeps", [universe, set, rest @ ..]) if rest.len() <= 1 => {
                let universe = reach(&self.forward, self.set(universe)?, None, everywhere);
                let depth = rest.first().map(|depth| self.depth(depth)).transpose()?;
                let mut set = self.set(set)?;
                set.retain(|number| universe.contains(number));
                Ok(reach(&self.backward, set, depth, |number| universe.contains(number)))
            }
            ("attr", [name, value]) => self.attribute(self.word(name)?, self.word(value)?),
            ("kind", [value]) => {
                let glob = self.glob(self.word(value)?)?;
                Ok(self.filter(|package| glob.is_match(package.kind.name())))
            }
            (name, _) if FUNCTIONS.contains(&name) => {
                let usage = match name {
                    "all" => "all()",
                    "deps" => "deps(x) or deps(x, depth)",
                    "rdeps" => "rdeps(x), rdeps(x, depth), rdeps(universe, x) or rdeps(universe, x, depth)",
                    "allrdeps" => "allrdeps(x) or allrdeps(x, depth)",
                    "attr" => "attr(name, value)",
                    _ => "kind(name)",
                };
                let message = format!("`{name}` does not take {} arguments", arguments.len());
                let mut error = error(self.query, function.place, message);
                error.hint = Some(format!("write {usage}"));
                Err(error)
            }
            (name, _) => {
                let mut error = error(self.query, function.place, format!("there is no function `{name}`"));
                error.hint = suggest::hint(name, FUNCTIONS);
                Err(error)
            }
        }
    }

    fn attribute(&self, name: &Word, value: &Word) -> Result<Set, QueryError> {
        let glob = self.glob(value)?;
        let is = |text: &str| glob.is_match(text);
        Ok(match name.text.as_str() {
            "name" => self.filter(|package| is(&package.name)),
            "lang" | "language" => self.filter(|package| package.language.as_deref().is_some_and(is)),
            "path" => self.filter(|package| is(&package.directory)),
            "kind" => self.filter(|package| is(package.kind.name())),
            "version" => self.filter(|package| package.version.as_deref().is_some_and(is)),
            "tag" => self.filter(|package| package.tags.iter().any(|tag| is(tag))),
            "task" => self.filter(|package| package.tasks.keys().any(|task| is(task))),
            other => {
                let mut error = error(self.query, name.place, format!("packages have no attribute `{other}`"));
                error.hint = suggest::hint(other, ATTRIBUTES);
                return Err(error);
            }
        })
    }

    fn word<'e>(&self, expression: &'e Expression) -> Result<&'e Word, QueryError> {
        match expression {
            Expression::Word(word) => Ok(word),
            other => Err(error(self.query, place(other), "expected a word here")),
        }
    }

    fn depth(&self, expression: &Expression) -> Result<usize, QueryError> {
        let word = self.word(expression)?;
        word.text.parse().map_err(|_| error(self.query, word.place, format!("`{}` is no depth", word.text)))
    }
}

fn is_number(expression: &Expression) -> bool {
    matches!(expression, Expression::Word(word) if word.text.parse::<usize>().is_ok())
}

fn place(expression: &Expression) -> Place {
    match expression {
        Expression::Word(word) | Expression::Call { function: word, .. } => word.place,
        Expression::Chain { first, .. } => place(first),
    }
}

/// Everything within `depth` steps of `start` that `inside` admits, `start` included.
fn reach(edges: &[Vec<usize>], start: Set, depth: Option<usize>, inside: impl Fn(&usize) -> bool) -> Set {
    let mut found = start.clone();
    let mut border: Vec<usize> = start.into_iter().collect();
    let mut left = depth.unwrap_or(usize::MAX);
    while left > 0 && !border.is_empty() {
        left -= 1;
        let next = border.iter().flat_map(|&number| &edges[number]).copied().filter(|number| inside(number));
        border = next.filter(|&number| found.insert(number)).collect();
    }
    found
}
