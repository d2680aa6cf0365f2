//! Functions of the layers' Python modules (`addpylib`), as signatures see them.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use sha2::{Digest as _, Sha256};

use crate::{CodeRefs, Sym, Text};

/// A library function's source, as Python's `inspect` gives it.
#[derive(Clone, Copy, Debug)]
pub struct LibrarySource<'a> {
    /// Dotted name: `oe.utils.conditional`.
    pub name: &'a str,
    /// Source text, decorators included.
    pub source: &'a str,
    /// 1-based line at which the source starts in its file.
    pub line: u32,
    /// Variables that decorators add.
    pub vardeps: &'a [Sym],
    /// Variables that decorators take away.
    pub vardepsexclude: &'a [Sym],
}

/// What a library function needs, and its value.
#[derive(Clone, Debug)]
pub struct LibraryEntry {
    /// What its code refers to; calls of functions of its own module carry the module's name.
    pub refs: CodeRefs,
    /// SHA-256 of its text after as many newlines as its line number, in hexadecimal: moving a function changes it.
    pub digest: Text,
}

/// All library functions.
#[derive(Clone, Debug, Default)]
pub struct Library {
    functions: FxHashMap<Sym, Arc<LibraryEntry>>,
}

impl Library {
    /// Adds the functions of one module, in order, with what a scan of each one's source found.
    pub fn add_module(&mut self, functions: &[(LibrarySource<'_>, Arc<CodeRefs>)]) {
        let own: FxHashSet<&str> = functions.iter().filter_map(|(source, _)| last_part(source.name)).collect();
        for (source, found) in functions {
            let mut refs = CodeRefs::clone(found);
            refs.references.extend(source.vardeps);
            for var in source.vardepsexclude {
                refs.references.remove(var);
            }
            let module = source.name.rsplit_once('.').map_or("", |(module, _)| module);
            refs.execs = refs
                .execs
                .iter()
                .map(|exec| if own.contains(exec.as_str()) { Sym::new(&format!("{module}.{exec}")) } else { *exec })
                .collect();
            let mut digest = Sha256::new();
            digest.update("\n".repeat(source.line as usize));
            digest.update(source.source);
            let digest = hex::encode(digest.finalize()).into();
            self.functions.insert(Sym::new(source.name), Arc::new(LibraryEntry { refs, digest }));
        }
    }

    /// Takes away what the configuration excludes for a function: `NAME[vardepsexclude]`.
    pub fn exclude(&mut self, excluded: impl Fn(Sym) -> Vec<Sym>) {
        for (name, entry) in &mut self.functions {
            let excluded = excluded(*name);
            if !excluded.is_empty() {
                let entry = Arc::make_mut(entry);
                entry.refs.references.retain(|var| !excluded.contains(var));
                entry.refs.execs.retain(|exec| !excluded.contains(exec));
            }
        }
    }

    /// A function.
    pub fn get(&self, name: Sym) -> Option<&Arc<LibraryEntry>> {
        self.functions.get(&name)
    }

    /// The names of all functions, in no order.
    pub fn names(&self) -> impl Iterator<Item = Sym> + '_ {
        self.functions.keys().copied()
    }
}

fn last_part(name: &str) -> Option<&str> {
    name.rsplit('.').next()
}
