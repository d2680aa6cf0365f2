//! What the command line shows of a build directory: errors with their excerpts, graphs, hashes.
//!
//! A [`Workbench`] holds an opened build directory; the other files are one question each: `finding` (what went wrong, for people),
//! `anew` (reading recipes, and what is kept of them), `targets` (task graphs and hashes),
//! `hashing` (hashes, and files of them), `stamps` (signature files), `reuse` (what shared state does not have), `survey` (versions),
//! `lint` (what is legal and probably not meant), `environment` (variables), `why` (what made a hash another).
//! [`Live`] keeps one in memory: `current` brings it up to date after changes, `followed` says which changes matter, `kept` holds
//! graphs and hashes from one question to the next.

mod anew;
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

use std::collections::HashSet;
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

use crate::Result;
use crate::config::{BuildDir, Options, Pattern};
use crate::metadata::normal;
use crate::persist::{Cache, CacheOptions, Environment, Fact, Fingerprint, Seen, library_files, mark_fleeting};
use crate::recipe::{RecipeInfo, split_multiconfig};
use crate::signature::FileChecksums;
use anew::{CLOCKS, OneRecipe, known};

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
        Self::open_for(options, threads, 1)
    }

    fn open_for(options: &Options, threads: usize, pythons: usize) -> Result<Self> {
        let began = buildnet_digest::stat::now_ns();
        let mut dir = BuildDir::open_for(options, pythons)?;
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
        // Where nothing is kept, every thread will read recipes, and need Python.
        let pythons = if cache.is_empty() { threads } else { 1 };
        let mut bench = Self::open_for(options, threads, pythons)?;
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
            None => self.read_anew(wanted),
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
            let (new, fickle) = self.read_and_keep(cache, &unknown, wanted.rows);
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
