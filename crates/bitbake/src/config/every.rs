//! All recipes, on several threads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

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
        let all: Vec<usize> = chosen.map_or_else(|| (0..self.recipes().len()).collect(), <[usize]>::to_vec);
        let read = self.with_sessions(&all, options, |session, recipe| self.outcome(session, recipe, &[], &keep));
        let missing = |recipe: usize| Outcome {
            recipe,
            variants: Err(Error::Worker("a reading thread ended early".into())),
            messages: Vec::new(),
            seen: Vec::new(),
        };
        read.into_iter().map(|(recipe, outcome)| outcome.unwrap_or_else(|| missing(recipe))).collect()
    }

    /// Does something for each of some recipes, on several threads. The order is that of the indices; `None` where a thread ended early.
    pub(crate) fn with_sessions<R: Send>(
        &self,
        chosen: &[usize],
        options: ParseOptions,
        work: impl Fn(&mut Session, usize) -> R + Sync,
    ) -> Vec<(usize, Option<R>)> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(chosen.len()));
        std::thread::scope(|scope| {
            let work = || {
                let mut session = self.session(options.sign);
                while let Some(&index) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(&mut session, index);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, Some(result)));
                }
                self.give_back(session);
            };
            let threads: Vec<_> = (0..options.threads.min(chosen.len()).max(1))
                .filter_map(|_| std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).ok())
                .collect();
            if threads.is_empty() {
                // No thread to be had: this one does it all.
                work();
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        if done.len() < chosen.len() {
            let known: HashSet<usize> = done.iter().map(|(index, _)| *index).collect();
            done.extend(chosen.iter().filter(|index| !known.contains(index)).map(|index| (*index, None)));
        }
        done.sort_by_key(|(index, _)| *index);
        done
    }

    /// Reads one recipe, with other stores for configurations of some names.
    pub(crate) fn outcome<T>(
        &self,
        session: &mut Session,
        recipe: usize,
        instead: &[(String, Store)],
        keep: impl Fn(&mut Session, &RecipeFile, &mut Finalised) -> Result<T>,
    ) -> Outcome<T> {
        let file = &self.recipes()[recipe];
        session.seen.clear();
        let instead = instead.iter().find(|(name, _)| *name == file.multiconfig).map(|(_, store)| store);
        let mut variants = Vec::new();
        let read = self.each_variant(instead, session, file, None, &mut |session, mut variant| {
            variants.push(keep(session, file, &mut variant)?);
            Ok(())
        });
        let mut messages = std::mem::take(&mut session.messages);
        let printed = session.take_printed();
        if !printed.trim().is_empty() {
            messages.push(Message { level: 20, text: format!("printed: {}", printed.trim()) });
        }
        Outcome { recipe, variants: read.map(|()| variants), messages, seen: session.seen.drain().collect() }
    }
}
