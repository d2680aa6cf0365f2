//! What the command line shows of a build directory: errors with their excerpts, graphs, hashes.
//!
//! A [`Workbench`] holds an opened build directory; the other files are one question each: `finding` (what went wrong, for people),
//! `targets` (task graphs and hashes),
//! `hashing` (hashes, and files of them), `stamps` (signature files), `reuse` (what shared state does not have), `survey` (versions), `lint` (what is legal and probably not meant).

mod finding;
mod hashing;
mod lint;
mod live;
mod question;
mod reuse;
mod stamps;
mod survey;
mod targets;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use finding::{Finding, Severity};
pub use hashing::Written;
pub use live::{Followed, Live};
pub use question::{Answer, Question, answer};
pub use reuse::Unusable;
pub use stamps::{newest_signature, read_signature, signature_of, write_signature};
pub use lint::{CHECKS, lint};
pub use survey::{Version, versions};
pub use targets::{Plan, Planned, graph_dot, graph_json, plan};

use crate::config::{BuildDir, Options, Outcome, ParseOptions, Pattern, RecipeFile};
use crate::data::Store;
use crate::metadata::normal;
use crate::persist::{
    Cache, CacheOptions, Entry, Environment, Fact, Fingerprint, Kind, Look, Places, Seen, library_files, mark_fleeting,
};
use crate::python::Message;
use crate::recipe::{RecipeInfo, recipe_row, split_multiconfig};
use crate::signature::FileChecksums;
use crate::{Result, Sym, Value};

/// An opened build directory.
pub struct Workbench {
    /// The build directory.
    pub dir: BuildDir,
    /// What was noticed while its configuration was read.
    pub findings: Vec<Finding>,
    threads: usize,
    /// What is known of recipes, where it is kept.
    cache: Option<Mutex<Cache>>,
    /// What the configuration depends on.
    facts: Vec<Fact>,
}

/// How to read recipes.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The recipes, by index; `None` for all.
    pub recipes: Option<Vec<usize>>,
    /// Make the signatures of their tasks.
    pub sign: bool,
    /// Make a row of each variant.
    pub rows: bool,
}

/// What came of reading recipes.
#[derive(Debug, Default)]
pub struct Reading {
    /// The variants that could be read, skipped ones among them.
    pub recipes: Vec<Arc<RecipeInfo>>,
    /// One row per variant, when asked for: JSON.
    pub rows: Vec<String>,
    /// All that was noticed, in the order of the recipes.
    pub findings: Vec<Finding>,
    /// How many recipe files there are.
    pub files: usize,
    /// How many of them were read now; the others are as they were.
    pub parsed: usize,
    /// How many of them could not be.
    pub failed: usize,
}

impl Reading {
    /// How many variants are skipped.
    pub fn skipped(&self) -> usize {
        self.recipes.iter().filter(|recipe| recipe.skipped.is_some()).count()
    }

    /// How many files were not read because what they came to is known.
    pub fn cached(&self) -> usize {
        self.files - self.parsed
    }
}

/// The build directory that a directory lies in: the nearest one upward with `conf/bblayers.conf`, or else itself.
pub fn find_build_dir(start: &Path) -> PathBuf {
    let found = start.ancestors().find(|directory| directory.join("conf/bblayers.conf").exists());
    found.unwrap_or(start).to_owned()
}

impl Workbench {
    /// Reads the configuration of a build directory; recipes will be read by that many threads.
    pub fn open(options: &Options, threads: usize) -> Result<Self> {
        let mut dir = BuildDir::open(options)?;
        let messages = std::mem::take(&mut dir.session.messages);
        let findings = messages.iter().map(|message| Finding::logged(message, None)).collect();
        Ok(Self { dir, findings, threads: threads.max(1), cache: None, facts: Vec::new() })
    }

    /// The recipe file, and its variant, that a text of BitBake's `-b` means: `[mc:NAME:][virtual:VARIANT:]FILE`, where FILE may be
    /// a regular expression that one file alone matches.
    ///
    /// # Errors
    ///
    /// Where it matches none or several, in words.
    pub fn recipe_matching(&self, text: &str, directory: &Path) -> std::result::Result<(usize, String), String> {
        let (multiconfig, name) = split_multiconfig(text);
        let (variant, name) = match name.strip_prefix("virtual:").and_then(|rest| rest.rsplit_once(':')) {
            Some((variant, name)) => (variant, name),
            None => ("", name),
        };
        let own: Vec<(usize, &str)> = self
            .dir
            .recipes()
            .iter()
            .enumerate()
            .filter(|(_, file)| file.multiconfig == multiconfig)
            .map(|(index, file)| (index, file.path.as_str()))
            .collect();
        let path = normal(&directory.join(name));
        let mut found: Vec<(usize, &str)> = own.iter().filter(|(_, file)| *file == path).copied().collect();
        if found.is_empty()
            && let Some(pattern) = Pattern::anywhere(name)
        {
            found = own.into_iter().filter(|(_, file)| pattern.matches(file)).collect();
        }
        match found.as_slice() {
            [(index, _)] => Ok((*index, variant.to_owned())),
            [] => Err(format!("no recipe file matches {text}")),
            several => {
                let files: Vec<&str> = several.iter().map(|(_, file)| *file).collect();
                Err(format!("{text} matches {} recipe files:\n  {}", files.len(), files.join("\n  ")))
            }
        }
    }

    /// Reads the configuration, and what is known of recipes from earlier runs.
    pub fn open_with_cache(options: &Options, threads: usize, cache: &CacheOptions) -> Result<Self> {
        let began = buildnet_digest::stat::now_ns();
        let mut bench = Self::open(options, threads)?;
        let environment: Environment = options.environment.iter().cloned().collect();
        let record =
            |seen: &Seen| Fact::record(*seen, began, &environment, |path| bench.dir.session.shared.content(path));
        bench.facts = bench.dir.seen().iter().map(record).collect();
        // A library that is edited, or gets another module, is another configuration.
        let library = library_files(&bench.dir).into_iter().filter_map(|file| Some(Seen::opened(file.to_str()?)));
        let library: Vec<Fact> = library.map(|seen| record(&seen)).collect();
        bench.facts.extend(library);
        let fingerprint = bench.fingerprint(options)?;
        let variant = format!("{} {:?}", options.python.display(), bench.dir.user_settings());
        let (mut cache, note) = Cache::open(cache, &variant, environment, fingerprint, began, bench.threads);
        bench.findings.extend(note.map(Finding::note));
        let changed = cache.check(bench.dir.recipes(), bench.threads);
        bench.findings.extend(told_changes(&changed).map(Finding::note));
        bench.cache = Some(Mutex::new(cache));
        Ok(bench)
    }

    fn fingerprint(&mut self, options: &Options) -> Result<Fingerprint> {
        let names = options.environment.iter().map(|(name, _)| name.clone());
        mark_fleeting(&mut self.dir, names)?;
        Fingerprint::of(&self.dir)
    }

    /// Reads recipes, or knows them already. Errors of single recipes are among the findings.
    pub fn read(&self, wanted: &Wanted) -> Reading {
        let mut reading = Reading::default();
        let results = match &self.cache {
            Some(cache) => self.read_what_is_new(&mut cache.lock(), wanted, &mut reading),
            None => self.read_anew(&[], wanted.recipes.as_deref(), wanted.sign, wanted.rows),
        };
        let mut told = HashSet::new();
        for (index, result) in results {
            let file = &self.dir.recipes()[index];
            reading.files += 1;
            reading.parsed += usize::from(!result.cached);
            for message in &result.messages {
                // A line of a file that many recipes include is worth one warning.
                if !message.text.starts_with('/') || told.insert(message.text.clone()) {
                    reading.findings.push(Finding::logged(message, Some(&file.path)));
                }
            }
            match result.variants {
                Ok((infos, rows)) => {
                    reading.recipes.extend(infos);
                    reading.rows.extend(rows);
                }
                Err(error) => {
                    reading.failed += 1;
                    reading.findings.extend(Finding::failed(&error, Some(file)));
                }
            }
        }
        reading
    }

    /// Reads recipes without regard to what is known.
    fn read_anew(
        &self,
        instead: &[(String, Store)],
        chosen: Option<&[usize]>,
        sign: bool,
        rows: bool,
    ) -> Vec<(usize, OneRecipe)> {
        let options = ParseOptions { threads: self.threads, sign };
        let outcomes = self.dir.each_recipe_from(instead, chosen, options, |session, file, variant| {
            let row = if rows { Some(recipe_row(session, file, variant)?.to_string()) } else { None };
            Ok((Arc::new(RecipeInfo::of(session, file, variant)?), row))
        });
        let one = |outcome: Outcome<(Arc<RecipeInfo>, Option<String>)>| {
            let variants = outcome.variants.map(|variants| {
                let (infos, rows): (Vec<_>, Vec<_>) = variants.into_iter().unzip();
                (infos, rows.into_iter().flatten().collect())
            });
            (outcome.recipe, OneRecipe { variants, messages: outcome.messages, seen: outcome.seen, cached: false })
        };
        outcomes.into_iter().map(one).collect()
    }

    /// Reads the recipes that are not known, and keeps what they come to.
    fn read_what_is_new(&self, cache: &mut Cache, wanted: &Wanted, reading: &mut Reading) -> Vec<(usize, OneRecipe)> {
        let files = self.dir.recipes();
        let chosen: Vec<usize> = wanted.recipes.clone().unwrap_or_else(|| (0..files.len()).collect());
        let mut results: Vec<(usize, OneRecipe)> = Vec::with_capacity(chosen.len());
        let mut unknown = Vec::new();
        for index in chosen {
            match known(cache, &files[index], wanted.rows) {
                Some(result) => results.push((index, result)),
                None => unknown.push(index),
            }
        }
        if !unknown.is_empty() {
            let new = self.read_anew(&[], Some(&unknown), true, true);
            let fickle = self.keep(cache, &new);
            reading.findings.extend(fickle.map(Finding::note));
            results.extend(new);
            results.sort_unstable_by_key(|(index, _)| *index);
        }
        if !wanted.rows {
            results.iter_mut().filter_map(|(_, one)| one.variants.as_mut().ok()).for_each(|(_, rows)| rows.clear());
        }
        reading.findings.extend(cache.save().map(Finding::note));
        results
    }

    /// Keeps what recipes came to. The text names those that cannot be kept.
    fn keep(&self, cache: &mut Cache, new: &[(usize, OneRecipe)]) -> Option<String> {
        let timeless = self.timeless(new);
        let mut fickle = Vec::new();
        for (index, one) in new {
            let file = &self.dir.recipes()[*index];
            let (Some(entry), Ok((infos, _))) = (one.entry(file), &one.variants) else {
                cache.remove(file);
                continue;
            };
            let ignores = |seen: &&Seen| !(timeless.contains(index) && is_clock(seen));
            let seen: Vec<Seen> = one.seen.iter().filter(ignores).copied().collect();
            if let Some(why) = cache.put(entry, infos.clone(), &seen, &self.dir.session.shared) {
                fickle.push(format!("{} ({why})", file.path));
            }
        }
        (!fickle.is_empty()).then(|| format!("read every time: {}", fickle.join(", ")))
    }

    /// Those of the recipes that saw the date or the time of day, and would be the same at another. Images name their files by them,
    /// and then do not let it count; to tell, they are read again at a time that is far away.
    fn timeless(&self, new: &[(usize, OneRecipe)]) -> HashSet<usize> {
        let saw = |one: &OneRecipe| one.variants.is_ok() && one.seen.iter().any(is_clock);
        let chosen: Vec<usize> = new.iter().filter(|(_, one)| saw(one)).map(|(index, _)| *index).collect();
        if chosen.is_empty() {
            return HashSet::new();
        }
        let other = |digit: char| digit.to_digit(10).and_then(|d| char::from_digit(9 - d, 10)).unwrap_or(digit);
        let far_away = |(name, store): (&str, &Store)| {
            let mut store = store.copy();
            for clock in CLOCKS.into_iter().filter_map(Sym::find) {
                if let Some(Value::Str(now)) = store.variable(clock).and_then(|clock| clock.content.clone()) {
                    let then: String = now.chars().map(other).collect();
                    store.edit(clock).content = Some(Value::from(then.as_str()));
                }
            }
            (name.to_owned(), store)
        };
        let configurations: Vec<(String, Store)> = self.dir.configurations().map(far_away).collect();
        let again = self.read_anew(&configurations, Some(&chosen), true, true);
        let first: HashMap<usize, &OneRecipe> = new.iter().map(|(index, one)| (*index, one)).collect();
        let same = |(index, other): &(usize, OneRecipe)| {
            let file = &self.dir.recipes()[*index];
            let entries = first.get(index).and_then(|one| Some((one.entry(file)?, other.entry(file)?)));
            entries.is_some_and(|(one, other)| one.same_outcome(&other))
        };
        again.iter().filter(|one| same(one)).map(|(index, _)| *index).collect()
    }
}

// Keeping a workbench in memory.
impl Workbench {
    /// Whether all recipes are known and stay so while nothing changes.
    fn keeps_everything(&self) -> bool {
        let Some(cache) = &self.cache else { return false };
        let cache = cache.lock();
        self.dir.recipes().iter().all(|file| cache.lasts(file, &CLOCKS))
    }

    /// Whether the configuration would be read the same. Only what no one tells of is looked at where it is
    /// `quiet`, and `programs` need not be asked.
    ///
    /// The time of day, which a configuration keeps in variables, is another: for recipes that let it count nothing is kept.
    fn configuration_holds(&self, quiet: bool, programs: bool) -> bool {
        let Some(cache) = &self.cache else { return false };
        let (cache, mut places) = (cache.lock(), Places::default());
        self.facts.iter().all(|fact| match fact.kind {
            Kind::Fickle => fact.what.as_str().starts_with("time."),
            Kind::Setting => true,
            Kind::Program if programs => true,
            kind if quiet && !matches!(kind, Kind::Program | Kind::Environment) => true,
            _ => fact.look(cache.environment(), &mut places) != Look::Changed,
        })
    }

    /// Whether programs that recipes asked still say the same, unless they need not be asked, and the environment is the same.
    fn programs_hold(&self, programs: bool) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.lock().programs_hold(programs))
    }

    /// Looks at recipes, and at all that they depend on. Returns what changed.
    fn look_again(&mut self) -> Result<Vec<Seen>> {
        self.dir.find_recipes()?;
        let Some(cache) = &self.cache else { return Ok(Vec::new()) };
        let changed = cache.lock().look_again(self.dir.recipes(), self.threads);
        for seen in changed.iter().filter(|seen| seen.kind == Kind::Content) {
            self.dir.session.shared.forget(seen.what);
        }
        self.findings.retain(|finding| finding.severity != Severity::Note);
        self.findings.extend(told_changes(&changed).map(Finding::note));
        Ok(changed)
    }

    /// Where changes matter.
    fn followed(&self) -> Followed {
        let cache = self.cache.as_ref().map(|cache| cache.lock());
        let facts = self.facts.iter().filter(|fact| fact.is_about_a_path());
        let of_recipes = cache.iter().flat_map(|cache| cache.paths());
        let infos = cache.iter().flat_map(|cache| cache.infos());
        let mut named: Vec<String> = Vec::new();
        let mut listed: Vec<PathBuf> = self.dir.listed().to_vec();
        let mut known = HashSet::new();
        for list in infos.flat_map(|info| info.file_checksums.values()) {
            for path in FileChecksums::named(list).filter(|path| known.insert((*path).to_owned())) {
                match path.split_once('*') {
                    Some((before, _)) => listed.extend(Path::new(before).parent().map(Path::to_owned)),
                    None => listed.extend(directories_below(Path::new(path))),
                }
                named.push(path.to_owned());
            }
        }
        // A forced run leaves a mark beside the stamp.
        let stamps = cache.iter().flat_map(|cache| cache.infos()).filter_map(|info| Path::new(&info.stamp).parent());
        listed.extend(stamps.filter(|stamps| stamps.is_absolute()).map(Path::to_owned));
        let paths = facts.map(|fact| fact.what.as_str()).chain(of_recipes).map(PathBuf::from);
        let paths: Vec<PathBuf> = paths.chain(named.into_iter().map(PathBuf::from)).collect();
        let programs = self.facts.iter().filter(|fact| fact.kind == Kind::Program).map(|fact| fact.what.as_str());
        let programs = programs.chain(cache.iter().flat_map(|cache| cache.programs()));
        let trees: Option<Vec<PathBuf>> =
            programs.map(git_tree).collect::<Option<Vec<_>>>().map(|trees| trees.concat());
        let programs = trees.is_some();
        listed.extend(trees.unwrap_or_default());
        Followed::new(&paths, &listed, programs)
    }
}

/// The directories in which something changes when a command of Git says something else; `None` where they are not known, or too many.
fn git_tree(command: &str) -> Option<Vec<PathBuf>> {
    let words: Vec<String> = serde_json::from_str(command).ok()?;
    let top = Path::new(words.first()?).ancestors().find(|above| above.join(".git").exists());
    // Outside of any checkout it is an error, and stays one unless somebody makes a checkout above.
    let Some(top) = top else { return Some(Path::new(words.first()?).ancestors().map(Path::to_owned).collect()) };
    if !top.join(".git").is_dir() {
        return None;
    }
    let mut found = directories_below(top);
    found.retain(|directory| !directory.starts_with(top.join(".git/objects")));
    (found.len() < FOLLOWED_TREE).then_some(found)
}

/// Larger checkouts are not followed; Git is asked instead.
const FOLLOWED_TREE: usize = 20_000;

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

/// What changed since the last run, in words.
fn told_changes(changed: &[Seen]) -> Option<String> {
    let mut paths: Vec<String> = changed.iter().map(|seen| format!("{} ({:?})", seen.what, seen.kind)).collect();
    paths.sort_unstable();
    paths.dedup();
    let shown = paths.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    let more = if paths.len() > 10 { format!(" and {} more", paths.len() - 10) } else { String::new() };
    (!paths.is_empty()).then(|| format!("changed since recipes were read: {shown}{more}"))
}

/// Variables of openembedded-core that say when the configuration was read.
const CLOCKS: [&str; 2] = ["DATE", "TIME"];

fn is_clock(seen: &Seen) -> bool {
    seen.kind == Kind::Setting && CLOCKS.contains(&seen.what.as_str())
}

/// What came of one recipe.
struct OneRecipe {
    variants: Result<(Vec<Arc<RecipeInfo>>, Vec<String>)>,
    messages: Vec<Message>,
    seen: Vec<Seen>,
    cached: bool,
}

impl OneRecipe {
    /// What is kept of it, but for what it depends on.
    fn entry(&self, file: &RecipeFile) -> Option<Entry> {
        let (infos, rows) = self.variants.as_ref().ok()?;
        let messages = self.messages.iter().map(|message| (message.level, message.text.clone())).collect();
        Entry::new(file.clone(), infos, rows, messages)
    }
}

fn known(cache: &Cache, file: &RecipeFile, rows: bool) -> Option<OneRecipe> {
    let (infos, messages) = cache.get(file)?;
    let rows = if rows { cache.rows(file)? } else { Vec::new() };
    Some(OneRecipe { variants: Ok((infos.to_vec(), rows)), messages, seen: Vec::new(), cached: true })
}
