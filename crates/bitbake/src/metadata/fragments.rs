//! `addfragments`: pieces of configuration that a list switches on.

use super::files::{Reader, join};
use crate::config::Pattern;
use crate::data::{Origin, Store};
use crate::error::{Error, Result};
use crate::{Sym, Text, Value};

impl Reader<'_> {
    pub(super) fn add_fragments(
        &mut self,
        store: &mut Store,
        file: Sym,
        parts: &[Text; 4],
        origin: Origin,
    ) -> Result<()> {
        let [prefix, list_var, flagged_var, builtin_var] = parts;
        if store.get_text(self.session, "_BB_SKIP_FRAGMENTS")?.as_deref() == Some("1") {
            return Ok(());
        }
        let fragments = store.get_words(self.session, list_var)?;
        let layers = store.get_words(self.session, "BBLAYERS")?;
        let flagged = store.get_words(self.session, flagged_var)?;
        let mut builtin = Vec::new();
        for entry in store.get_words(self.session, builtin_var)? {
            let Some((name, var)) = entry.split_once(':') else {
                return Err(Error::Fatal(format!("{builtin_var}: {entry} is not NAME:VARIABLE")));
            };
            builtin.push((name.to_owned(), var.to_owned()));
        }
        for fragment in fragments {
            let Some((head, tail)) = fragment.split_once('/') else {
                return Err(Error::Fatal(format!("{list_var}: {fragment} is not LAYER/NAME")));
            };
            if let Some((_, var)) = builtin.iter().find(|(name, _)| name == head) {
                self.builtin_fragment(store, &fragment, var, tail, origin)?;
                continue;
            }
            let name = store.expand(self.session, &format!("{prefix}/{tail}.conf"))?;
            let mut found = None;
            for layer in &layers {
                let candidate = join(layer, &name);
                if self.session.exists(Sym::new(&candidate))
                    && self.layer_of(store, &candidate)?.as_deref() == Some(head)
                {
                    found = Some(candidate);
                    break;
                }
            }
            let Some(path) = found else {
                return Err(Error::Fatal(format!(
                    "the fragment {fragment} is in no layer of BBLAYERS ({})",
                    layers.join(", ")
                )));
            };
            self.include(store, file, &path, origin.line, Some("include the fragment"))?;
            for var in flagged.iter().map(|var| Sym::new(var)) {
                let value = store.get(self.session, var)?.unwrap_or(Value::None);
                store.set_flag(self.session, var, Sym::new(&fragment), value, origin)?;
                store.set(self.session, var, Value::None, origin)?;
            }
        }
        Ok(())
    }

    fn builtin_fragment(
        &mut self,
        store: &mut Store,
        fragment: &str,
        var: &str,
        value: &str,
        origin: Origin,
    ) -> Result<()> {
        let name = Sym::new(var);
        let how = crate::data::Lookup { expand: true, no_weak_default: true, ..crate::data::Lookup::default() };
        if store.lookup(self.session, name, None, how)?.0.is_some() {
            return Err(Error::Fatal(format!(
                "the fragment {fragment} sets {var}, which is set already: remove one of the two"
            )));
        }
        store.set_parsing(self.session, name, value.into(), origin)
    }

    /// The collection whose files a path is one of.
    fn layer_of(&mut self, store: &mut Store, path: &str) -> Result<Option<String>> {
        let mut best: Option<(usize, String)> = None;
        for collection in store.get_words(self.session, "BBFILE_COLLECTIONS")? {
            let pattern = store.get_text(self.session, &format!("BBFILE_PATTERN_{collection}"))?.unwrap_or_default();
            // The longest pattern wins, so that a layer may lie inside another.
            if Pattern::at_start(&pattern).matches(path)
                && pattern.len() > best.as_ref().map_or(0, |(longest, _)| *longest)
            {
                best = Some((pattern.len(), collection));
            }
        }
        Ok(best.map(|(_, collection)| collection))
    }
}
