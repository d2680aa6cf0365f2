//! Who set what, and where.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Origin;
use crate::{Sym, Value};

/// One operation on a variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The operation, in BitBake's words: `set`, `set?`, `append`, `:append[x]`, `immediate`, …
    pub operation: String,
    /// The flag, when a flag was set.
    pub flag: Option<Sym>,
    /// Where.
    pub origin: Origin,
    /// The text that was written there.
    pub detail: Value,
}

/// The operations on each variable, in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    variables: FxHashMap<Sym, Arc<Vec<Entry>>>,
}

impl History {
    /// The operations on one variable.
    pub fn of(&self, var: Sym) -> &[Entry] {
        self.variables.get(&var).map_or(&[], |entries| entries.as_slice())
    }

    pub(crate) fn record(&mut self, var: Sym, entry: Entry) {
        Arc::make_mut(self.variables.entry(var).or_default()).push(entry);
    }

    pub(crate) fn copy_entries(&mut self, from: Sym, to: Sym) {
        if let Some(entries) = self.variables.get(&from).cloned() {
            Arc::make_mut(self.variables.entry(to).or_default()).extend(entries.iter().cloned());
        }
    }
}
