//! One thread's view of Python.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::conversation::{Code, Conversation};
use super::native;
use super::worker::{Launch, Worker};
use crate::data::{Evaluate, Store};
use crate::error::{Error, PythonError, Result};
use crate::persist::Seen;
use crate::shared::Shared;
use crate::signature::Generator;
use crate::{CodeRefs, Sym, Text, Value};

/// Something metadata logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Python's logging level: 20 information, 30 warning, 40 error.
    pub level: i64,
    /// The text.
    pub text: String,
}

/// A function of a layer's Python library, as signatures need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFunction {
    /// Its dotted name: `oe.utils.conditional`.
    pub name: Text,
    /// Its source text.
    pub source: Text,
    /// The line its source starts at, from 1.
    pub line: u32,
    /// Variables its decorators add.
    pub vardeps: Vec<Sym>,
    /// Variables its decorators take away.
    pub vardepsexclude: Vec<Sym>,
    /// Whether it inspects calls of itself.
    pub visits: bool,
}

/// A worker, and the stores that Python may name.
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    launch: Launch,
    worker: Option<Worker>,
    /// The conversations that are open, innermost last.
    pub(super) open: Vec<Conversation>,
    pub(super) stores: FxHashMap<u32, Store>,
    pub(super) next_handle: u32,
    /// The functions that the worker knows, by name.
    known: FxHashMap<Sym, Text>,
    known_from: Option<usize>,
    libraries: Vec<(Text, Text, Vec<String>)>,
    /// Makes signatures, when recipes are to be signed.
    pub(crate) signer: Option<Generator>,
    /// What was logged and not yet taken.
    pub messages: Vec<Message>,
    /// What was looked at outside the datastores, and not yet taken.
    pub(crate) seen: FxHashSet<Seen>,
    /// How inline expressions and functions were evaluated.
    pub evaluations: Evaluations,
    /// Evaluate in Python, too, what was evaluated without it, and compare.
    pub(super) check_native: bool,
}

/// How many inline expressions and functions were evaluated in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evaluations {
    /// Without Python.
    pub native: u64,
    /// By Python.
    pub python: u64,
    /// Of those done in both ways ([`Session::check_native`]), how many came out differently. None should.
    pub different: u64,
}

impl Session {
    /// A session whose worker starts when it is first needed.
    pub fn new(shared: Arc<Shared>, launch: Launch) -> Self {
        Self {
            shared,
            launch,
            worker: None,
            open: Vec::new(),
            stores: FxHashMap::default(),
            next_handle: 0,
            known: FxHashMap::default(),
            known_from: None,
            libraries: Vec::new(),
            signer: None,
            messages: Vec::new(),
            seen: FxHashSet::default(),
            evaluations: Evaluations::default(),
            check_native: false,
        }
    }

    /// A session for another thread, with the same libraries.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut other = Self::new(Arc::clone(&self.shared), self.launch.clone());
        other.libraries.clone_from(&self.libraries);
        other.check_native = self.check_native;
        other
    }

    /// A session with the same libraries, and with the Python that is running here.
    pub(crate) fn hand_over(&mut self) -> Self {
        let mut other = self.fork();
        other.worker = self.worker.take();
        other.known = std::mem::take(&mut self.known);
        other.next_handle = self.next_handle;
        other
    }

    /// Whether nothing is going on here, and what was going on left nothing behind.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        self.stores.clear();
        self.messages.clear();
        self.seen.clear();
        self.open.is_empty() && self.worker.is_some()
    }

    /// Whether a path exists, which is noted.
    pub(crate) fn exists(&mut self, path: Sym) -> bool {
        let found = self.shared.exists(path);
        self.seen.insert(Seen::exists(path, found));
        found
    }

    /// What a path is, which is noted.
    pub(super) fn type_at(&mut self, path: &str) -> char {
        let found = crate::persist::type_of(path);
        self.seen.insert(Seen::kind_of(path, found));
        found
    }

    /// The layers' Python libraries: directory and package.
    pub(crate) fn packages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.libraries.iter().map(|(directory, package, _)| (&**directory, &**package))
    }

    /// Whether a path that exists is a directory, which is noted.
    pub(crate) fn is_dir(&mut self, path: Sym) -> bool {
        let found = std::path::Path::new(path.as_str()).is_dir();
        self.seen.insert(Seen::directory(path, found));
        found
    }

    /// From here on, has Python evaluate every inline expression, also those that need no Python, and counts the differences.
    pub fn check_native(&mut self) {
        self.check_native = true;
    }

    /// Imports a layer's Python library (`addpylib`).
    pub fn add_library(&mut self, directory: &str, namespace: &str, modules: Vec<String>) -> Result<()> {
        let key = (Text::from(directory), Text::from(namespace), modules);
        if self.libraries.contains(&key) {
            return Ok(());
        }
        self.worker()?;
        let functions = self.import(&key, true)?;
        self.libraries.push(key);
        self.shared.add_library(functions);
        Ok(())
    }

    /// The directories that the layers' libraries are in.
    pub(super) fn library_directories(&self) -> Vec<Text> {
        self.libraries.iter().map(|(directory, ..)| Text::clone(directory)).collect()
    }

    /// Imports a library, and says what is in it if that is wanted.
    fn import(
        &mut self,
        (directory, namespace, modules): &(Text, Text, Vec<String>),
        describe: bool,
    ) -> Result<Vec<LibraryFunction>> {
        let modules = modules.iter().map(|m| Value::from(m.as_str())).collect();
        let request = vec![
            "pylib".into(),
            Value::Int(0),
            Value::Str(Arc::clone(directory)),
            Value::Str(Arc::clone(namespace)),
            Value::List(Arc::new(modules)),
            Value::Bool(describe),
        ];
        let found = self.request(request, &format!("addpylib {directory} {namespace}"))?;
        let Value::List(rows) = found else { return Ok(Vec::new()) };
        Ok(rows.iter().filter_map(library_function).collect())
    }

    /// What a library function's own inspection finds in a call of it: variable → words, and functions called.
    pub(crate) fn visit(&mut self, name: &str, call: &str) -> Result<Value> {
        self.request(vec!["visit".into(), name.into(), call.into()], name)
    }

    /// Runs an anonymous or named Python function of the metadata: `name(d)`.
    pub fn run(&mut self, store: &mut Store, name: Sym, text: &Text, file: Sym, line: u32) -> Result<()> {
        // Nobody knows an anonymous function by the name that it is given.
        let what = if name.as_str().starts_with("__anon_") { "an anonymous function" } else { name.as_str() };
        let code = Code { text: Text::clone(text), what, arguments: Arc::default() };
        let rest =
            vec![name.as_str().into(), Value::Str(Arc::clone(text)), file.as_str().into(), Value::Int(line.into())];
        self.execute(store, &code, "run", rest).map(drop).map_err(|error| match error {
            Error::TimeLimit { seconds, what: own } if own == what => {
                Error::TimeLimit { seconds, what: format!("{file}:{line}: {own}") }
            }
            other => other,
        })
    }

    /// Runs an event handler.
    pub fn handle_event(
        &mut self,
        store: &mut Store,
        handler: &Handler,
        class: &str,
        arguments: &[Value],
    ) -> Result<()> {
        let code = Code {
            text: format!("{class} {}", handler.text).into(),
            what: handler.name.as_str(),
            arguments: Arc::new(arguments.to_vec()),
        };
        let rest = vec![
            handler.name.as_str().into(),
            Value::Str(Arc::clone(&handler.text)),
            handler.file.as_str().into(),
            Value::Int(handler.line.into()),
            class.into(),
        ];
        self.execute(store, &code, "event", rest).map(drop)
    }

    fn eval_in_python(&mut self, store: &mut Store, text: &str, var: Option<Sym>) -> Result<Value> {
        let code = Code { text: text.into(), what: text, arguments: Arc::default() };
        let name = var.map_or_else(|| "<expansion>".to_owned(), |var| format!("Var <{var}>"));
        self.execute(store, &code, "eval", vec![text.into(), name.into()])
    }

    /// The files of the Python modules that are loaded, and which Python it is.
    pub(crate) fn modules(&mut self) -> Result<(String, Vec<String>)> {
        let told = self.request(vec!["modules".into()], "modules")?;
        let Value::Tuple(parts) = &told else { return Ok(Default::default()) };
        let [version, executable, Value::List(files)] = parts.as_slice() else { return Ok(Default::default()) };
        let files = files.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok((format!("{} {}", version.to_text(), executable.to_text()), files))
    }

    /// Makes stores known to Python besides the one that code runs against, until [`Session::take_back`].
    pub(crate) fn lend(&mut self, own: &mut Store, others: &mut [(Text, Store)]) {
        for store in std::iter::once(own).chain(others.iter_mut().map(|(_, store)| store)) {
            if store.handle == 0 {
                self.next_handle += 1;
                store.handle = self.next_handle;
            }
        }
        for (_, store) in others {
            let handle = store.handle;
            self.stores.insert(handle, std::mem::take(store));
            store.handle = handle;
        }
    }

    /// Returns the stores that were lent.
    pub(crate) fn take_back(&mut self, others: &mut [(Text, Store)]) {
        for (_, store) in others {
            if let Some(back) = self.stores.remove(&store.handle) {
                *store = back;
            }
        }
    }

    /// What code printed since the last look.
    pub fn take_printed(&self) -> String {
        self.worker.as_ref().map(Worker::take_printed).unwrap_or_default()
    }

    pub(super) fn worker(&mut self) -> Result<()> {
        if self.worker.is_none() {
            self.worker = Some(Worker::start(&self.launch)?);
            self.known.clear();
            self.known_from = None;
            for library in self.libraries.clone() {
                self.import(&library, false)?;
            }
        }
        Ok(())
    }

    /// Functions of the store that the worker does not know, or knows otherwise.
    pub(super) fn missing_functions(&mut self, store: &Store) -> Value {
        let from = Arc::as_ptr(&store.functions) as usize;
        if self.known_from == Some(from) && self.worker.is_some() {
            return Value::List(Arc::default());
        }
        if self.worker.is_none() {
            self.known.clear();
        }
        let mut missing = Vec::new();
        for (name, definition) in store.functions.iter() {
            let known = self.known.get(name).is_some_and(|text| Arc::ptr_eq(text, &definition.text));
            if !known {
                self.known.insert(*name, Arc::clone(&definition.text));
                missing.push(Value::Tuple(Arc::new(vec![
                    name.as_str().into(),
                    Value::Str(Arc::clone(&definition.text)),
                    definition.file.as_str().into(),
                    Value::Int(definition.line.into()),
                ])));
            }
        }
        // The map may change in place or be freed, and another be put where it was: what is known says so then.
        self.known_from = None;
        Value::List(Arc::new(missing))
    }

    pub(super) fn send(&mut self, message: &Value) -> Result<()> {
        let result = self
            .worker
            .as_mut()
            .map_or_else(|| Err(Error::Worker("is not running".into())), |worker| worker.send(message));
        self.drop_dead(result)
    }

    pub(super) fn receive(&mut self) -> Result<Value> {
        let result = self.worker.as_mut().map_or_else(|| Err(Error::Worker("is not running".into())), Worker::receive);
        self.drop_dead(result)
    }

    fn drop_dead<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.worker = None;
        }
        result
    }

    /// Drops the copies that Python no longer holds.
    pub(super) fn bury(&mut self, dead: Option<&Value>) {
        if let Some(Value::List(handles)) = dead {
            for handle in handles.iter() {
                if let Value::Int(handle) = handle
                    && let Ok(handle) = u32::try_from(*handle)
                {
                    self.stores.remove(&handle);
                }
            }
        }
    }
}

/// An event handler of the metadata.
#[derive(Clone, Debug)]
pub struct Handler {
    /// Its function.
    pub name: Sym,
    /// The function's body.
    pub text: Text,
    /// Where it is written.
    pub file: Sym,
    /// The line its body starts at.
    pub line: u32,
    /// The events it wants, by their class with `bb.event.`; empty for all.
    pub mask: Vec<String>,
}

fn library_function(row: &Value) -> Option<LibraryFunction> {
    let Value::Tuple(parts) = row else { return None };
    let [Value::Str(name), Value::Str(source), Value::Int(line), vardeps, vardepsexclude, Value::Bool(visits)] =
        parts.as_slice()
    else {
        return None;
    };
    let names = |value: &Value| match value {
        Value::List(names) => names.iter().filter_map(Value::as_str).map(Sym::new).collect(),
        _ => Vec::new(),
    };
    Some(LibraryFunction {
        name: Arc::clone(name),
        source: Arc::clone(source),
        line: u32::try_from(*line).ok()?,
        vardeps: names(vardeps),
        vardepsexclude: names(vardepsexclude),
        visits: *visits,
    })
}

pub(super) fn raised(parts: &[Value], what: &str) -> Error {
    let text = |index: usize| parts.get(index).map(|v| v.to_text().to_string()).unwrap_or_default();
    match text(1).as_str() {
        "SkipRecipe" => Error::Skip(text(2)),
        "BBHandledException" => Error::Fatal(text(2)),
        kind => Error::Python {
            what: what.to_owned(),
            error: PythonError { kind: kind.to_owned(), message: text(2), traceback: text(3) },
        },
    }
}

impl Evaluate for Session {
    fn eval(&mut self, store: &mut Store, code: &str, var: Option<Sym>) -> Result<Value> {
        let shared = Arc::clone(&self.shared);
        let program = shared.programs.get(code, &|name| shared.library_source(name));
        let native = match &program {
            Some(program) => native::evaluate(self, store, program)?,
            None => None,
        };
        if let Some(value) = native {
            self.evaluations.native += 1;
            if self.check_native {
                let python = self.eval_in_python(store, code, var)?;
                if python != value {
                    self.evaluations.different += 1;
                    let text = format!("{code} is {value:?} without Python, {python:?} with it");
                    self.messages.push(Message { level: 40, text });
                }
            }
            return Ok(value);
        }
        self.eval_in_python(store, code, var)
    }

    fn code_refs(&mut self, code: &str) -> Result<Arc<CodeRefs>> {
        Arc::clone(&self.shared).code_refs(code, self)
    }

    fn filter(&mut self, expression: &str, value: &str) -> Result<Text> {
        if let Some(known) = self.shared.filtered(expression, value) {
            return Ok(known);
        }
        let result = self.request(vec!["filter".into(), expression.into(), value.into()], expression)?.to_text();
        self.shared.remember_filtered(expression, value, &result);
        Ok(result)
    }

    fn warn(&mut self, message: String) {
        self.messages.push(Message { level: 30, text: message });
    }

    fn saw(&mut self, var: Sym) {
        self.seen.insert(Seen::setting(var));
    }
}
