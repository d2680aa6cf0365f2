//! A generator for a configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::depends::Generator;
use super::library::{Library, LibrarySource};
use crate::data::{Evaluate as _, Store};
use crate::error::Result;
use crate::python::Session;
use crate::{Sym, Text, Value};

impl Library {
    /// The functions of the layers' Python modules, less what the configuration excludes (`NAME[vardepsexclude]`).
    ///
    /// # Errors
    ///
    /// Where the source of a function cannot be scanned, or a flag cannot be expanded.
    pub fn of_configuration(session: &mut Session, configuration: &mut Store) -> Result<Self> {
        let functions = session.shared.library();
        let mut modules: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for function in &functions {
            let source = LibrarySource {
                name: &function.name,
                source: &function.source,
                line: function.line,
                vardeps: &function.vardeps,
                vardepsexclude: &function.vardepsexclude,
            };
            let refs = session.code_refs(&function.source)?;
            let module = function.name.rsplit_once('.').map_or("", |(module, _)| module);
            modules.entry(module).or_default().push((source, refs));
        }
        let mut library = Self::default();
        for functions in modules.values() {
            library.add_module(functions);
        }
        let flag = Sym::new("vardepsexclude");
        let mut excluded: BTreeMap<Sym, Vec<Sym>> = BTreeMap::new();
        for function in &functions {
            let name = Sym::new(&function.name);
            if let Some(Value::Str(text)) = configuration.get_flag(session, name, flag)? {
                excluded.insert(name, text.split_whitespace().map(Sym::new).collect());
            }
        }
        library.exclude(|name| excluded.get(&name).cloned().unwrap_or_default());
        Ok(library)
    }
}

impl Generator {
    /// A generator for recipes of a configuration.
    ///
    /// # Errors
    ///
    /// Where `BB_BASEHASH_IGNORE_VARS` cannot be expanded.
    pub fn of_configuration(library: Arc<Library>, session: &mut Session, configuration: &mut Store) -> Result<Self> {
        let ignored: Option<Text> = configuration.get_text(session, "BB_BASEHASH_IGNORE_VARS")?;
        let ignored = ignored.unwrap_or_default();
        Ok(Self::new(library, ignored.split_whitespace().map(Sym::new)))
    }
}
