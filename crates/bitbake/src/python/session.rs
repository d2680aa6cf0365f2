//! One thread's view of Python.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::worker::{Launch, Worker};
use crate::data::{Evaluate, Store};
use crate::error::{Error, PythonError, Result};
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
}

impl Session {
    /// A session whose worker starts when it is first needed.
    pub fn new(shared: Arc<Shared>, launch: Launch) -> Self {
        Self {
            shared,
            launch,
            worker: None,
            stores: FxHashMap::default(),
            next_handle: 0,
            known: FxHashMap::default(),
            known_from: None,
            libraries: Vec::new(),
            signer: None,
            messages: Vec::new(),
        }
    }

    /// A session for another thread, with the same libraries.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut other = Self::new(Arc::clone(&self.shared), self.launch.clone());
        other.libraries.clone_from(&self.libraries);
        other
    }

    /// Imports a layer's Python library (`addpylib`).
    pub fn add_library(&mut self, directory: &str, namespace: &str, modules: Vec<String>) -> Result<()> {
        let key = (Text::from(directory), Text::from(namespace), modules);
        if self.libraries.contains(&key) {
            return Ok(());
        }
        self.worker()?;
        let functions = self.import(&key)?;
        self.libraries.push(key);
        self.shared.add_library(functions);
        Ok(())
    }

    fn import(&mut self, (directory, namespace, modules): &(Text, Text, Vec<String>)) -> Result<Vec<LibraryFunction>> {
        let modules = modules.iter().map(|m| Value::from(m.as_str())).collect();
        let request = vec![
            "pylib".into(),
            Value::Int(0),
            Value::Str(Arc::clone(directory)),
            Value::Str(Arc::clone(namespace)),
            Value::List(Arc::new(modules)),
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
        let functions = self.missing_functions(store);
        let build = |handle| {
            vec![
                "run".into(),
                handle,
                name.as_str().into(),
                Value::Str(Arc::clone(text)),
                file.as_str().into(),
                Value::Int(line.into()),
                functions,
            ]
        };
        self.with_store(store, build, name.as_str()).map(drop)
    }

    /// Runs an event handler.
    pub fn handle_event(
        &mut self,
        store: &mut Store,
        handler: &Handler,
        class: &str,
        arguments: Vec<Value>,
    ) -> Result<()> {
        let functions = self.missing_functions(store);
        let build = |handle| {
            vec![
                "event".into(),
                handle,
                handler.name.as_str().into(),
                Value::Str(Arc::clone(&handler.text)),
                handler.file.as_str().into(),
                Value::Int(handler.line.into()),
                functions,
                class.into(),
                Value::List(Arc::new(arguments)),
            ]
        };
        self.with_store(store, build, handler.name.as_str()).map(drop)
    }

    fn with_store(&mut self, store: &mut Store, build: impl FnOnce(Value) -> Vec<Value>, what: &str) -> Result<Value> {
        if store.handle == 0 {
            self.next_handle += 1;
            store.handle = self.next_handle;
        }
        let handle = store.handle;
        let mut request = build(Value::Int(handle.into()));
        self.stores.insert(handle, std::mem::take(store));
        let result = self.request(std::mem::take(&mut request), what);
        if let Some(back) = self.stores.remove(&handle) {
            *store = back;
        }
        result
    }

    fn worker(&mut self) -> Result<()> {
        if self.worker.is_none() {
            self.worker = Some(Worker::start(&self.launch)?);
            self.known.clear();
            self.known_from = None;
            for library in self.libraries.clone() {
                self.import(&library)?;
            }
        }
        Ok(())
    }

    /// Functions of the store that the worker does not know, or knows otherwise.
    fn missing_functions(&mut self, store: &Store) -> Value {
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

    fn request(&mut self, request: Vec<Value>, what: &str) -> Result<Value> {
        self.worker()?;
        self.send(&Value::Tuple(Arc::new(request)))?;
        loop {
            let message = self.receive()?;
            let Value::Tuple(parts) = &message else { return Err(Error::Worker("a message is not a tuple".into())) };
            match parts.first().and_then(Value::as_str) {
                Some("r") => {
                    self.bury(parts.get(2));
                    return Ok(parts.get(1).cloned().unwrap_or(Value::None));
                }
                Some("e") => {
                    self.bury(parts.get(4));
                    return Err(raised(parts, what));
                }
                Some("c") => {
                    let answer = match self.serve(&parts[1..]) {
                        Ok(value) => vec!["v".into(), value],
                        Err(error) => refusal(&error),
                    };
                    self.send(&Value::Tuple(Arc::new(answer)))?;
                }
                _ => return Err(Error::Worker("a message of an unknown kind".into())),
            }
        }
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let result = self
            .worker
            .as_mut()
            .map_or_else(|| Err(Error::Worker("is not running".into())), |worker| worker.send(message));
        self.drop_dead(result)
    }

    fn receive(&mut self) -> Result<Value> {
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
    fn bury(&mut self, dead: Option<&Value>) {
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

fn raised(parts: &[Value], what: &str) -> Error {
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

fn refusal(error: &Error) -> Vec<Value> {
    let (kind, text) = match error {
        Error::Skip(reason) => ("skip", reason.clone()),
        Error::Expansion { .. } => ("expansion", error.to_string()),
        Error::Parse { .. } => ("parse", error.to_string()),
        _ => ("fatal", error.to_string()),
    };
    vec!["x".into(), kind.into(), text.into()]
}

impl Evaluate for Session {
    fn eval(&mut self, store: &mut Store, code: &str, var: Option<Sym>) -> Result<Value> {
        let functions = self.missing_functions(store);
        let name = var.map_or_else(|| "<expansion>".to_owned(), |var| format!("Var <{var}>"));
        let build = |handle| vec!["eval".into(), handle, code.into(), name.into(), functions];
        self.with_store(store, build, code)
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
}
