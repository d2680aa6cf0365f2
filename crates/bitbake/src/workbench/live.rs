//! A build directory that stays in memory, for a process that lives long.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::question::{Answer, Question, answer};
use super::{Finding, Workbench};
use crate::config::Options;
use crate::persist::{CacheOptions, Kind, Seen};

/// Python processes that wait for more between two questions.
const WAITING: usize = 1;
/// Answers that are kept while nothing changes.
const ANSWERS: usize = 16;

/// A build directory in memory.
pub struct Live {
    options: Options,
    threads: usize,
    cache: CacheOptions,
    bench: Option<Workbench>,
    /// Answers as of the last look.
    answers: HashMap<String, Answer>,
    /// Whether programs that metadata asks need not be asked again while all is quiet.
    programs: bool,
}

/// Where changes matter.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// Directories in which something that matters lies, or would lie.
    pub directories: Vec<PathBuf>,
    /// Files and directories that matter, and everything above them.
    paths: HashSet<PathBuf>,
    /// Directories of which every name matters.
    listed: HashSet<PathBuf>,
    /// Whether that includes all that makes the programs that metadata asks say something else.
    programs: bool,
}

impl Followed {
    /// Whether a change of this path matters.
    pub fn matters(&self, path: &Path) -> bool {
        self.paths.contains(path) || path.parent().is_some_and(|above| self.listed.contains(above))
    }

    /// From what was looked at, and the directories of which every name counts.
    pub(super) fn new(paths: &[PathBuf], listed: &[PathBuf], programs: bool) -> Self {
        let mut followed = Self { listed: listed.iter().cloned().collect(), programs, ..Self::default() };
        let mut known: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for path in paths.iter().chain(listed).filter(|path| path.is_absolute()) {
            // Links on the way, or the way itself, may change: all of it counts.
            for above in path.ancestors() {
                if !followed.paths.insert(above.to_owned()) {
                    break;
                }
                let is_directory = *known.entry(above.to_owned()).or_insert_with(|| above.is_dir());
                if is_directory {
                    followed.directories.push(above.to_owned());
                    // What a link leads to tells of its changes under its own name.
                    if let Ok(real) = above.canonicalize()
                        && real != above
                    {
                        followed.listed.insert(real.clone());
                        followed.directories.push(real);
                    }
                }
            }
        }
        followed.directories.sort_unstable();
        followed.directories.dedup();
        // Links themselves are followed by the directories they lie in.
        followed.directories.retain(|directory| !directory.is_symlink());
        followed
    }
}

impl Live {
    /// Nothing is read before the first question.
    pub fn new(options: Options, threads: usize, cache: CacheOptions) -> Self {
        Self { options, threads, cache, bench: None, answers: HashMap::new(), programs: false }
    }

    /// Answers a question for someone with an environment. `quiet` says that no file that matters has changed since the last one.
    ///
    /// Answers are what a fresh process would answer.
    pub fn ask(
        &mut self,
        question: &Question,
        machine: bool,
        environment: Vec<(String, String)>,
        quiet: bool,
    ) -> Answer {
        let key = format!("{machine} {}", serde_json::to_string(question).unwrap_or_default());
        if self.bench.is_none() || !self.is_current(environment, quiet) {
            self.answers.clear();
            self.bench = None;
            match Workbench::open_with_cache(&self.options, self.threads, &self.cache) {
                Ok(bench) => self.bench = Some(bench),
                Err(error) => {
                    return Answer { findings: Finding::failed(&error, None), failed: true, ..Answer::default() };
                }
            }
        }
        if let Some(known) = self.answers.get(&key) {
            return Answer { parsed: 0, ..known.clone() };
        }
        let Some(bench) = &self.bench else { return Answer::default() };
        let answer = answer(bench, question, machine);
        bench.dir.dismiss(WAITING);
        if self.answers.len() >= ANSWERS {
            self.answers.clear();
        }
        // What is read every time is so for this question, too; and what a server says, it may say otherwise the next time.
        let asks = matches!(question, Question::Sigs { .. }) && bench.asks_server();
        if bench.keeps_everything() && !asks {
            self.answers.insert(key, answer.clone());
        }
        answer
    }

    /// Brings what is in memory up to date; false where it has to be read afresh.
    fn is_current(&mut self, environment: Vec<(String, String)>, quiet: bool) -> bool {
        let same_user = environment == self.options.environment;
        self.options.environment = environment;
        let Some(bench) = &mut self.bench else { return false };
        if !same_user || !bench.configuration_holds(quiet, quiet && self.programs) {
            return false;
        }
        if quiet && bench.programs_hold(self.programs) {
            return true;
        }
        self.answers.clear();
        let Ok(changed) = bench.look_again() else { return false };
        // Statements of metadata are easily forgotten; of anything else, who knows which answers were made from it.
        let metadata = |seen: &Seen| seen.kind == Kind::Content;
        changed.iter().all(metadata)
    }

    /// Whether everything is as it was at the last question. After this, what changes until the next one is all that can differ.
    pub fn look(&mut self) -> bool {
        let environment = self.options.environment.clone();
        self.is_current(environment, false)
    }

    /// Where changes matter, as of the last answer; `None` before the first.
    pub fn followed(&mut self) -> Option<Followed> {
        let followed = self.bench.as_ref()?.followed();
        self.programs = followed.programs;
        Some(followed)
    }
}
