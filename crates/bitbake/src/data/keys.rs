//! Names: which there are, and names that contain references.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::store::{Evaluate, Origin, Store};
use crate::error::Result;
use crate::{Sym, Value};

impl Store {
    /// All names, in no order: those that hold something, and those of which only an override variant does.
    pub fn keys(&mut self, ev: &mut dyn Evaluate) -> Result<Vec<Sym>> {
        let active = self.need_overrides(ev)?;
        let mut names: FxHashSet<Sym> =
            self.vars.iter().filter(|(_, variable)| !variable.is_empty()).map(|(name, _)| *name).collect();
        for (name, variants) in &self.variants {
            if variants.iter().any(|(_, over)| active.covers(*over)) {
                names.insert(*name);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Whether a name is among the keys.
    pub fn is_key(&mut self, ev: &mut dyn Evaluate, var: Sym) -> Result<bool> {
        if self.vars.get(&var).is_some_and(|variable| !variable.is_empty()) {
            return Ok(true);
        }
        let Some(variants) = self.variants.get(&var).map(Arc::clone) else { return Ok(false) };
        let active = self.need_overrides(ev)?;
        Ok(variants.iter().any(|(_, over)| active.covers(*over)))
    }

    /// Whether nothing at all is known of a name, not even an override variant.
    pub fn is_unknown(&self, var: Sym) -> bool {
        self.vars.get(&var).is_none_or(|variable| variable.is_empty()) && !self.variants.contains_key(&var)
    }

    /// Renames every variable whose name contains references to what they expand to.
    pub fn expand_keys(&mut self, ev: &mut dyn Evaluate) -> Result<()> {
        let mut renames = Vec::new();
        let keys = Arc::clone(&self.unexpanded);
        for &key in keys.iter() {
            if self.is_key(ev, key)? {
                let name = key.as_str();
                let expanded = self.expand(ev, name)?;
                if *expanded != *name {
                    renames.push((name, expanded));
                }
            }
        }
        renames.sort_unstable();
        renames.dedup();
        for (name, expanded) in renames {
            let (old, new) = (Sym::new(name), Sym::new(&expanded));
            if let Some(replaced) = self.get_raw(ev, new)?
                && let Some(value) = self.get_raw(ev, old)?
            {
                ev.warn(format!("Variable key {old} ({value}) replaces original key {new} ({replaced})."));
            }
            self.rename(ev, old, new, Origin::internal())?;
        }
        Ok(())
    }

    /// Replaces the references to one variable everywhere by its unexpanded value.
    pub fn expand_reference(&mut self, ev: &mut dyn Evaluate, var: Sym) -> Result<()> {
        let reference = format!("${{{var}}}");
        let value = self.get_raw(ev, var)?.map(|value| value.to_text()).unwrap_or_default();
        let keys: Vec<Sym> = self.vars.keys().copied().collect();
        for key in keys {
            if let Some(Value::Str(text)) = self.get_raw(ev, key)?
                && text.contains(&reference)
            {
                self.set(ev, key, text.replace(&reference, &value).into(), Origin::internal())?;
            }
        }
        Ok(())
    }
}
