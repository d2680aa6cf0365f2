//! How scanners and signatures read a datastore.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Sym, Text, Value};

/// What a piece of Python refers to, as BitBake's `codeparser.PythonParser` finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeRefs {
    /// Variables (`V`) and flags (`V[flag]`) that are read.
    pub references: BTreeSet<Sym>,
    /// Functions that are called, by their dotted name.
    pub execs: BTreeSet<Sym>,
    /// Variable → words whose presence in it is tested.
    pub contains: BTreeMap<Sym, BTreeSet<Text>>,
}

/// The outcome of expanding a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expansion {
    /// The expanded text (`removes` applied); `Value::None` for a variable that is not set, other kinds unchanged.
    pub value: Option<Value>,
    /// What the text refers to itself, not what its references refer to in turn.
    pub refs: Arc<CodeRefs>,
    /// The (unexpanded) `:remove` texts that took something away; `None` where the variable has no active removes.
    pub removes: Option<BTreeSet<Text>>,
}

/// A finalised recipe's datastore, as the signature code reads it.
///
/// Reads take `&mut self` because expansion fills caches and may run Python.
pub trait DataView {
    /// What an expansion can fail with.
    type Error;

    /// Whether a name is among all names (BitBake's `keys()`).
    fn is_key(&mut self, var: Sym) -> Result<bool, Self::Error>;
    /// Whether nothing at all is known of a name, not even a flag or an override variant.
    fn is_unknown(&self, var: Sym) -> bool;
    /// The expanded value: `getVar(var)`.
    fn get_var(&mut self, var: Sym) -> Result<Option<Value>, Self::Error>;
    /// The unexpanded value: `getVar(var, False)`.
    fn get_raw(&mut self, var: Sym) -> Result<Option<Value>, Self::Error>;
    /// The unexpanded value with its expansion: `getVarFlag(var, "_content", False, retparser=True)`.
    fn parse_var(&mut self, var: Sym) -> Result<(Option<Value>, Arc<Expansion>), Self::Error>;
    /// The same for a flag.
    fn parse_flag(&mut self, var: Sym, flag: Sym) -> Result<(Option<Value>, Arc<Expansion>), Self::Error>;
    /// An unexpanded flag: `getVarFlag(var, flag, False)`.
    fn get_flag(&mut self, var: Sym, flag: Sym) -> Option<Value>;
    /// All flags that metadata sees (no leading `_` or `:`; weak defaults under their own name), unexpanded.
    fn flags(&mut self, var: Sym) -> Vec<(Sym, Value)>;
    /// Expands a text: `expandWithRefs(text, None)`.
    fn expand_text(&mut self, text: &str) -> Result<Expansion, Self::Error>;
    /// Names whose `export` or `unexport` flag was ever set: the keys of BitBake's `__exportlist`.
    fn export_list(&mut self) -> Vec<Sym>;
    /// The same as [`DataView::parse_var`], in a copy where the variables of `BB_HASH_CODEPARSER_VALS` have the values given there:
    /// how the bodies of functions are read.
    fn parse_function(&mut self, var: Sym) -> Result<(Option<Value>, Arc<Expansion>), Self::Error>;
    /// What Python code refers to; cached by its text.
    fn scan_python(&mut self, code: &str) -> Result<Arc<CodeRefs>, Self::Error>;
    /// The commands that shell code runs; cached by its text.
    fn scan_shell(&mut self, code: &Text) -> Result<Arc<BTreeSet<Text>>, Self::Error>;
}
