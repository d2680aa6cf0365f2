//! Functions of the metadata, run without Python.
//!
//! Asking Python costs more than most functions do. So functions are compiled to small programs (`compile`, `program`), as far as
//! they consist of what programs can say, and run here (`run`), against the same conversation: each access to the datastore is the
//! request that Python would have sent, in the same order. Where a program meets something it does not know for sure (another
//! type, the order of a set, anything that raises), it stops, and Python runs the same code with the conversation so far for its
//! script: it comes to the same point without doing anything twice, and goes on from there.

mod compile;
mod fetch;
mod functions;
mod licenses;
mod methods;
mod object;
mod operate;
mod program;
mod run;
mod store;
mod uri;

use std::path::Path;
use std::sync::{Arc, OnceLock};

pub(super) use compile::is_flat;
use licenses::Licenses;
use object::{Closure, Object};
use parking_lot::RwLock;
use program::Function;
use run::Machine;
use rustc_hash::FxHashMap;

use super::conversation::Code;
use super::memo::Outcome;
use super::session::Session;
use crate::data::Definition;
use crate::{Sym, Text, Value};

/// Why a program did not come to its end.
pub(super) enum Stop {
    /// Python must say what happens here.
    Python,
    /// The recipe is skipped, for this reason.
    Skip(Text),
}

type Known<T> = RwLock<FxHashMap<Text, Option<T>>>;

/// Functions by their texts, each compiled once; `None` for those that are Python's.
#[derive(Default)]
pub(crate) struct Functions {
    defined: Known<Arc<Function>>,
    handlers: Known<Arc<Function>>,
    expressions: Known<Arc<Function>>,
    patterns: Known<fancy_regex::Regex>,
    constants: RwLock<FxHashMap<(Text, Text), Option<Value>>>,
    licenses: OnceLock<Option<Arc<Licenses>>>,
}

fn cached<T: Clone>(known: &Known<T>, text: &Text, compile: impl FnOnce() -> Option<T>) -> Option<T> {
    if let Some(known) = known.read().get(text) {
        return known.clone();
    }
    let new = compile();
    known.write().insert(Arc::clone(text), new.clone());
    new
}

impl Functions {
    /// The one function that a text defines.
    fn function(&self, text: &Text) -> Option<Arc<Function>> {
        cached(&self.defined, text, || compile::function(text).map(Arc::new))
    }

    fn expression(&self, text: &Text) -> Option<Arc<Function>> {
        cached(&self.expressions, text, || compile::expression(text).map(Arc::new))
    }

    /// An event handler, by its class of event and its body.
    fn handler(&self, text: &Text) -> Option<Arc<Function>> {
        cached(&self.handlers, text, || {
            let (_, body) = text.split_once(' ')?;
            compile::function(&format!("def handler(e, d):\n{body}")).map(Arc::new)
        })
    }

    /// Licenses there is nothing to say about, where the layers' library is one that is known.
    fn licenses(&self, directories: &[Text]) -> Option<Arc<Licenses>> {
        self.licenses.get_or_init(|| licenses::read(directories).map(Arc::new)).clone()
    }

    /// A constant of a library's module, read from the module's file.
    fn constant(&self, directories: &[Text], module: &str, name: &str) -> Option<Value> {
        let key = (Text::from(module), Text::from(name));
        if let Some(known) = self.constants.read().get(&key) {
            return known.clone();
        }
        let file = format!("{}.py", module.replace('.', "/"));
        let mut texts = directories
            .iter()
            .filter_map(|directory| std::fs::read_to_string(Path::new(&**directory).join(&file)).ok());
        // Which of several files Python would import, Python knows.
        let text = texts.next().filter(|_| texts.next().is_none());
        let value = text.and_then(|text| compile::module_constant(&text, name));
        self.constants.write().insert(key, value.clone());
        value
    }
}

/// How far a program came.
pub(super) enum Run {
    /// To its end.
    Done(Outcome),
    /// Not to its end, and it changed nothing: it may as well not have run.
    Nothing,
    /// Not to its end; Python must go on from where the conversation is now.
    Part,
}

impl Session {
    /// Runs code without Python, as far as that goes.
    pub(super) fn run_locally(
        &mut self,
        functions: &Arc<FxHashMap<Sym, Definition>>,
        code: &Code<'_>,
        kind: &str,
    ) -> Run {
        let own = Object::Store(0);
        let known = &self.shared.functions;
        let (function, arguments) = match kind {
            "eval" => (known.expression(&code.text), vec![own]),
            "run" => (known.function(&code.text), vec![own]),
            "event" => {
                let class = code.text.split_once(' ').map_or("", |(class, _)| class);
                (known.handler(&code.text), vec![Object::Event(class.into()), own])
            }
            _ => return Run::Nothing,
        };
        let Some(function) = function.filter(|function| function.is_worth_it()) else { return Run::Nothing };
        let start = self.said();
        let mut machine = Machine::new(self, Arc::clone(functions));
        let closure = Closure { function: Arc::clone(&function), around: None };
        let result = machine.call(&closure, arguments, Vec::new());
        let writes = machine.writes;
        match result.and_then(|value| if kind == "eval" { value.printed().map(Value::Str) } else { Ok(Value::None) }) {
            Ok(value) => Run::Done(Outcome::Value(value)),
            Err(Stop::Skip(reason)) => Run::Done(Outcome::Skip(reason.to_string())),
            Err(Stop::Python) => {
                function.stopped();
                if writes == 0 && self.unsay(start) { Run::Nothing } else { Run::Part }
            }
        }
    }
}
