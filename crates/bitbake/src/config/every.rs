//! All recipes, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::base::BuildDir;
use super::layers::RecipeFile;
use crate::data::Store;
use crate::error::{Error, Result};
use crate::metadata::Finalised;
use crate::persist::Seen;
use crate::python::{Message, Session};

/// Evaluation recurses as deep as variables refer to each other.
const STACK: usize = 64 << 20;

/// How to read all recipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// How many threads, each with a Python process of its own; at least one.
    pub threads: usize,
    /// Whether to make the signatures of tasks.
    pub sign: bool,
}

/// What came of one recipe.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The recipe, by its index in [`BuildDir::recipes`].
    pub recipe: usize,
    /// One value per variant, or why the recipe could not be read.
    pub variants: Result<Vec<T>>,
    /// What was logged meanwhile.
    pub messages: Vec<Message>,
    /// What was looked at meanwhile, outside the datastores.
    pub seen: Vec<Seen>,
}

impl BuildDir {
    /// Reads recipes (by index; `None` for all), and keeps of each variant what `keep` makes of it. The order is that of the indices.
    ///
    /// An error of one recipe is its own outcome; the others are still read.
    pub fn each_recipe<T: Send>(
        &self,
        chosen: Option<&[usize]>,
        options: ParseOptions,
        keep: impl Fn(&mut Session, &RecipeFile, &mut Finalised) -> Result<T> + Sync,
    ) -> Vec<Outcome<T>> {
        self.each_recipe_from(&[], chosen, options, keep)
    }

    /// The same, with other stores for configurations of some names.
    pub(crate) fn each_recipe_from<T: Send>(
        &self,
        instead: &[(String, Store)],
        chosen: Option<&[usize]>,
        options: ParseOptions,
        keep: impl Fn(&mut Session, &RecipeFile, &mut Finalised) -> Result<T> + Sync,
    ) -> Vec<Outcome<T>> {
        let all: Vec<usize> = chosen.map_or_else(|| (0..self.recipes().len()).collect(), <[usize]>::to_vec);
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::with_capacity(all.len()));
        std::thread::scope(|scope| {
            let work = || {
                let mut session = self.session(options.sign);
                while let Some(&index) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = &self.recipes()[index];
                    session.seen.clear();
                    let other = instead.iter().find(|(name, _)| *name == file.multiconfig);
                    let read = match other {
                        Some((_, store)) => Self::read_recipe_from(store, &mut session, file, None),
                        None => self.read_recipe(&mut session, file, None),
                    };
                    let variants = read.and_then(|variants| {
                        variants.into_iter().map(|mut variant| keep(&mut session, file, &mut variant)).collect()
                    });
                    let mut messages = std::mem::take(&mut session.messages);
                    let printed = session.take_printed();
                    if !printed.trim().is_empty() {
                        messages.push(Message { level: 20, text: format!("printed: {}", printed.trim()) });
                    }
                    let outcome = Outcome { recipe: index, variants, messages, seen: session.seen.drain().collect() };
                    outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(outcome);
                }
                self.give_back(session);
            };
            let threads: Vec<_> = (0..options.threads.min(all.len()).max(1))
                .filter_map(|_| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok())
                .collect();
            if threads.is_empty() {
                // No thread to be had: this one does it all.
                work();
            }
        });
        let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let missing = |index: &usize| Outcome {
            recipe: *index,
            variants: Err(Error::Worker("a reading thread ended early".into())),
            messages: Vec::new(),
            seen: Vec::new(),
        };
        if outcomes.len() < all.len() {
            let done: std::collections::HashSet<usize> = outcomes.iter().map(|outcome| outcome.recipe).collect();
            outcomes.extend(all.iter().filter(|index| !done.contains(index)).map(missing));
        }
        outcomes.sort_by_key(|outcome| outcome.recipe);
        outcomes
    }
}
