//! The recipes that are known, and whether they still are what they were.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::entry::Entry;
use super::fact::{Answer, Environment, Fact, Look, Places};
use super::file::{self, Stored};
use super::fingerprint::{Fingerprint, setting_key};
use super::recorder::Noted;
use super::seen::{Kind, Seen};
use crate::config::RecipeFile;
use crate::python::Message;
use crate::recipe::RecipeInfo;
use crate::shared::Shared;

/// Files of other configurations that are left beside ours.
const OTHERS: usize = 3;

/// Where the cache is, and for whom.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// The directory of the cache's files, which is made when there is something to write.
    pub directory: PathBuf,
    /// Names this program, down to its build: what another one kept is not believed.
    pub program: String,
}

impl CacheOptions {
    /// Whether nothing is kept there.
    pub(crate) fn is_empty(&self) -> bool {
        let mut kept = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        !kept.any(|entry| is_kept(&entry.file_name()))
    }
}

/// Whether a file of that name holds recipes.
fn is_kept(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("recipes-")
}

/// One recipe that is known.
pub(super) struct Known {
    pub(super) entry: Entry,
    infos: Vec<Arc<RecipeInfo>>,
}

/// A recipe of a configuration: its multiconfig and its path.
pub(super) type RecipeKey = (String, String);

pub(super) fn key(file: &RecipeFile) -> RecipeKey {
    (file.multiconfig.clone(), file.path.clone())
}

/// What recipes came to in earlier runs.
pub struct Cache {
    path: PathBuf,
    program: String,
    pub(super) environment: Environment,
    pub(super) configuration: Fingerprint,
    /// When the configuration was read, nanoseconds since the epoch: what changed since then may have been seen or not.
    pub(super) began: i64,
    pub(super) facts: Vec<Fact>,
    pub(super) index: FxHashMap<Seen, u32>,
    /// Facts that every recipe depends on.
    pub(super) common: Vec<u32>,
    pub(super) recipes: FxHashMap<RecipeKey, Known>,
    /// Whether the file is not what it should be.
    pub(super) stale: bool,
}

impl Cache {
    /// Reads what was kept for a configuration. The text says why a file that was there is of no use.
    pub(crate) fn open(
        options: &CacheOptions,
        variant: &str,
        environment: Environment,
        configuration: Fingerprint,
        began: i64,
        threads: usize,
    ) -> (Self, Option<String>) {
        let name: String = blake3::hash(variant.as_bytes()).to_hex().chars().take(16).collect();
        let path = options.directory.join(format!("recipes-{name}"));
        let (stored, note) = match file::read(&path) {
            Ok(stored) => (stored, None),
            Err(why) => (None, Some(format!("{} is left aside: {why}", path.display()))),
        };
        let program = options.program.clone();
        let fits = |stored: &file::Owned| stored.program == program && stored.configuration == configuration.whole;
        let Stored { facts, common, entries, .. } = stored.filter(fits).unwrap_or_default();
        let index = facts.iter().zip(0..).map(|(fact, at)| (fact.seen(), at)).collect();
        let unpacked = in_parallel(&entries, threads, |entry, &mut ()| entry.infos());
        let known = |(entry, infos): (Entry, Option<Vec<Arc<RecipeInfo>>>)| {
            infos.map(|infos| (key(&entry.file), Known { entry, infos }))
        };
        let recipes = entries.into_iter().zip(unpacked).filter_map(known).collect();
        (Self { path, program, environment, configuration, began, facts, index, common, recipes, stale: false }, note)
    }

    /// Looks at everything again, and forgets the recipes for which something is other than it was, and those that are no longer listed.
    /// Returns what changed.
    pub(crate) fn check(&mut self, recipes: &[RecipeFile], threads: usize) -> Vec<Seen> {
        let environment = &self.environment;
        let looks = in_parallel(&self.facts, threads, |fact, places| fact.look(environment, places));
        let mut changed: FxHashSet<u32> = FxHashSet::default();
        for (at, look) in (0..).zip(looks) {
            match look {
                Look::Same => {}
                Look::Touched(answer) => {
                    self.facts[at as usize].answer = answer;
                    self.stale = true;
                }
                Look::Changed => {
                    changed.insert(at);
                }
            }
        }
        if self.common.iter().any(|fact| changed.contains(fact)) {
            self.recipes.clear();
            self.common.clear();
        }
        let settings = &self.configuration.settings;
        self.recipes.retain(|_, known| {
            !known.entry.facts.iter().any(|fact| changed.contains(fact))
                && known.entry.settings.iter().all(|(name, hash)| {
                    settings.get(&setting_key(&known.entry.file.multiconfig, name.as_str())) == hash.as_ref()
                })
        });
        let changed = changed.into_iter().map(|at| self.facts[at as usize].seen()).collect();
        self.forget_unused(recipes);
        changed
    }

    /// The variants of a recipe, if it is known, with what was logged while it was read.
    pub(crate) fn get(&self, file: &RecipeFile) -> Option<(&[Arc<RecipeInfo>], Vec<Message>)> {
        let known = self.recipes.get(&key(file)).filter(|known| known.entry.file == *file)?;
        let messages = known.entry.messages.iter().map(|(level, text)| Message { level: *level, text: text.clone() });
        Some((&known.infos, messages.collect()))
    }

    /// A row of each variant of a recipe that is known.
    pub(crate) fn rows(&self, file: &RecipeFile) -> Option<Vec<String>> {
        self.recipes.get(&key(file)).filter(|known| known.entry.file == *file)?.entry.rows()
    }

    /// Variables that do not last, which a recipe's reading saw.
    pub(crate) fn settings_in(seen: &[Seen]) -> impl Iterator<Item = crate::Sym> + '_ {
        seen.iter().filter(|seen| seen.kind == Kind::Setting).map(|seen| seen.what)
    }

    /// Forgets a recipe that cannot be read.
    pub(crate) fn remove(&mut self, file: &RecipeFile) {
        self.stale |= self.recipes.remove(&key(file)).is_some();
    }

    /// Keeps what a recipe came to, unless it would not be the same again: the text says why.
    pub(crate) fn put(
        &mut self,
        mut entry: Entry,
        infos: Vec<Arc<RecipeInfo>>,
        seen: &[Seen],
        shared: &Shared,
        noted: &Noted,
    ) -> Option<&'static str> {
        if let Some(fickle) = seen.iter().find(|seen| seen.kind == Kind::Fickle) {
            self.remove(&entry.file);
            return Some(fickle.what.as_str());
        }
        self.stale = true;
        let of = &entry.file.multiconfig;
        let setting =
            |name: crate::Sym| (name, self.configuration.settings.get(&setting_key(of, name.as_str())).copied());
        entry.settings = Self::settings_in(seen).map(setting).collect();
        for seen in seen.iter().filter(|seen| seen.kind != Kind::Setting) {
            let fact = self.fact(*seen, shared, noted);
            // A module is loaded once, by whichever recipe comes first, and used by any.
            let module = seen.kind == Kind::Opened && crate::metadata::is_kind(seen.what.as_str(), "py");
            let list = if module { &mut self.common } else { &mut entry.facts };
            if !module || !list.contains(&fact) {
                list.push(fact);
            }
        }
        entry.facts.sort_unstable();
        entry.settings.sort_unstable_by_key(|(name, _)| name.as_str());
        self.recipes.insert(key(&entry.file), Known { entry, infos });
        None
    }

    /// Whether a question and its answer are known.
    pub(super) fn knows(&self, seen: Seen) -> bool {
        self.index.contains_key(&seen)
    }

    /// Looks for what was seen by a reading that began with this cache.
    pub(super) fn record(&self, seen: Seen) -> Fact {
        Fact::record(seen, self.began, &self.environment, |_| None)
    }

    fn fact(&mut self, seen: Seen, shared: &Shared, noted: &Noted) -> u32 {
        let record = || Fact::record(seen, self.began, &self.environment, |path| shared.content(path));
        let fact = || noted.get(&seen).cloned().unwrap_or_else(record);
        if let Some(&at) = self.index.get(&seen) {
            let known = &self.facts[at as usize];
            // Each reading may have seen another state of a file that is being edited: then nobody knows.
            if seen.kind == Kind::Content && known.answer != Answer::Unknown && !known.agrees(&fact()) {
                self.facts[at as usize].answer = Answer::Unknown;
            }
            return at;
        }
        let at = u32::try_from(self.facts.len()).unwrap_or(u32::MAX);
        self.facts.push(fact());
        self.index.insert(seen, at);
        at
    }

    /// Forgets recipes that are no longer listed, and facts that no recipe depends on: those that changed are among them, so that whoever
    /// looks again notes what is now.
    fn forget_unused(&mut self, recipes: &[RecipeFile]) {
        self.keep_listed(recipes);
        self.forget_unused_facts();
    }

    fn forget_unused_facts(&mut self) {
        let mut numbers = vec![u32::MAX; self.facts.len()];
        let mut facts = Vec::new();
        let lists = self.recipes.values_mut().map(|known| &mut known.entry.facts).chain([&mut self.common]);
        for fact in lists.flatten() {
            let number = &mut numbers[*fact as usize];
            if *number == u32::MAX {
                *number = u32::try_from(facts.len()).unwrap_or(u32::MAX);
                facts.push(self.facts[*fact as usize].clone());
            }
            *fact = *number;
        }
        self.index = facts.iter().zip(0..).map(|(fact, at)| (fact.seen(), at)).collect();
        self.facts = facts;
    }

    /// The programs that recipes asked.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.facts.iter().filter(|fact| fact.kind == Kind::Program).map(|fact| fact.what.as_str())
    }

    /// What is kept of all variants.
    pub(crate) fn infos(&self) -> impl Iterator<Item = &RecipeInfo> {
        self.recipes.values().flat_map(|known| known.infos.iter().map(Arc::as_ref))
    }

    /// The user's environment.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Whether programs that recipes asked, unless they need not be, and variables of the environment say what they said.
    pub(crate) fn programs_hold(&self, programs: bool) -> bool {
        let mut places = Places::default();
        let untold = |fact: &&Fact| fact.kind == Kind::Environment || (fact.kind == Kind::Program && !programs);
        self.facts.iter().filter(untold).all(|fact| fact.look(&self.environment, &mut places) == Look::Same)
    }

    /// [`Self::check`], for a reading that begins now.
    pub(crate) fn look_again(&mut self, recipes: &[RecipeFile], threads: usize) -> Vec<Seen> {
        self.began = buildnet_digest::stat::now_ns();
        self.check(recipes, threads)
    }

    /// The files and directories that answers depend on.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> + '_ {
        let paths = self.facts.iter().filter(|fact| fact.is_about_a_path());
        paths.map(|fact| fact.what.as_str())
    }

    /// Writes the file, where it is not what it should be. The text says why that failed.
    pub(crate) fn save(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        self.forget_unused_facts();
        let mut entries: Vec<&Entry> = self.recipes.values().map(|known| &known.entry).collect();
        entries.sort_unstable_by_key(|entry| key(&entry.file));
        let stored = Stored {
            program: self.program.as_str(),
            configuration: self.configuration.whole,
            facts: self.facts.as_slice(),
            common: self.common.as_slice(),
            entries,
        };
        if let Err(error) = file::write(&self.path, &stored) {
            return Some(format!("cannot keep what was read in {}: {error}", self.path.display()));
        }
        tidy(&self.path);
        None
    }
}

/// Removes all but the newest files of other configurations.
fn tidy(path: &Path) {
    let Some(directory) = path.parent() else { return };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut others: Vec<_> = entries
        .filter(|entry| entry.path() != path && is_kept(&entry.file_name()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    others.sort_unstable();
    for (_, path) in others.iter().rev().skip(OTHERS) {
        // Another process may have removed it: it is gone, as it should be.
        let _ = std::fs::remove_file(path);
    }
}

/// What a function makes of each item, on some threads.
/// Each thread has a state of its own.
fn in_parallel<T: Sync, S: Default, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T, &mut S) -> R + Sync,
) -> Vec<R> {
    let size = items.len().div_ceil(threads.max(1)).max(64);
    let mut chunks = items.chunks(size);
    let Some(first) = chunks.next() else { return Vec::new() };
    let all = |chunk: &[T]| {
        let mut state = S::default();
        chunk.iter().map(|item| work(item, &mut state)).collect::<Vec<R>>()
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = chunks.map(|chunk| scope.spawn(|| all(chunk))).collect();
        let mut results = all(first);
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::in_parallel;

    #[test]
    fn the_order_stays() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(
            in_parallel(&items, 3, |item, &mut ()| item * 2),
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
    }
}
