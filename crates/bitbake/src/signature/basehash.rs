//! From what single variables need to the basehash of each task.

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
struct Numbered {
    names: Vec<Sym>,
    values: Vec<Option<Text>>,
    depends: Vec<Vec<u32>>,
}

impl Generator {
    /// The signatures of the given tasks of a finalised recipe.
    ///
    /// # Errors
    ///
    /// What expanding or scanning one of the variables fails with.
    pub fn signatures<V: DataView>(&mut self, view: &mut V, tasks: &[Sym]) -> Result<RecipeSignatures, V::Error> {
        let recipe = self.recipe(view)?;
        let mut variables: FxHashMap<Sym, VarSignature> = FxHashMap::default();
        let mut waiting: Vec<Sym> = tasks.to_vec();
        while let Some(name) = waiting.pop() {
            if variables.contains_key(&name) {
                continue;
            }
            let signature = self.variable(view, &recipe, name)?;
            waiting.extend(signature.depends.iter().filter(|name| !variables.contains_key(name)));
            variables.insert(name, signature);
        }
        let numbered = Numbered::new(&variables);
        let tasks = tasks.iter().map(|task| numbered.task(*task)).collect();
        Ok(RecipeSignatures { tasks, variables })
    }
}

impl Numbered {
    fn new(variables: &FxHashMap<Sym, VarSignature>) -> Self {
        let mut names: Vec<Sym> = variables.keys().copied().collect();
        names.sort_unstable_by_key(|name| name.as_str());
        let numbers: FxHashMap<Sym, u32> = names.iter().copied().zip(0..).collect();
        let depends =
            names.iter().map(|name| variables[name].depends.iter().map(|name| numbers[name]).collect()).collect();
        let values = names.iter().map(|name| variables[name].value.clone()).collect();
        Self { names, values, depends }
    }

    /// Follows a task's needs; the task itself is among them only where something needs it.
    fn task(&self, task: Sym) -> TaskSignature {
        let start =
            self.names.binary_search_by_key(&task.as_str(), |name| name.as_str()).expect("every task has a signature");
        let mut reached = vec![false; self.names.len()];
        let mut waiting: Vec<u32> = self.depends[start].clone();
        while let Some(number) = waiting.pop() {
            if !std::mem::replace(&mut reached[number as usize], true) {
                waiting.extend(self.depends[number as usize].iter().filter(|number| !reached[**number as usize]));
            }
        }
        let mut digest = Sha256::new();
        digest.update(self.values[start].as_deref().unwrap_or_default());
        let mut depends = Vec::new();
        for (number, _) in reached.iter().enumerate().filter(|(_, reached)| **reached) {
            depends.push(self.names[number]);
            digest.update(self.names[number].as_str());
            digest.update(self.values[number].as_deref().unwrap_or_default());
        }
        TaskSignature { task, depends: depends.into(), basehash: hex::encode(digest.finalize()).into() }
    }
}
