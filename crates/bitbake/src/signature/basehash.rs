//! From what single variables need to the basehash of each task.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

use super::depends::{Generator, VarSignature};
use crate::view::DataView;
use crate::{Sym, Text};

/// The signature of one task, without the tasks it depends on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaskSignature {
    /// The task.
    pub task: Sym,
    /// Every variable it needs, directly or through others, in byte order of their names.
    #[serde(skip)]
    pub depends: Arc<[Sym]>,
    /// SHA-256 of its text and theirs, in hexadecimal.
    pub basehash: Text,
}

impl TaskSignature {
    /// The hash alone: the names are many, and can be had by signing again.
    #[must_use]
    pub fn without_names(&self) -> Self {
        Self { depends: Arc::default(), ..self.clone() }
    }
}

/// The signatures of a recipe's tasks.
#[derive(Clone, Debug, Default)]
pub struct RecipeSignatures {
    /// One per task, in the order asked for.
    pub tasks: Vec<TaskSignature>,
    /// Everything that entered one of them.
    pub variables: FxHashMap<Sym, VarSignature>,
}

/// A recipe's variables by number: numbers follow the byte order of the names.
struct Numbered<'a> {
    names: Vec<Sym>,
    signatures: Vec<&'a VarSignature>,
    /// What each needs: from where to where in `needs`.
    bounds: Vec<(usize, usize)>,
    needs: Vec<u32>,
}

impl Generator {
    /// The signatures of the given tasks of a finalised recipe.
    ///
    /// # Errors
    ///
    /// What expanding or scanning one of the variables fails with.
    pub fn signatures<V: DataView>(&mut self, view: &mut V, tasks: &[Sym]) -> Result<RecipeSignatures, V::Error> {
        let recipe = Self::recipe(view)?;
        let mut found: Vec<(Sym, VarSignature)> = Vec::with_capacity(1024);
        // Task by task, nearest needs first: what a filtered variable (`setVarFilter`) says of itself is its unfiltered value if it
        // is scanned before anything expands it, so the order shows in hashes.
        let mut waiting: VecDeque<Sym> = VecDeque::new();
        self.numbers.clear();
        for task in tasks {
            waiting.push_back(*task);
            while let Some(name) = waiting.pop_front() {
                if self.numbers.get(name).is_some() {
                    continue;
                }
                let signature = self.variable(view, &recipe, name)?;
                waiting.extend(signature.depends.iter().filter(|name| self.numbers.get(**name).is_none()));
                self.numbers.set(name, u32::try_from(found.len()).unwrap_or(u32::MAX));
                found.push((name, signature));
            }
        }
        let mut order: Vec<(u128, &str, u32)> =
            (0..).zip(&found).map(|(at, (name, _))| sort_key(name.as_str(), at)).collect();
        order.sort_unstable();
        for (number, (.., at)) in (0..).zip(&order) {
            self.numbers.set(found[*at as usize].0, number);
        }
        let mut numbered = Numbered {
            names: order.iter().map(|(.., at)| found[*at as usize].0).collect(),
            signatures: order.iter().map(|(.., at)| &found[*at as usize].1).collect(),
            bounds: Vec::with_capacity(found.len()),
            needs: Vec::with_capacity(found.len() * 4),
        };
        for signature in &numbered.signatures {
            let start = numbered.needs.len();
            numbered.needs.extend(signature.depends.iter().filter_map(|name| self.numbers.get(*name)));
            numbered.bounds.push((start, numbered.needs.len()));
        }
        let starts = tasks.iter().filter_map(|task| self.numbers.get(*task));
        let tasks = tasks.iter().zip(starts).map(|(task, start)| numbered.task(*task, start as usize)).collect();
        Ok(RecipeSignatures { tasks, variables: found.into_iter().collect() })
    }
}

/// A name to sort by: most names differ in their first bytes, which compare as one number.
fn sort_key(name: &str, at: u32) -> (u128, &str, u32) {
    let mut first = [0; 16];
    let len = name.len().min(16);
    first[..len].copy_from_slice(&name.as_bytes()[..len]);
    (u128::from_be_bytes(first), name, at)
}

impl Numbered<'_> {
    fn needs(&self, number: usize) -> &[u32] {
        let (from, to) = self.bounds[number];
        &self.needs[from..to]
    }

    fn value(&self, number: usize) -> &str {
        self.signatures[number].value.as_deref().unwrap_or_default()
    }

    /// Follows a task's needs; the task itself is among them only where something needs it.
    fn task(&self, task: Sym, start: usize) -> TaskSignature {
        let mut reached = vec![false; self.names.len()];
        let mut waiting: Vec<u32> = self.needs(start).to_vec();
        while let Some(number) = waiting.pop() {
            if !std::mem::replace(&mut reached[number as usize], true) {
                waiting.extend(self.needs(number as usize).iter().filter(|number| !reached[**number as usize]));
            }
        }
        let mut digest = Sha256::new();
        digest.update(self.value(start));
        let mut depends = Vec::new();
        for (number, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
            depends.push(self.names[number]);
            digest.update(self.names[number].as_str());
            digest.update(self.value(number));
        }
        TaskSignature { task, depends: depends.into(), basehash: hex::encode(digest.finalize()).into() }
    }
}
