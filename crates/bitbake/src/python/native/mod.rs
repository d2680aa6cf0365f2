//! The commonest inline expressions, evaluated without Python.
//!
//! Most expressions are of a few forms: a test of a word in a variable, a variable with a default, a replaced character. `compile`
//! turns such an expression into a small program, and leaves all others to Python; `run` evaluates it, and hands an expression
//! back to Python wherever it meets something it does not know for sure: another type, an index out of range, anything that would
//! raise. So the outcome is Python's in every case; only whoever waits for it can tell.

mod compile;
mod functions;
pub(super) mod paths;
mod program;
mod run;
mod text;

use std::sync::Arc;

pub(super) use compile::comparison;
use parking_lot::RwLock;
pub(super) use program::{Comparison, Method, Program};
use rustc_hash::FxHashMap;
pub(super) use text::{method as text_method, words};

use super::Session;
use crate::data::Store;
use crate::error::Result;
use crate::{Text, Value};

/// Programs by the text of their expressions; `None` for those that are Python's.
#[derive(Default)]
pub(crate) struct Programs {
    known: RwLock<FxHashMap<Text, Option<Arc<Program>>>>,
}

impl Programs {
    /// The program for an expression, compiled at its first use.
    pub(super) fn get(&self, code: &str, library: &dyn Fn(&str) -> Option<Text>) -> Option<Arc<Program>> {
        if let Some(known) = self.known.read().get(code) {
            return known.clone();
        }
        let program = compile::compile(code, library).map(Arc::new);
        self.known.write().insert(code.into(), program.clone());
        program
    }
}

/// Why a program did not give a value.
pub(super) enum Stop {
    /// Python must say what happens here.
    Python,
    /// A variable could not be expanded.
    Failed(crate::Error),
}

impl From<crate::Error> for Stop {
    fn from(error: crate::Error) -> Self {
        Self::Failed(error)
    }
}

/// The value of an expression as text, or `None` where Python must evaluate it.
pub(super) fn evaluate(session: &mut Session, store: &mut Store, program: &Program) -> Result<Option<Value>> {
    match run::run(session, store, program) {
        Ok(value) => Ok(Some(Value::Str(value.to_text()))),
        Err(Stop::Python) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}
