//! A finalised recipe, as the signature code reads it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::data::{Evaluate as _, Lookup, Origin, Store};
use crate::error::{Error, Place, Result};
use crate::python::Session;
use crate::view::{DataView, Expansion};
use crate::{CodeRefs, Sym, Text, Value};

/// A store with the session that evaluates it.
pub struct StoreView<'a> {
    session: &'a mut Session,
    store: &'a mut Store,
    /// The copy that function bodies are read from, made when the first one is.
    functions: Option<Store>,
    /// The function that is being read.
    function: Option<Sym>,
}

impl<'a> StoreView<'a> {
    /// A view of a store.
    pub fn new(session: &'a mut Session, store: &'a mut Store) -> Self {
        Self { session, store, functions: None, function: None }
    }

    /// Says which function it is that cannot be read, and where it is.
    fn in_function(&self, error: Error) -> Error {
        let (Error::Fatal(message), Some(function)) = (&error, self.function) else { return error };
        let flag = |name: &str| self.store.flag_raw(function, Sym::new(name)).map(|value| value.to_text());
        let (Some(file), Some(line)) = (flag("filename"), flag("lineno")) else { return error };
        let place = Place::line(file.to_string(), line.parse().unwrap_or_default());
        Error::parse(place, format!("the function {function}: {message}"))
    }
}

const REFS: Lookup = Lookup { expand: false, no_weak_default: false, parsing: false, with_refs: true };

impl DataView for StoreView<'_> {
    type Error = Error;

    fn is_key(&mut self, var: Sym) -> Result<bool> {
        self.store.is_key(self.session, var)
    }

    fn is_unknown(&self, var: Sym) -> bool {
        self.store.is_unknown(var)
    }

    fn get_var(&mut self, var: Sym) -> Result<Option<Value>> {
        self.store.get(self.session, var)
    }

    fn get_raw(&mut self, var: Sym) -> Result<Option<Value>> {
        self.store.get_raw(self.session, var)
    }

    fn parse_var(&mut self, var: Sym) -> Result<(Option<Value>, Arc<Expansion>)> {
        let (value, expansion) = self.store.lookup(self.session, var, None, REFS)?;
        Ok((value, expansion.unwrap_or_default()))
    }

    fn parse_flag(&mut self, var: Sym, flag: Sym) -> Result<(Option<Value>, Arc<Expansion>)> {
        let (value, expansion) = self.store.lookup(self.session, var, Some(flag), REFS)?;
        Ok((value, expansion.unwrap_or_default()))
    }

    fn get_flag(&mut self, var: Sym, flag: Sym) -> Option<Value> {
        self.store.flag_raw(var, flag)
    }

    fn flags(&mut self, var: Sym) -> Vec<(Sym, Value)> {
        self.store.flags(var)
    }

    fn expand_text(&mut self, text: &str) -> Result<Expansion> {
        self.store.expand_value(self.session, Some(text.into()), None)
    }

    fn export_list(&mut self) -> Vec<Sym> {
        self.store.export_list().collect()
    }

    fn parse_function(&mut self, var: Sym) -> Result<(Option<Value>, Arc<Expansion>)> {
        self.function = Some(var);
        if self.functions.is_none() {
            let mut copy = self.store.copy();
            for forced in self.store.get_words(self.session, "BB_HASH_CODEPARSER_VALS")? {
                let Some((name, value)) = forced.split_once('=') else {
                    return Err(Error::Fatal(format!("BB_HASH_CODEPARSER_VALS: {forced} is not NAME=VALUE")));
                };
                copy.set(self.session, Sym::new(name), value.into(), Origin::internal())?;
            }
            self.functions = Some(copy);
        }
        let Some(store) = &mut self.functions else { return Ok((None, Arc::default())) };
        let (value, expansion) = store.lookup(self.session, var, None, REFS)?;
        Ok((value, expansion.unwrap_or_default()))
    }

    fn scan_python(&mut self, code: &str) -> Result<Arc<CodeRefs>> {
        self.session.code_refs(code).map_err(|error| self.in_function(error))
    }

    fn scan_shell(&mut self, code: &Text) -> Result<Arc<BTreeSet<Text>>> {
        self.session.shared.shell_execs(code).map_err(|error| self.in_function(error))
    }
}
