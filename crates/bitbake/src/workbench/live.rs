//! A build directory that stays in memory, for a process that lives long.

use std::collections::HashSet;
use std::path::PathBuf;

use super::question::{Answer, Question, answer, answer_from};
use super::{Changed, Finding, Followed, Kept, Workbench};
use crate::config::Options;
use crate::persist::CacheOptions;

/// Python processes that wait for more between two questions.
const WAITING: usize = 1;

/// A build directory in memory.
pub struct Live {
    options: Options,
    threads: usize,
    cache: CacheOptions,
    bench: Option<Workbench>,
    kept: Kept,
    /// Whether it was opened since somebody asked where changes matter.
    opened: bool,
    /// Whether programs that metadata asks need not be asked again while nothing changes.
    programs: bool,
}

impl Live {
    /// Nothing is read before the first question.
    pub fn new(options: Options, threads: usize, cache: CacheOptions) -> Self {
        Self { options, threads, cache, bench: None, kept: Kept::default(), opened: false, programs: false }
    }

    /// Answers a question for someone with an environment, after something changed since the last one.
    ///
    /// Answers are what a fresh process would answer.
    pub fn ask(
        &mut self,
        question: &Question,
        machine: bool,
        environment: Vec<(String, String)>,
        changed: &Changed,
    ) -> Answer {
        let failed =
            |error: &crate::Error| Answer { findings: Finding::failed(error, None), failed: true, ..Answer::default() };
        let mut current = self.is_current(&environment, changed);
        if let Question::Env(wanted) = question {
            if wanted.history {
                if !current {
                    self.close();
                }
                // Who set what is recorded for this answer alone.
                let options = Options { history: true, environment, ..self.options.clone() };
                let bench = Workbench::open(&options, self.threads);
                return bench.map_or_else(|error| failed(&error), |bench| answer(&bench, question, machine));
            }
            // Variables are shown as they are to whoever asks, at the time he asks.
            current &=
                environment == self.options.environment && self.bench.as_mut().is_some_and(Workbench::set_clocks);
        }
        if !current && let Err(error) = self.open(environment) {
            return failed(&error);
        }
        let Some(bench) = &self.bench else { return Answer::default() };
        let answer = answer_from(bench, question, machine, &mut self.kept);
        bench.dir.dismiss(WAITING);
        answer
    }

    fn open(&mut self, environment: Vec<(String, String)>) -> crate::Result<()> {
        self.close();
        self.options.environment = environment;
        let mut bench = Workbench::open_with_cache(&self.options, self.threads, &self.cache)?;
        bench.writes_later = true;
        self.bench = Some(bench);
        Ok(())
    }

    fn close(&mut self) {
        // What was read so far need not be read again; what could not be written is.
        let _ = self.save();
        (self.bench, self.kept, self.opened) = (None, Kept::default(), true);
    }

    /// Brings what is in memory up to date; false where it has to be read afresh.
    fn is_current(&mut self, environment: &[(String, String)], changed: &Changed) -> bool {
        let same = self.is_same_user(environment);
        let Some(bench) = &mut self.bench else { return false };
        bench.news = None;
        if !same || !bench.clocks_hold() {
            return false;
        }
        match changed {
            Changed::Only(touched) => {
                // What is read for somebody else would see his environment.
                let is_his = touched.is_empty() || environment == self.options.environment.as_slice();
                if !touched.is_empty() {
                    self.kept.something_changed();
                }
                is_his
                    && (self.programs || bench.programs_hold())
                    && (touched.is_empty() || bench.look_at(touched).is_ok_and(|known| known))
            }
            Changed::Anything => {
                self.kept.something_changed();
                environment == self.options.environment.as_slice()
                    && bench.configuration_holds()
                    && bench.look_again().is_ok_and(|known| known)
            }
        }
    }

    /// Whether someone with an environment would be answered as the last one was.
    fn is_same_user(&self, environment: &[(String, String)]) -> bool {
        if environment == self.options.environment {
            return true;
        }
        let pairs = |pairs: &'_ [(String, String)]| -> HashSet<(String, String)> { pairs.iter().cloned().collect() };
        let (old, new) = (pairs(&self.options.environment), pairs(environment));
        let names: HashSet<&str> = old.symmetric_difference(&new).map(|(name, _)| name.as_str()).collect();
        !crate::config::enters_metadata(&self.options.environment, environment)
            && self.bench.as_ref().is_some_and(|bench| bench.ignores(&names))
    }

    /// Whether everything is as it was at the last question. After this, what changes until the next one is all that can differ.
    pub fn look(&mut self) -> bool {
        let environment = self.options.environment.clone();
        self.is_current(&environment, &Changed::Anything)
    }

    /// Where changes matter, as of the last answer; `None` before the first.
    pub fn followed(&mut self) -> Option<Followed> {
        let followed = self.bench.as_ref()?.followed();
        self.programs = followed.programs;
        self.opened = false;
        Some(followed)
    }

    /// After an answer, adds where changes matter now, and returns the directories that are to be watched from now on; `None` where all
    /// has to be found out afresh.
    pub fn follow_more(&self, followed: &mut Followed, changed: &Changed) -> Option<Vec<PathBuf>> {
        let Changed::Only(touched) = changed else { return None };
        let bench = self.bench.as_ref().filter(|_| !self.opened)?;
        let mut new = followed.renew(touched);
        new.extend(bench.follow_more(followed)?);
        Some(new)
    }

    /// Writes what is known of recipes to disk, where that is not done yet. The text says why it failed.
    pub fn save(&self) -> Option<String> {
        self.bench.as_ref()?.save()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // What could not be written is read again by the next process.
        let _ = self.save();
    }
}
