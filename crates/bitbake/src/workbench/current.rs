//! Bringing what is in memory up to date: what is looked at again after a change, and what is forgotten.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Finding, Followed, Workbench, told_changes};
use crate::Sym;
use crate::config::RecipeFile;
use crate::error::Result;
use crate::metadata::is_kind;
use crate::persist::{Fact, Kind, Look, Places, Seen, Touched};
use crate::recipe::RecipeInfo;
use crate::signature::FileChecksums;

/// Larger checkouts are not followed; Git is asked instead.
const FOLLOWED_TREE: usize = 20_000;
/// After this many recipes were read, where changes matter is found out afresh.
const READ_AT_ONCE: usize = 200;

// Keeping a workbench in memory.
impl Workbench {
    /// Whether the configuration would be read the same: all that it depends on is looked at.
    ///
    /// The time of day, which a configuration keeps in variables, is another: for recipes that let it count nothing is kept.
    pub(super) fn configuration_holds(&mut self) -> bool {
        self.facts_hold(|_| true)
    }

    fn facts_hold(&mut self, which: impl Fn(&Fact) -> bool) -> bool {
        let Some(cache) = &self.cache else { return false };
        let (cache, mut places) = (cache.lock(), Places::default());
        self.facts.iter_mut().all(|fact| match fact.kind {
            Kind::Fickle => fact.what.as_str().starts_with("time."),
            Kind::Setting => true,
            _ if !which(fact) => true,
            _ => match fact.look(cache.environment(), &mut places) {
                Look::Same => true,
                Look::Touched(answer) => {
                    fact.answer = answer;
                    true
                }
                Look::Changed => false,
            },
        })
    }

    /// Whether programs that metadata asked still say the same.
    pub(super) fn programs_hold(&mut self) -> bool {
        self.facts_hold(|fact| fact.kind == Kind::Program)
            && self.cache.as_ref().is_some_and(|cache| cache.lock().programs_hold(false))
    }

    /// Whether variables of the environment, by their names, have no part in anything.
    pub(super) fn ignores(&self, names: &HashSet<&str>) -> bool {
        let Some(cache) = &self.cache else { return false };
        let cache = cache.lock();
        let is_other = |name: &str| name == "*" || names.contains(name);
        let counted = cache.counted_settings();
        !self.facts.iter().any(|fact| fact.kind == Kind::Environment && is_other(fact.what.as_str()))
            && !cache.reads_environment(is_other)
            && !names.iter().filter_map(|name| Sym::find(name)).any(|name| counted.contains(&name))
    }

    /// Looks at recipes, and at all that they depend on. False where the configuration has to be read again.
    pub(super) fn look_again(&mut self) -> Result<bool> {
        self.dir.find_recipes()?;
        let Some(cache) = &self.cache else { return Ok(false) };
        let changed = cache.lock().look_again(self.dir.recipes(), self.threads);
        Ok(self.forget(&changed))
    }

    /// The same for places that changed, while everything else is as it was.
    pub(super) fn look_at(&mut self, touched: &Touched) -> Result<bool> {
        if !self.facts_hold(|fact| touched.touches(fact)) {
            return Ok(false);
        }
        let others = self.lists_others(touched);
        if others {
            self.dir.find_recipes()?;
        }
        let Some(cache) = &self.cache else { return Ok(false) };
        let changed = {
            let mut cache = cache.lock();
            if others {
                cache.keep_listed(self.dir.recipes());
            }
            cache.check_touched(touched)
        };
        Ok(self.forget(&changed))
    }

    /// Forgets what was made from something that changed. False where nobody knows what that is.
    fn forget(&mut self, changed: &[Seen]) -> bool {
        let shared = &self.dir.session.shared;
        let mut places = false;
        for seen in changed {
            match seen.kind {
                Kind::Content => shared.forget(seen.what),
                Kind::Exists => shared.forget_existence(seen.what),
                // A module is loaded by every Python, and into what runs without one.
                Kind::Opened if is_kind(seen.what.as_str(), "py") => return false,
                Kind::Directory => {}
                _ => places = true,
            }
        }
        if places {
            shared.forget_places();
            self.dir.dismiss(0);
        }
        self.news = told_changes(changed).map(Finding::note);
        true
    }

    /// Whether other recipes or appends may be there.
    fn lists_others(&self, touched: &Touched) -> bool {
        let listed: HashSet<&Path> = self.dir.listed().iter().map(PathBuf::as_path).collect();
        let is_known = |path: &str| {
            let of = |file: &RecipeFile| file.path == path || file.appends.iter().any(|append| append == path);
            self.dir.recipes().iter().any(of) || self.dir.unused_appends().iter().any(|append| append == path)
        };
        touched.paths().any(|path| {
            if listed.contains(path) {
                return true;
            }
            if !path.parent().is_some_and(|above| listed.contains(above)) {
                return false;
            }
            match path.to_str() {
                Some(text) if is_kind(text, "bb") || is_kind(text, "bbappend") => {
                    is_known(text) != path.symlink_metadata().is_ok()
                }
                _ => path.is_dir(),
            }
        })
    }

    /// Writes what is kept to disk, where that is not done yet. The text says why it failed.
    pub(super) fn save(&self) -> Option<String> {
        self.cache.as_ref()?.lock().save()
    }

    /// Where changes matter.
    pub(super) fn followed(&self) -> Followed {
        self.read_since.lock().clear();
        let cache = self.cache.as_ref().map(|cache| cache.lock());
        let facts = self.facts.iter().filter(|fact| fact.is_about_a_path());
        let paths = facts.map(|fact| fact.what.as_str()).chain(cache.iter().flat_map(|cache| cache.paths()));
        let mut places = Matters::default();
        places.paths.extend(paths.map(PathBuf::from));
        places.listed.extend(self.dir.listed().iter().cloned());
        cache.iter().flat_map(|cache| cache.infos()).for_each(|info| places.add(info));
        let programs = self.facts.iter().filter(|fact| fact.kind == Kind::Program).map(|fact| fact.what.as_str());
        let programs: HashSet<&str> = programs.chain(cache.iter().flat_map(|cache| cache.programs())).collect();
        let trees: Option<Vec<Vec<PathBuf>>> = programs.iter().map(|program| git_tree(program)).collect();
        let known = trees.is_some();
        places.listed.extend(trees.into_iter().flatten().flatten());
        let mut followed = Followed::new(places.paths, places.listed);
        followed.programs = known;
        followed.commands = programs.into_iter().map(str::to_owned).collect();
        followed
    }

    /// Adds where changes matter to the recipes that were read since, and returns the directories that are new. `None` where all has to
    /// be found out afresh.
    pub(super) fn follow_more(&self, followed: &mut Followed) -> Option<Vec<PathBuf>> {
        let read = std::mem::take(&mut *self.read_since.lock());
        if read.len() > READ_AT_ONCE {
            return None;
        }
        let cache = self.cache.as_ref()?.lock();
        let mut places = Matters::default();
        places.listed.extend(self.dir.listed().iter().cloned());
        for index in read {
            let file = self.dir.recipes().get(index)?;
            let facts = || cache.facts_of(file);
            if facts().any(|fact| fact.kind == Kind::Program && !followed.commands.contains(fact.what.as_str())) {
                return None;
            }
            places.paths.extend(facts().filter(|fact| fact.is_about_a_path()).map(|fact| fact.what.as_str().into()));
            cache.get(file).into_iter().flat_map(|(infos, _)| infos).for_each(|info| places.add(info));
        }
        Some(followed.extend(places.paths, places.listed))
    }
}

/// Places that matter.
#[derive(Default)]
struct Matters {
    paths: Vec<PathBuf>,
    /// Directories of which every name matters.
    listed: Vec<PathBuf>,
    known: HashSet<String>,
}

impl Matters {
    /// What the hashes of a recipe's tasks depend on.
    fn add(&mut self, info: &RecipeInfo) {
        for path in info.file_checksums.values().flat_map(|list| FileChecksums::named(list)) {
            if !self.known.insert(path.to_owned()) {
                continue;
            }
            match path.split_once('*') {
                Some((before, _)) => self.listed.extend(Path::new(before).parent().map(Path::to_owned)),
                None => self.listed.extend(directories_below(Path::new(path))),
            }
            self.paths.push(path.into());
        }
        // A forced run leaves a mark beside the stamp.
        let stamps = Path::new(&info.stamp).parent().filter(|stamps| stamps.is_absolute());
        self.listed.extend(stamps.map(Path::to_owned));
    }
}

/// The directories in which something changes when a command of Git says something else; `None` where they are not known, or too many.
fn git_tree(command: &str) -> Option<Vec<PathBuf>> {
    let words: Vec<String> = serde_json::from_str(command).ok()?;
    let directory = Path::new(words.first()?);
    let top = directory.ancestors().find(|above| above.join(".git").exists());
    // Outside of any checkout it is an error, and stays one unless somebody makes a checkout above.
    let Some(top) = top else { return Some(directory.ancestors().map(Path::to_owned).collect()) };
    if !top.join(".git").is_dir() {
        return None;
    }
    let mut found = if Touched::is_of_files(&words) { directories_below(top) } else { Vec::new() };
    // A checkout within the checkout would answer instead.
    found.extend(directory.ancestors().take_while(|above| above.starts_with(top)).map(Path::to_owned));
    found.extend(directories_below(&top.join(".git")));
    (found.len() < FOLLOWED_TREE).then_some(found)
}

/// A directory, and all below it but what Git stores; nothing of a file.
fn directories_below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        if directory.ends_with(".git/objects") {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        waiting.extend(
            entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()),
        );
        found.push(directory);
    }
    found
}
