//! The store itself, and what it needs from outside.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::history::{self, History};
use super::overrides::Active;
use super::variable::Variable;
use crate::error::{Error, Result};
use crate::python::Handler;
use crate::view::{CodeRefs, Expansion};
use crate::{Sym, Text, Value};

/// Runs Python for a datastore.
pub trait Evaluate {
    /// The value of an expression (the text inside `${@…}`), with the store as `d`.
    fn eval(&mut self, store: &mut Store, code: &str, var: Option<Sym>) -> Result<Value>;
    /// What the expression refers to.
    fn code_refs(&mut self, code: &str) -> Result<Arc<CodeRefs>>;
    /// Applies a filter expression (`setVarFilter`) to a value.
    fn filter(&mut self, expression: &str, value: &str) -> Result<Text>;
    /// Tells people something that metadata should not do.
    fn warn(&mut self, message: String);
    /// Hears that a variable was read which may be another in the next run though nobody edited anything.
    fn saw(&mut self, _var: Sym) {}
}

/// An [`Evaluate`] without Python: every expression is an error.
#[derive(Debug, Default)]
pub struct NoPython {
    /// The warnings so far.
    pub warnings: Vec<String>,
}

impl Evaluate for NoPython {
    fn eval(&mut self, _store: &mut Store, code: &str, _var: Option<Sym>) -> Result<Value> {
        Err(Error::Worker(format!("no Python to evaluate {code}")))
    }

    fn code_refs(&mut self, _code: &str) -> Result<Arc<CodeRefs>> {
        Ok(Arc::default())
    }

    fn filter(&mut self, expression: &str, _value: &str) -> Result<Text> {
        Err(Error::Worker(format!("no Python to evaluate {expression}")))
    }

    fn warn(&mut self, message: String) {
        self.warnings.push(message);
    }
}

/// Where an operation was written: for the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: Sym,
    /// The line, from 1.
    pub line: u32,
}

impl Origin {
    /// An operation that no metadata line made.
    pub fn internal() -> Self {
        Self { file: Sym::new("[internal]"), line: 0 }
    }
}

/// What the cache keeps of a lookup.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    pub(crate) unexpanded: Option<Value>,
    pub(crate) expansion: Arc<Expansion>,
}

/// Every variant name of a variable that has overrides: full name and its overrides (`a` or `a:b`).
pub(crate) type Variants = Arc<Vec<(Sym, Sym)>>;

/// A datastore. [`Store::clone`] is BitBake's `createCopy` (see [`Store::copy`], which also forgets cached values).
#[derive(Clone, Default)]
pub struct Store {
    /// The number Python knows it by; 0 for none.
    pub(crate) handle: u32,
    pub(crate) vars: FxHashMap<Sym, Arc<Variable>>,
    pub(crate) variants: FxHashMap<Sym, Variants>,
    /// The names with references in them that were ever among the keys of the two.
    pub(crate) unexpanded: Arc<Vec<Sym>>,
    pub(crate) active: Option<Arc<Active>>,
    pub(crate) computing_overrides: bool,
    /// How many variables deep the running lookup is.
    pub(crate) depth: u32,
    /// Variables that OVERRIDES depends on: writing one makes the overrides stale.
    pub(crate) override_vars: Arc<FxHashSet<Sym>>,
    pub(crate) filters: Arc<FxHashMap<Sym, Text>>,
    /// Values that depend on other values only.
    pub(crate) plain: FxHashMap<Sym, Cached>,
    /// Values of flags, and values for which code ran, which may have looked at flags.
    pub(crate) computed: FxHashMap<(Sym, Option<Sym>), Cached>,
    /// Counts what makes the value that is being looked up a computed one.
    pub(crate) computations: u64,
    pub(crate) exports: Arc<FxHashSet<Sym>>,
    pub(crate) renamed: Arc<FxHashMap<Sym, Text>>,
    pub(crate) history: Option<History>,
    /// Set once a renamed variable was used: the recipe cannot be finalised.
    pub(crate) uses_renamed: bool,
    /// Files this store was made of, in order, once each.
    pub(crate) files: Arc<Files>,
    /// Files of the configuration this store started from.
    pub(crate) base_files: Arc<Files>,
    /// `def` functions: name → text.
    pub(crate) functions: Arc<FxHashMap<Sym, Definition>>,
    /// Anonymous functions, in order.
    pub(crate) anonymous: Arc<Vec<Anonymous>>,
    /// Event handlers that are registered, in order.
    pub(crate) handlers: Arc<Vec<Handler>>,
}

/// An anonymous function of the metadata.
#[derive(Clone, Debug)]
pub(crate) struct Anonymous {
    pub(crate) name: Sym,
    pub(crate) text: Text,
    pub(crate) file: Sym,
    /// Lines before the text in its file.
    pub(crate) line: u32,
}

/// A `def` function of the metadata.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) text: Text,
    pub(crate) digest: u64,
    pub(crate) file: Sym,
    /// Lines before the text in its file.
    pub(crate) line: u32,
}

/// Files that were read or looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) order: Vec<Sym>,
    pub(crate) seen: FxHashSet<Sym>,
}

impl Store {
    /// An empty store; with `tracking` it records the history of each variable.
    pub fn new(tracking: bool) -> Self {
        let names = ["OVERRIDES", "FILE"];
        Self {
            override_vars: Arc::new(names.iter().map(|name| Sym::new(name)).collect()),
            renamed: Arc::new(super::assign::renamed_variables()),
            history: tracking.then(History::default),
            ..Self::default()
        }
    }

    /// A copy that shares every variable until one side writes it.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            handle: 0,
            vars: self.vars.clone(),
            variants: self.variants.clone(),
            unexpanded: Arc::clone(&self.unexpanded),
            active: None,
            computing_overrides: false,
            depth: 0,
            override_vars: Arc::clone(&self.override_vars),
            filters: Arc::clone(&self.filters),
            plain: FxHashMap::default(),
            computed: FxHashMap::default(),
            computations: 0,
            exports: Arc::clone(&self.exports),
            renamed: Arc::clone(&self.renamed),
            history: self.history.clone(),
            uses_renamed: self.uses_renamed,
            files: Arc::clone(&self.files),
            base_files: Arc::clone(&self.base_files),
            functions: Arc::clone(&self.functions),
            anonymous: Arc::clone(&self.anonymous),
            handlers: Arc::clone(&self.handlers),
        }
    }

    /// The history, when this store records one.
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// A variable as it is stored, without overrides.
    pub fn variable(&self, var: Sym) -> Option<&Variable> {
        self.vars.get(&var).map(Arc::as_ref)
    }

    /// Names whose `export` or `unexport` flag was ever set.
    pub fn export_list(&self) -> impl Iterator<Item = Sym> + '_ {
        self.exports.iter().copied()
    }

    /// Filters the value of a variable through an expression over `val`, or stops doing so.
    pub fn set_filter(&mut self, var: Sym, expression: Option<&str>) {
        let filters = Arc::make_mut(&mut self.filters);
        match expression.filter(|e| !e.is_empty()) {
            Some(expression) => filters.insert(var, expression.into()),
            None => filters.remove(&var),
        };
    }

    /// Notes that the store depends on a file, there or not. False when it was noted before.
    pub fn add_file(&mut self, file: Sym) -> bool {
        if self.files.seen.contains(&file) {
            return false;
        }
        let files = Arc::make_mut(&mut self.files);
        files.seen.insert(file);
        files.order.push(file);
        true
    }

    /// The full names of the variable's override variants, active or not.
    pub fn variant_names(&self, var: Sym) -> Vec<Sym> {
        self.variants.get(&var).map(|all| all.iter().map(|(full, _)| *full).collect()).unwrap_or_default()
    }

    /// Whether the variable has override variants, active or not.
    pub fn has_variants(&self, var: Sym) -> bool {
        self.variants.contains_key(&var)
    }

    /// Whether the file was noted.
    pub fn has_file(&self, file: Sym) -> bool {
        self.files.seen.contains(&file)
    }

    /// The noted files, in order: those of the configuration, then its own.
    pub fn files(&self) -> impl Iterator<Item = Sym> + '_ {
        self.base_files.order.iter().chain(&self.files.order).copied()
    }

    /// The noted files, those of the configuration aside.
    pub fn own_files(&self) -> &[Sym] {
        &self.files.order
    }

    /// Ends the configuration: what is noted from here on is a recipe's own.
    pub(crate) fn seal_files(&mut self) {
        self.base_files = std::mem::take(&mut self.files);
    }

    pub(crate) fn add_anonymous(&mut self, name: Sym, text: Text, file: Sym, line: u32) {
        Arc::make_mut(&mut self.anonymous).push(Anonymous { name, text, file, line });
    }

    pub(crate) fn record(&mut self, var: Sym, operation: &str, flag: Option<Sym>, detail: Value, origin: Origin) {
        if let Some(history) = &mut self.history {
            history.record(var, history::Entry { operation: operation.to_owned(), flag, origin, detail });
        }
    }

    /// Forgets all values that were looked up.
    pub(crate) fn forget(&mut self) {
        self.plain.clear();
        self.computed.clear();
    }

    /// Forgets the values that a flag may have a part in.
    pub(crate) fn forget_computed(&mut self) {
        self.computed.clear();
    }

    pub(crate) fn edit(&mut self, var: Sym) -> &mut Variable {
        let variable = match self.vars.entry(var) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                note_name(&mut self.unexpanded, var);
                entry.insert(Arc::default())
            }
        };
        Arc::make_mut(variable)
    }

    /// The override variants of a name, to be changed.
    pub(crate) fn edit_variants(&mut self, var: Sym) -> &mut Variants {
        match self.variants.entry(var) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                note_name(&mut self.unexpanded, var);
                entry.insert(Arc::default())
            }
        }
    }
}

fn note_name(names: &mut Arc<Vec<Sym>>, name: Sym) {
    if name.as_str().contains("${") {
        Arc::make_mut(names).push(name);
    }
}
