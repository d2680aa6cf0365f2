//! What the command line shows of a build directory: errors with their excerpts, graphs, hashes.
//!
//! A [`Workbench`] holds an opened build directory; the other files are one question each: `finding` (what went wrong, for people),
//! `targets` (task graphs and hashes),
//! `hashing` (hashes, and files of them), `stamps` (signature files), `reuse` (what shared state does not have), `survey` (versions),
//! `lint` (what is legal and probably not meant), `environment` (variables), `why` (what made a hash another).
//! [`Live`] keeps one in memory: `current` brings it up to date after changes, `followed` says which changes matter, `kept` holds
//! graphs and hashes from one question to the next.

mod clocks;
mod current;
mod environment;
mod finding;
mod followed;
mod hashing;
mod kept;
mod lint;
mod live;
mod question;
mod reuse;
mod stamps;
mod survey;
mod targets;
mod why;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use environment::Variables;
pub use finding::{Finding, Severity};
pub use followed::{Changed, Followed};
pub use hashing::Written;
pub use kept::Kept;
pub use lint::{CHECKS, lint};
pub use live::Live;
pub use question::{Answer, Question, Refusal, answer, answer_from};
pub use reuse::Unusable;
pub use stamps::{newest_signature, read_signature, signature_of, write_signature};
pub use survey::{Version, versions};
pub use targets::{Plan, Planned, graph_dot, graph_json, plan};

use crate::config::{BuildDir, Options, Outcome, ParseOptions, Pattern, RecipeFile};
use crate::data::Store;
use crate::metadata::normal;
use crate::persist::{
    Cache, CacheOptions, Entry, Environment, Fact, Fingerprint, Kind, Seen, library_files, mark_fleeting,
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
    /// The build directory's path.
    directory: PathBuf,
    /// When the configuration was begun to be read, and when that was done: nanoseconds since the epoch.
    opened: (i64, i64),
    /// What changed since the last question, in words.
    news: Option<Finding>,
    /// Leave it to others to say when what is kept is written.
    writes_later: bool,
    /// Recipes that were read since somebody asked where changes matter.
    read_since: Mutex<Vec<usize>>,
    /// The checksums of local files that are known.
    checksums: Arc<FileChecksums>,
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
        let began = buildnet_digest::stat::now_ns();
        let mut dir = BuildDir::open(options)?;
        let messages = std::mem::take(&mut dir.session.messages);
        let findings = messages.iter().map(|message| Finding::logged(message, None)).collect();
        Ok(Self {
            dir,
            findings,
            threads: threads.max(1),
            cache: None,
            facts: Vec::new(),
            directory: options.build_dir.clone(),
            opened: (began, buildnet_digest::stat::now_ns()),
            news: None,
            writes_later: false,
            read_since: Mutex::default(),
            checksums: Arc::default(),
        })
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
        bench.news = told_changes(&changed).map(Finding::note);
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
        if wanted.recipes.is_none() {
            reading.findings.extend(Finding::unused(self.dir.unused_appends()));
        }
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
            self.read_since.lock().extend(new.iter().map(|(index, _)| *index));
            results.extend(new);
            results.sort_unstable_by_key(|(index, _)| *index);
        }
        if !wanted.rows {
            results.iter_mut().filter_map(|(_, one)| one.variants.as_mut().ok()).for_each(|(_, rows)| rows.clear());
        }
        if !self.writes_later {
            reading.findings.extend(cache.save().map(Finding::note));
        }
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
