//! From a tree to nodes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use globset::{Glob, GlobMatcher};

use super::parse::{Expression, Operator, Place, Word, error};
use super::{QueryError, QueryGraph};
use crate::{paths, suggest};

const FUNCTIONS: [&str; 8] = ["all", "deps", "rdeps", "allrdeps", "path", "allpaths", "attr", "kind"];

/// Nodes by their number.
type Set = BTreeSet<usize>;

struct Evaluator<'g, G> {
    query: &'g str,
    graph: &'g G,
    /// The names of the nodes.
    names: Vec<String>,
    by_name: BTreeMap<String, usize>,
    /// What each node depends on, and what depends on it.
    forward: Vec<Vec<usize>>,
    backward: Vec<Vec<usize>>,
}

pub(super) fn evaluate<G: QueryGraph>(
    graph: &G,
    query: &str,
    expression: &Expression,
) -> Result<Vec<usize>, QueryError> {
    let count = graph.len();
    let names: Vec<String> = (0..count).map(|node| graph.name(node)).collect();
    let by_name = names.iter().cloned().zip(0..).collect();
    let forward: Vec<Vec<usize>> = (0..count).map(|node| graph.depends_on(node)).collect();
    let mut backward = vec![Vec::new(); count];
    for (from, targets) in forward.iter().enumerate() {
        for &target in targets {
            backward[target].push(from);
        }
    }
    let evaluator = Evaluator { query, graph, names, by_name, forward, backward };
    // A path is told in its order, if it is all that is asked.
    if let Expression::Call { function, arguments } = expression
        && let ("path", [from, to]) = (function.text.as_str(), arguments.as_slice())
    {
        return Ok(evaluator.path(&evaluator.set(from)?, &evaluator.set(to)?));
    }
    let mut found: Vec<usize> = evaluator.set(expression)?.into_iter().collect();
    found.sort_by(|a, b| evaluator.names[*a].cmp(&evaluator.names[*b]));
    Ok(found)
}

impl<G: QueryGraph> Evaluator<'_, G> {
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
        let text = self.graph.plain(&word.text);
        if let Some(found) = self.by_name.get(text) {
            return Ok(Set::from([*found]));
        }
        let group = self.graph.group(text);
        if !group.is_empty() {
            return Ok(group.into_iter().collect());
        }
        if !paths::has_wildcard(text) {
            let mut error = error(self.query, word.place, format!("there is no {} `{text}`", self.graph.noun()));
            error.hint = suggest::hint(text, self.names.iter().map(String::as_str));
            return Err(error);
        }
        let glob = Glob::new(text).map_err(|problem| error(self.query, word.place, problem.kind().to_string()))?;
        let glob = glob.compile_matcher();
        Ok(self.filter(|node| glob.is_match(&self.names[node])))
    }

    fn filter(&self, keep: impl Fn(usize) -> bool) -> Set {
        (0..self.names.len()).filter(|node| keep(*node)).collect()
    }

    fn glob(&self, word: &Word) -> Result<GlobMatcher, QueryError> {
        let glob =
            Glob::new(&word.text).map_err(|problem| error(self.query, word.place, problem.kind().to_string()))?;
        Ok(glob.compile_matcher())
    }

    fn call(&self, function: &Word, arguments: &[Expression]) -> Result<Set, QueryError> {
        let everywhere = |_: &usize| true;
        match (function.text.as_str(), arguments) {
            ("all", []) => Ok((0..self.names.len()).collect()),
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
            ("path", [from, to]) => Ok(self.path(&self.set(from)?, &self.set(to)?).into_iter().collect()),
            ("allpaths", [from, to]) => {
                let below = reach(&self.forward, self.set(from)?, None, everywhere);
                let to = self.set(to)?.intersection(&below).copied().collect();
                Ok(reach(&self.backward, to, None, |node| below.contains(node)))
            }
            ("attr", [name, value]) => self.attribute(self.word(name)?, self.word(value)?),
            ("kind", [value]) => {
                let glob = self.glob(self.word(value)?)?;
                Ok(self.filter(|node| self.graph.attribute(node, "kind").iter().any(|kind| glob.is_match(kind))))
            }
            (name, _) if FUNCTIONS.contains(&name) => {
                let usage = match name {
                    "all" => "all()",
                    "deps" => "deps(x) or deps(x, depth)",
                    "rdeps" => "rdeps(x), rdeps(x, depth), rdeps(universe, x) or rdeps(universe, x, depth)",
                    "allrdeps" => "allrdeps(x) or allrdeps(x, depth)",
                    "path" => "path(from, to)",
                    "allpaths" => "allpaths(from, to)",
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

    /// A shortest way from one of the first nodes to one of the second; nothing where there is none.
    fn path(&self, from: &Set, to: &Set) -> Vec<usize> {
        let mut before: BTreeMap<usize, Option<usize>> = from.iter().map(|node| (*node, None)).collect();
        let mut waiting: VecDeque<usize> = from.iter().copied().collect();
        while let Some(node) = waiting.pop_front() {
            if to.contains(&node) {
                let mut way: Vec<usize> = std::iter::successors(Some(node), |node| before[node]).collect();
                way.reverse();
                return way;
            }
            for &next in &self.forward[node] {
                if let Entry::Vacant(place) = before.entry(next) {
                    place.insert(Some(node));
                    waiting.push_back(next);
                }
            }
        }
        Vec::new()
    }

    fn attribute(&self, name: &Word, value: &Word) -> Result<Set, QueryError> {
        let glob = self.glob(value)?;
        let attributes = self.graph.attributes();
        if !attributes.contains(&name.text.as_str()) {
            let message = format!("a {} has no attribute `{}`", self.graph.noun(), name.text);
            let mut error = error(self.query, name.place, message);
            error.hint = suggest::hint(&name.text, attributes.iter().copied());
            return Err(error);
        }
        Ok(self.filter(|node| self.graph.attribute(node, &name.text).iter().any(|value| glob.is_match(value))))
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
