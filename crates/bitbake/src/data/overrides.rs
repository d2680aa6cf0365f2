//! Which override variants exist, and which are active.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::store::{Evaluate, Store};
use crate::error::{Error, Result};
use crate::{Sym, Value};

/// How often OVERRIDES may change its own value before it counts as unstable.
const ROUNDS: usize = 5;

/// The value of OVERRIDES, split.
#[derive(Debug, Default)]
pub(crate) struct Active {
    pub(crate) list: Vec<Sym>,
    pub(crate) set: FxHashSet<Sym>,
}

impl Active {
    fn parse(text: &str) -> Self {
        let list: Vec<Sym> = text.split(':').map(Sym::new).collect();
        let set = list.iter().copied().collect();
        Self { list, set }
    }

    /// Whether an override, or every part of `a:b`, is active.
    pub(crate) fn covers(&self, overrides: Sym) -> bool {
        if self.set.contains(&overrides) {
            return true;
        }
        let text = overrides.as_str();
        text.contains(':') && text.split(':').all(|part| Sym::find(part).is_some_and(|part| self.set.contains(&part)))
    }

    /// The variant whose value stands for the variable, if any is active.
    ///
    /// OVERRIDES is walked again and again: an override strips itself from the end of a variant's list, and takes the variant when it
    /// is all that is left, so later overrides win, and longer lists win over their own beginnings.
    pub(crate) fn choose(&self, variants: &[(Sym, Sym)]) -> Option<Sym> {
        let covered = || variants.iter().filter(|(_, over)| self.covers(*over));
        if covered().all(|(_, over)| self.set.contains(over) && !over.as_str().contains(':')) {
            // Single overrides only: the last one in OVERRIDES wins.
            let place = |over: Sym| self.list.iter().rposition(|listed| *listed == over);
            return covered().max_by_key(|(_, over)| place(*over)).map(|(full, _)| *full);
        }
        // A Python dictionary: a name written twice keeps its place and takes the later variant.
        let mut active: Vec<(String, Sym)> = Vec::new();
        for &(full, overrides) in variants {
            if self.covers(overrides) {
                put(&mut active, overrides.as_str().to_owned(), full);
            }
        }
        let mut chosen = None;
        let mut modified = !active.is_empty();
        while modified {
            modified = false;
            for over in &self.list {
                let over = over.as_str();
                for (name, full) in active.clone() {
                    if name.strip_suffix(over).is_some_and(|rest| rest.ends_with(':')) {
                        active.retain(|(other, _)| *other != name);
                        put(&mut active, name.replace(&format!(":{over}"), ""), full);
                        modified = true;
                    } else if name == over {
                        active.retain(|(other, _)| *other != name);
                        chosen = Some(full);
                    }
                }
            }
        }
        chosen
    }
}

fn put(entries: &mut Vec<(String, Sym)>, name: String, full: Sym) {
    match entries.iter_mut().find(|(other, _)| *other == name) {
        Some(entry) => entry.1 = full,
        None => entries.push((name, full)),
    }
}

/// Whether text can be an override: it starts with a lower-case letter or a digit.
fn is_override(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// The (variable, override) pairs that a name with colons stands for: `A:b:c` is `b:c` of `A` and `c` of `A:b`.
///
/// A name without a colon is taken apart at its last character, as BitBake does when it has pending operations.
fn splits(var: &str) -> Vec<(&str, &str)> {
    let mut result = Vec::new();
    let (mut short, mut over) = match var.rfind(':') {
        Some(at) => (&var[..at], &var[at + 1..]),
        None => (var.char_indices().next_back().map_or("", |(at, _)| &var[..at]), var),
    };
    while is_override(over) {
        result.push((short, over));
        let Some(at) = short.rfind(':') else { break };
        over = &var[at + 1..];
        short = &var[..at];
        if short.is_empty() {
            break;
        }
    }
    result
}

impl Store {
    /// Makes the active overrides known, unless they are.
    pub(crate) fn need_overrides(&mut self, ev: &mut dyn Evaluate) -> Result<Arc<Active>> {
        if let Some(active) = &self.active {
            return Ok(Arc::clone(active));
        }
        if self.computing_overrides {
            return Ok(Arc::default());
        }
        let name = Sym::new("OVERRIDES");
        let mut tried: Vec<String> = Vec::new();
        for _ in 0..ROUNDS {
            self.computing_overrides = true;
            self.active = Some(Arc::default());
            let first = self.get(ev, name);
            self.computing_overrides = false;
            if first.is_err() {
                self.active = None;
            }
            let text = text_of(first?);
            self.active = Some(Arc::new(Active::parse(&text)));
            self.forget();
            let again = text_of(self.get(ev, name)?);
            if again == text {
                return Ok(self.active.clone().unwrap_or_default());
            }
            self.active = Some(Arc::new(Active::parse(&again)));
            tried.push(text);
        }
        self.active = None;
        Err(Error::Fatal(format!(
            "OVERRIDES does not become stable in {ROUNDS} rounds: it depends on variables that are overridden by what it names. Its values were:\n{}",
            tried.join("\n")
        )))
    }

    /// Notes the override variants that a variable's name makes.
    pub(crate) fn add_variants(&mut self, var: Sym) {
        for (short, over) in splits(var.as_str()) {
            let entry = self.edit_variants(Sym::new(short));
            let pair = (var, Sym::new(over));
            if !entry.contains(&pair) {
                Arc::make_mut(entry).push(pair);
            }
        }
    }

    /// Forgets the override variants that a variable's name makes.
    pub(crate) fn remove_variants(&mut self, var: Sym) {
        if !var.as_str().contains(':') {
            return;
        }
        for (short, over) in splits(var.as_str()) {
            let pair = (var, Sym::new(over));
            if let Some(entry) = Sym::find(short).and_then(|short| self.variants.get_mut(&short))
                && entry.contains(&pair)
            {
                Arc::make_mut(entry).retain(|other| *other != pair);
            }
        }
    }

    /// After a variable that OVERRIDES depends on was written: what it refers to counts too, and the overrides are stale.
    pub(crate) fn touch_overrides(&mut self, ev: &mut dyn Evaluate, var: Sym, value: &Value) -> Result<()> {
        let mut new = self.references_of(ev, Some(value.clone()), var)?;
        while !new.iter().all(|name| self.override_vars.contains(name)) {
            let mut next = Vec::new();
            Arc::make_mut(&mut self.override_vars).extend(new.iter().copied());
            for name in new {
                let value = self.get(ev, name)?;
                next.extend(self.references_of(ev, value, name)?);
            }
            new = next;
        }
        self.active = None;
        self.forget();
        Ok(())
    }

    fn references_of(&mut self, ev: &mut dyn Evaluate, value: Option<Value>, var: Sym) -> Result<Vec<Sym>> {
        let expansion = self.expand_value(ev, value, Some(var))?;
        Ok(expansion.refs.references.iter().chain(expansion.refs.contains.keys()).copied().collect())
    }
}

fn text_of(value: Option<Value>) -> String {
    value.map(|v| v.to_text().to_string()).unwrap_or_default()
}
