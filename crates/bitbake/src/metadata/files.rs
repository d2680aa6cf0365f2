//! Finding, including and inheriting files.

use std::path::Path;

use crate::data::{Origin, Store};
use crate::error::{Error, Place, Result};
use crate::persist::Seen;
use crate::python::Session;
use crate::{Sym, Text, Value};

/// Includes nested deeper than this are a circle.
const DEPTH: usize = 100;

/// Reads files into a store.
pub struct Reader<'a> {
    /// Python, and everything shared.
    pub session: &'a mut Session,
    /// Whether the configuration itself is read, where `addpylib` works.
    pub base: bool,
    /// The files being read, outermost first.
    pub chain: Vec<Place>,
}

/// Candidates for a name along a path, and which of them exists.
struct Found {
    file: Option<Sym>,
    tried: Vec<Sym>,
}

impl<'a> Reader<'a> {
    /// A reader of recipes.
    pub fn new(session: &'a mut Session) -> Self {
        Self { session, base: false, chain: Vec::new() }
    }

    /// A reader of the configuration.
    pub fn of_configuration(session: &'a mut Session) -> Self {
        Self { session, base: true, chain: Vec::new() }
    }

    /// Looks for a name in the directories of a path.
    fn which(&mut self, path: &str, name: &str) -> Found {
        let mut tried = Vec::new();
        for directory in path.split(':') {
            let candidate = if directory.is_empty() { name.to_owned() } else { join(directory, name) };
            let absolute = if candidate.starts_with('/') {
                candidate
            } else {
                normal(&self.session.shared.directory.join(candidate))
            };
            let file = Sym::new(&absolute);
            tried.push(file);
            if self.session.exists(file) {
                return Found { file: Some(file), tried };
            }
        }
        Found { file: None, tried }
    }

    /// Reads one file, as an include when `included`.
    pub fn read(&mut self, store: &mut Store, file: Sym, included: bool) -> Result<()> {
        let name = file.as_str();
        let extension = name.rsplit('/').next().and_then(|base| base.rsplit_once('.')).map_or("", |(_, ext)| ext);
        if !matches!(extension, "conf" | "bb" | "bbclass" | "inc" | "bbappend") {
            return Err(self.error(name, 0, "not a BitBake file"));
        }
        if extension == "bbclass" {
            mark_inherited(store, self.session, file)?;
        }
        let old = if included { store.get_raw(self.session, file_var())? } else { None };
        store.add_file(file);
        if self.chain.len() > DEPTH {
            return Err(self.error(name, 0, "files include each other in a circle"));
        }
        self.session.seen.insert(Seen::content(file));
        let parsed =
            self.session.shared.parse(file, self.base && extension == "conf").map_err(|error| self.in_chain(error))?;
        for warning in &parsed.warnings {
            let text = format!("{name}:{}: {}", warning.line, warning.message);
            if !self.session.messages.iter().any(|message| message.text == text) {
                self.session.messages.push(crate::python::Message { level: 30, text });
            }
        }
        if !parsed.errors.is_empty() {
            return Err(self.syntax_errors(name, &parsed.errors));
        }
        let is_class = extension == "bbclass";
        let changed = !is_class && old.as_ref().and_then(Value::as_str) != Some(name);
        if changed || extension == "conf" {
            store.set(self.session, file_var(), name.into(), Origin::internal())?;
        }
        for statement in &parsed.statements {
            self.chain.push(Place::line(name, statement.line));
            let result = self.statement(store, file, statement);
            let result = result.map_err(|error| self.in_chain(error));
            self.chain.pop();
            result?;
        }
        if let Some(old) = old.filter(Value::truthy)
            && (changed || extension == "conf")
        {
            store.set(self.session, file_var(), old, Origin::internal())?;
        }
        Ok(())
    }

    /// Reads a file that is looked for along BBPATH when its name is relative.
    pub fn read_along_path(&mut self, store: &mut Store, name: &str) -> Result<()> {
        let path = store.get_text(self.session, "BBPATH")?.unwrap_or_default();
        let found = if name.starts_with('/') {
            Found { file: Some(Sym::new(name)), tried: Vec::new() }
        } else {
            self.which(&path, name)
        };
        for tried in found.tried {
            store.add_file(tried);
        }
        match found.file {
            Some(file) => self.read(store, file, true),
            None => Err(self.error(name, 0, &format!("the file is in no directory of BBPATH ({path})"))),
        }
    }

    /// `include` and `require`: any number of files, each looked for beside the including file, then along BBPATH.
    pub(super) fn include(
        &mut self,
        store: &mut Store,
        parent: Sym,
        names: &str,
        line: u32,
        required: Option<&str>,
    ) -> Result<()> {
        let names = store.expand(self.session, names)?;
        for name in names.split_whitespace() {
            self.include_one(store, parent, name, line, required)?;
        }
        Ok(())
    }

    fn include_one(
        &mut self,
        store: &mut Store,
        parent: Sym,
        name: &str,
        line: u32,
        required: Option<&str>,
    ) -> Result<()> {
        if parent.as_str() == name {
            return Ok(());
        }
        let mut file = Sym::new(name);
        if name.starts_with('/') {
            self.warn_twice(store, file)?;
        } else {
            let directory = parent.as_str().rsplit_once('/').map_or("", |(directory, _)| directory);
            let path = store.get_text(self.session, "BBPATH")?.unwrap_or_default();
            let found = self.which(&format!("{directory}:{path}"), name);
            if let Some(found) = found.file {
                self.warn_twice(store, found)?;
                file = found;
            }
            for tried in found.tried {
                store.add_file(tried);
            }
            if found.file.is_none() {
                return self.missing(name, line, required);
            }
        }
        if !self.session.exists(file) || self.session.is_dir(file) {
            store.add_file(file);
            return self.missing(file.as_str(), line, required);
        }
        self.read(store, file, true)
    }

    fn missing(&self, name: &str, _line: u32, required: Option<&str>) -> Result<()> {
        match required {
            Some(verb) => {
                let here = self.chain.last().cloned().unwrap_or_else(|| Place::file(name));
                Err(self.error(&here.file, here.line, &format!("could not {verb} the file {name}")))
            }
            None => Ok(()),
        }
    }

    fn warn_twice(&mut self, store: &mut Store, file: Sym) -> Result<()> {
        if store.has_file(file) {
            let by = store.get_raw(self.session, file_var())?.map(|v| v.to_text()).unwrap_or_default();
            let text = format!("Duplicate inclusion for {file} in {by}");
            self.session.messages.push(crate::python::Message { level: 30, text });
        }
        Ok(())
    }

    /// `inherit`: each class once; some wait until the recipe is finalised.
    pub fn inherit(&mut self, store: &mut Store, classes: &str, from: Sym, line: u32, deferred: bool) -> Result<()> {
        let classes = store.expand(self.session, classes)?;
        for class in classes.split_whitespace() {
            if !deferred {
                let waiting = store.get_words(self.session, "BB_DEFER_BBCLASSES")?;
                if waiting.iter().any(|name| name == class) {
                    defer(store, self.session, class, from, line)?;
                    continue;
                }
            }
            let kind = store.get_raw(self.session, Sym::new("__bbclasstype"))?.map(|v| v.to_text()).unwrap_or_default();
            let mut file = None;
            let mut last = class.to_owned();
            for directory in [format!("classes-{kind}"), "classes".to_owned()] {
                let is_file = class.starts_with('/') || class.ends_with(".bbclass");
                last = if is_file { class.to_owned() } else { format!("{directory}/{class}.bbclass") };
                if last.starts_with('/') {
                    file = Some(Sym::new(&last)).filter(|file| self.session.exists(*file));
                } else {
                    let path = store.get_text(self.session, "BBPATH")?.unwrap_or_default();
                    let found = self.which(&path, &last);
                    file = found.file;
                    for tried in found.tried.into_iter().filter(|tried| Some(*tried) != file) {
                        store.add_file(tried);
                    }
                }
                if file.is_some() {
                    break;
                }
            }
            let Some(file) = file else {
                let here = self.chain.last().cloned().unwrap_or_else(|| Place::line(from.as_str(), line));
                return Err(self.error(
                    &here.file,
                    here.line,
                    &format!("could not inherit {class}: there is no {last} in any layer"),
                ));
            };
            if !is_inherited(store, self.session, file)? {
                mark_inherited(store, self.session, file)?;
                self.read(store, file, true)?;
            }
        }
        Ok(())
    }

    pub(super) fn error(&self, file: &str, line: u32, message: &str) -> Error {
        let including =
            self.chain.iter().rev().filter(|place| place.file != file || place.line != line).cloned().collect();
        Error::Parse { errors: vec![(Place::line(file, line), message.to_owned())], including }
    }

    fn syntax_errors(&self, file: &str, errors: &[crate::syntax::SyntaxError]) -> Error {
        let place = |error: &crate::syntax::SyntaxError| Place {
            file: file.to_owned(),
            line: error.line,
            column: error.column,
            width: error.width,
        };
        let errors = errors.iter().map(|error| (place(error), error.message.clone())).collect();
        Error::Parse { errors, including: self.chain.iter().rev().cloned().collect() }
    }

    /// Says where an error of an evaluation happened, once.
    fn in_chain(&self, error: Error) -> Error {
        match error {
            Error::Parse { .. } | Error::Skip(_) | Error::Io { .. } | Error::Worker(_) => error,
            other => match self.chain.split_last() {
                Some((place, above)) => Error::Parse {
                    errors: vec![(place.clone(), other.to_string())],
                    including: above.iter().rev().cloned().collect(),
                },
                None => other,
            },
        }
    }
}

pub(super) fn file_var() -> Sym {
    Sym::new("FILE")
}

fn inherited_var() -> Sym {
    Sym::new("__inherit_cache")
}

fn is_inherited(store: &mut Store, session: &mut Session, file: Sym) -> Result<bool> {
    Ok(list(store.get_raw(session, inherited_var())?).iter().any(|class| class.as_str() == Some(file.as_str())))
}

fn mark_inherited(store: &mut Store, session: &mut Session, file: Sym) -> Result<()> {
    if is_inherited(store, session, file)? {
        return Ok(());
    }
    push(store, session, inherited_var(), file.as_str().into())
}

/// Notes a class to inherit when the recipe is finalised.
pub(super) fn defer(store: &mut Store, session: &mut Session, classes: &str, from: Sym, line: u32) -> Result<()> {
    let entry = Value::Tuple(vec![classes.into(), from.as_str().into(), Value::Int(line.into())].into());
    push(store, session, Sym::new("__BBDEFINHERITS"), entry)
}

pub(super) fn push(store: &mut Store, session: &mut Session, var: Sym, item: Value) -> Result<()> {
    let mut items = list(store.get_raw(session, var)?);
    items.push(item);
    store.set(session, var, Value::List(items.into()), Origin::internal())
}

/// The items of a list value; none of any other.
pub(super) fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::List(items)) => items.to_vec(),
        _ => Vec::new(),
    }
}

/// Python's `os.path.join`.
pub(crate) fn join(directory: &str, name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else if directory.ends_with('/') {
        format!("{directory}{name}")
    } else {
        format!("{directory}/{name}")
    }
}

/// Python's `os.path.abspath` of an absolute path: no `.`, `..` or doubled slash.
pub(crate) fn normal(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

pub(super) fn text_value(value: Option<Value>) -> Text {
    value.map(|value| value.to_text()).unwrap_or_default()
}

/// Whether a file's extension is the given one, in exactly these letters.
pub(crate) fn is_kind(path: &str, extension: &str) -> bool {
    path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).is_some_and(|(_, own)| own == extension)
}
