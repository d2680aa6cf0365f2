//! Reading recipes, and keeping what they come to.

use std::sync::Arc;

use super::{Wanted, Workbench};
use crate::config::{ParseOptions, RecipeFile};
use crate::data::Store;
use crate::error::Error;
use crate::persist::{Cache, Entry, Kind, Recorder, Seen};
use crate::python::{Message, Session};
use crate::recipe::{RecipeInfo, recipe_row};
use crate::{Result, Sym, Value};

/// Variables of openembedded-core that say when the configuration was read.
pub(super) const CLOCKS: [&str; 2] = ["DATE", "TIME"];

fn is_clock(seen: &Seen) -> bool {
    seen.kind == Kind::Setting && CLOCKS.contains(&seen.what.as_str())
}

/// What came of one recipe.
pub(super) struct OneRecipe {
    pub(super) variants: Result<(Vec<Arc<RecipeInfo>>, Vec<String>)>,
    pub(super) messages: Vec<Message>,
    pub(super) cached: bool,
    seen: Vec<Seen>,
    /// What is kept of it, but for what it depends on.
    entry: Option<Entry>,
}

impl OneRecipe {
    fn lost() -> Self {
        let variants = Err(Error::Worker("a reading thread ended early".into()));
        Self { variants, messages: Vec::new(), cached: false, seen: Vec::new(), entry: None }
    }

    fn same_outcome(&self, other: &Self) -> bool {
        match (&self.variants, &other.variants) {
            (Ok(one), Ok(other_one)) => one == other_one && self.messages == other.messages,
            _ => false,
        }
    }
}

/// What is known of a recipe; with rows, if those are wanted.
pub(super) fn known(cache: &Cache, file: &RecipeFile, rows: bool) -> Option<OneRecipe> {
    let (infos, messages) = cache.get(file)?;
    let rows = if rows { cache.rows(file)? } else { Vec::new() };
    let variants = Ok((infos.to_vec(), rows));
    Some(OneRecipe { variants, messages, cached: true, seen: Vec::new(), entry: None })
}

impl Workbench {
    /// Reads recipes without regard to what is known.
    pub(super) fn read_anew(&self, wanted: &Wanted) -> Vec<(usize, OneRecipe)> {
        let all = || (0..self.dir.recipes().len()).collect();
        let chosen = wanted.recipes.clone().unwrap_or_else(all);
        let options = ParseOptions { threads: self.threads, sign: wanted.sign };
        let read =
            self.dir.with_sessions(&chosen, options, |session, index| self.read_one(session, index, &[], wanted.rows));
        read.into_iter().map(|(index, one)| (index, one.unwrap_or_else(OneRecipe::lost))).collect()
    }

    fn read_one(&self, session: &mut Session, index: usize, instead: &[(String, Store)], rows: bool) -> OneRecipe {
        let outcome = self.dir.outcome(session, index, instead, |session, file, variant| {
            let row = if rows { Some(recipe_row(session, file, variant)?.to_string()) } else { None };
            Ok((Arc::new(RecipeInfo::of(session, file, variant)?), row))
        });
        let variants = outcome.variants.map(|variants| {
            let (infos, rows): (Vec<_>, Vec<_>) = variants.into_iter().unzip();
            (infos, rows.into_iter().flatten().collect())
        });
        OneRecipe { variants, messages: outcome.messages, cached: false, seen: outcome.seen, entry: None }
    }

    /// Reads recipes, signs them, and keeps what they come to; of rows, if they are made. The text names those that cannot be kept.
    pub(super) fn read_and_keep(
        &self,
        cache: &mut Cache,
        chosen: &[usize],
        rows: bool,
    ) -> (Vec<(usize, OneRecipe)>, Option<String>) {
        let another_time = self.at_another_time();
        let recorder = Recorder::new(cache);
        let options = ParseOptions { threads: self.threads, sign: true };
        let read = self.dir.with_sessions(chosen, options, |session, index| {
            let mut one = self.read_one(session, index, &[], rows);
            self.forget_clock(session, index, &mut one, &another_time, rows);
            one.entry = one.variants.as_ref().ok().and_then(|(infos, made)| {
                let messages = one.messages.iter().map(|message| (message.level, message.text.clone())).collect();
                Entry::new(self.dir.recipes()[index].clone(), infos, rows.then_some(made), messages)
            });
            recorder.note(&one.seen);
            one
        });
        let noted = recorder.noted();
        let mut fickle = Vec::new();
        let keep = |(index, one): (usize, Option<OneRecipe>)| {
            let mut one = one.unwrap_or_else(OneRecipe::lost);
            let (file, seen) = (&self.dir.recipes()[index], std::mem::take(&mut one.seen));
            match (one.entry.take(), &one.variants) {
                (Some(entry), Ok((infos, _))) => {
                    if let Some(why) = cache.put(entry, infos.clone(), &seen, &self.dir.session.shared, &noted) {
                        fickle.push(format!("{} ({why})", file.path));
                    }
                }
                _ => cache.remove(file),
            }
            (index, one)
        };
        let results = read.into_iter().map(keep).collect();
        let fickle = (!fickle.is_empty()).then(|| format!("read every time: {}", fickle.join(", ")));
        (results, fickle)
    }

    /// The configurations, with clocks that show a time far away.
    fn at_another_time(&self) -> Vec<(String, Store)> {
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
        self.dir.configurations().map(far_away).collect()
    }

    /// Forgets that a recipe saw the date or the time of day, if it is the same at another. Images name their files by them, and then do
    /// not let it count; to tell, they are read again, while what the first reading met is at hand.
    fn forget_clock(
        &self,
        session: &mut Session,
        index: usize,
        one: &mut OneRecipe,
        another_time: &[(String, Store)],
        rows: bool,
    ) {
        if one.variants.is_ok()
            && one.seen.iter().any(is_clock)
            && one.same_outcome(&self.read_one(session, index, another_time, rows))
        {
            one.seen.retain(|seen| !is_clock(seen));
        }
    }
}
