//! A digest of everything in the configuration that recipes can see.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fact::Hash;
use crate::config::BuildDir;
use crate::data::Store;
use crate::error::Result;
use crate::{Sym, Value};

/// Variables of openembedded-core that say when, and of which commit, the configuration is: others in every run.
const FLEETING: [&str; 4] = ["DATE", "TIME", "METADATA_BRANCH", "METADATA_REVISION"];

/// The configuration, as far as recipes are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fingerprint {
    /// Everything but the values below.
    pub(crate) whole: Hash,
    /// Variables that may be others in the next run though nobody edited anything; who reads them is known.
    pub(crate) settings: BTreeMap<String, Hash>,
}

struct Writer(blake3::Hasher);

impl Writer {
    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text.as_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Str(text) => {
                self.0.update(b"s");
                self.text(text);
            }
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
                self.0.update(match value {
                    Value::List(_) => b"l",
                    Value::Tuple(_) => b"t",
                    _ => b"e",
                });
                self.number(items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Dict(items) => {
                self.0.update(b"d");
                self.number(items.len());
                for (key, value) in items.iter() {
                    self.value(key);
                    self.value(value);
                }
            }
            other => {
                self.0.update(b"r");
                self.text(&format!("{other:?}"));
            }
        }
    }

    fn optional(&mut self, value: Option<&Value>) {
        match value {
            Some(value) => self.value(value),
            None => {
                self.0.update(b"n");
            }
        }
    }
}

fn sorted<T>(items: impl Iterator<Item = (Sym, T)>) -> Vec<(&'static str, T)> {
    let mut items: Vec<(&'static str, T)> = items.map(|(name, item)| (name.as_str(), item)).collect();
    items.sort_unstable_by_key(|(name, _)| *name);
    items
}

/// Names the variables of a configuration that do not last, so that their readers are noted from here on.
pub(crate) fn mark_fleeting(dir: &mut BuildDir, environment: impl Iterator<Item = String>) -> Result<()> {
    let mut session = dir.session(false);
    let mut names = dir.store.get_words(&mut session, "BB_HASHCONFIG_IGNORE_VARS")?;
    dir.give_back(session);
    names.extend(FLEETING.map(str::to_owned));
    names.extend(environment);
    for store in dir.stores_mut() {
        for name in names.iter().filter_map(|name| Sym::find(name)) {
            if store.variable(name).is_some() {
                store.edit(name).fleeting = true;
            }
        }
    }
    Ok(())
}

impl Fingerprint {
    /// Of a configuration that was read.
    pub(crate) fn of(dir: &BuildDir) -> Result<Self> {
        let mut settings = BTreeMap::new();
        let mut writer = Writer(blake3::Hasher::new());
        write_host(&mut writer, dir)?;
        for (name, store) in dir.configurations() {
            writer.text(name);
            write_variables(&mut writer, name, store, &mut settings);
            write_code(&mut writer, store);
        }
        for name in dir.ignored() {
            writer.text(name.as_str());
        }
        for function in {
            let mut library = dir.session.shared.library();
            library.sort_by(|a, b| a.name.cmp(&b.name));
            library
        } {
            writer.text(&function.name);
            writer.text(&function.source);
            writer.text(&format!("{} {:?} {:?}", function.line, function.vardeps, function.vardepsexclude));
        }
        Ok(Self { whole: *writer.0.finalize().as_bytes(), settings })
    }
}

/// The machine, Python, and the source of every module that is loaded.
fn write_host(writer: &mut Writer, dir: &BuildDir) -> Result<()> {
    let host = rustix::system::uname();
    for part in [host.sysname(), host.nodename(), host.release(), host.version(), host.machine()] {
        writer.text(&part.to_string_lossy());
    }
    writer.number(std::thread::available_parallelism().map_or(0, usize::from));
    writer.number(rustix::process::getuid().as_raw() as usize);
    let mut session = dir.session(false);
    let (python, modules) = session.modules()?;
    dir.give_back(session);
    writer.text(&python);
    for file in modules.iter().map(PathBuf::from).chain(library_files(dir)) {
        writer.text(&file.to_string_lossy());
        // A module without a file that can be read is one that nobody can edit.
        let content = std::fs::read(&file).unwrap_or_default();
        writer.0.update(blake3::hash(&content).as_bytes());
    }
    Ok(())
}

/// The key of a configuration's variable among the settings.
pub(crate) fn setting_key(configuration: &str, name: &str) -> String {
    format!("{configuration}:{name}")
}

fn write_variables(writer: &mut Writer, configuration: &str, store: &Store, settings: &mut BTreeMap<String, Hash>) {
    for (name, variable) in sorted(store.vars.iter().map(|(name, variable)| (*name, variable))) {
        writer.text(name);
        let mut value = Writer(blake3::Hasher::new());
        // What a fleeting variable holds is apart; that it is there, with which flags, is not.
        let content = if variable.fleeting { &mut value } else { &mut *writer };
        content.optional(variable.content.as_ref());
        content.optional(variable.default.as_ref());
        for operations in [&variable.append, &variable.prepend, &variable.remove] {
            content.number(operations.len());
            for operation in operations {
                content.text(&operation.text);
                content.text(operation.condition.as_deref().unwrap_or("\0"));
            }
        }
        for flags in [&variable.flags, &variable.flag_defaults] {
            writer.number(flags.len());
            for (flag, value) in flags {
                writer.text(flag.as_str());
                writer.value(value);
            }
        }
        if variable.fleeting {
            settings.insert(setting_key(configuration, name), *value.0.finalize().as_bytes());
        }
    }
    for (name, variants) in sorted(store.variants.iter().map(|(name, variants)| (*name, variants))) {
        writer.text(name);
        writer.number(variants.len());
        for (full, over) in variants.iter() {
            writer.text(full.as_str());
            writer.text(over.as_str());
        }
    }
}

fn write_code(writer: &mut Writer, store: &Store) {
    let mut names: Vec<&str> =
        store.override_vars.iter().chain(store.exports.iter()).map(|name| name.as_str()).collect();
    names.sort_unstable();
    for name in names {
        writer.text(name);
    }
    for (name, filter) in sorted(store.filters.iter().map(|(name, filter)| (*name, filter))) {
        writer.text(name);
        writer.text(filter);
    }
    for (name, function) in sorted(store.functions.iter().map(|(name, function)| (*name, function))) {
        writer.text(name);
        writer.text(&function.text);
        writer.text(function.file.as_str());
        writer.number(function.line as usize);
    }
    for function in store.anonymous.iter() {
        writer.text(function.name.as_str());
        writer.text(&function.text);
        writer.number(function.line as usize);
    }
    for handler in store.handlers.iter() {
        writer.text(handler.name.as_str());
        writer.text(&handler.text);
        writer.text(&format!("{} {} {:?}", handler.file, handler.line, handler.mask));
    }
    store.files().for_each(|file| writer.text(file.as_str()));
}

/// Every module of the layers' libraries, loaded or not, and the list of licenses beside them: parts of them are read without Python.
pub(crate) fn library_files(dir: &BuildDir) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (directory, package) in dir.session.packages() {
        let mut waiting = vec![Path::new(directory).join(package)];
        while let Some(place) = waiting.pop() {
            for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(path);
                } else if path.extension().is_some_and(|extension| extension == "py") {
                    found.push(path);
                }
            }
        }
        found.extend(Path::new(directory).parent().map(|layer| layer.join("files/spdx-licenses.json")));
    }
    found.sort_unstable();
    found
}
