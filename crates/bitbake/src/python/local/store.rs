//! Methods of datastores: each is the request that the runtime's `DataSmart` sends.

use std::sync::Arc;

use super::super::memo::Answer;
use super::Stop;
use super::object::Object;
use super::run::{Machine, Outcome};
use crate::{Text, Value};

/// Where a write was written: nowhere that is known.
fn nowhere() -> [Value; 2] {
    ["".into(), Value::Int(0)]
}

fn number(store: usize) -> Value {
    Value::Int(i64::try_from(store).unwrap_or(i64::MAX))
}

impl Machine<'_> {
    /// Asks, as Python would.
    pub(super) fn ask(&mut self, request: Vec<Value>) -> Outcome {
        match self.session.perform_noted(request) {
            Answer::Value(value) => Object::of(&value),
            Answer::Store(number) => Ok(Object::Store(number)),
            Answer::Refused(..) => Err(Stop::Python),
        }
    }

    fn tell(&mut self, mut request: Vec<Value>) -> Outcome {
        request.extend(nowhere());
        self.writes += 1;
        self.ask(request)
    }

    pub(super) fn get(&mut self, store: usize, var: &Text, expand: bool) -> Outcome {
        // The user's environment is another datastore.
        if **var == *"BB_ORIGENV" {
            return Err(Stop::Python);
        }
        let no = Value::Bool(false);
        self.ask(vec!["get".into(), number(store), Value::Str(Arc::clone(var)), Value::Bool(expand), no.clone(), no])
    }

    pub(super) fn get_flag(&mut self, store: usize, var: &Text, flag: &Text, expand: bool) -> Outcome {
        if flag.is_empty() {
            return Ok(Object::None);
        }
        let no = Value::Bool(false);
        let (var, flag) = (Value::Str(Arc::clone(var)), Value::Str(Arc::clone(flag)));
        self.ask(vec!["getflag".into(), number(store), var, flag, Value::Bool(expand), no.clone(), no])
    }

    pub(super) fn set(&mut self, store: usize, var: &str, value: Value, parsing: bool) -> Outcome {
        self.tell(vec!["set".into(), number(store), var.into(), value, Value::Bool(parsing)])
    }

    pub(super) fn set_flag(&mut self, store: usize, var: &str, flag: &str, value: Value) -> Outcome {
        self.tell(vec!["setflag".into(), number(store), var.into(), flag.into(), value])
    }

    pub(super) fn delete_flag(&mut self, store: usize, var: &str, flag: &str) -> Outcome {
        self.tell(vec!["delflag".into(), number(store), var.into(), flag.into()])
    }

    pub(super) fn delete(&mut self, store: usize, var: &str) -> Outcome {
        self.tell(vec!["del".into(), number(store), var.into()])
    }

    pub(super) fn copy(&mut self, store: usize) -> Outcome {
        self.ask(vec!["copy".into(), number(store)])
    }

    /// `d.name(…)`.
    pub(super) fn store_method(
        &mut self,
        store: usize,
        name: &str,
        plain: &[Object],
        named: &[(Text, Object)],
    ) -> Outcome {
        let expand = match named {
            [] => None,
            [(name, value)] if **name == *"expand" => Some(value),
            _ => return Err(Stop::Python),
        };
        let text = |at: usize| plain.get(at).ok_or(Stop::Python)?.text().map(Arc::clone);
        let wants = |value: Option<&Object>| value.or(expand).map_or(Ok(true), Object::truth);
        match (name, plain) {
            ("getVar", [_] | [_, _]) => return self.get(store, &text(0)?, wants(plain.get(1))?),
            ("getVarFlag", [_, Object::None]) => return Ok(Object::None),
            ("getVarFlag", [_, _] | [_, _, _]) => {
                return self.get_flag(store, &text(0)?, &text(1)?, wants(plain.get(2))?);
            }
            _ if expand.is_some() => return Err(Stop::Python),
            _ => {}
        }
        let value = |at: usize| plain.get(at).ok_or(Stop::Python)?.value();
        match (name, plain.len()) {
            ("setVar", 2) => self.set(store, &text(0)?, value(1)?, false),
            ("appendVar", 2) => self.set(store, &format!("{}:append", text(0)?), value(1)?, true),
            ("prependVar", 2) => self.set(store, &format!("{}:prepend", text(0)?), value(1)?, true),
            ("delVar", 1) => self.delete(store, &text(0)?),
            ("renameVar", 2) => {
                self.tell(vec!["rename".into(), number(store), Value::Str(text(0)?), Value::Str(text(1)?)])
            }
            ("setVarFlag", 3) => self.set_flag(store, &text(0)?, &text(1)?, value(2)?),
            ("appendVarFlag" | "prependVarFlag", 3) => {
                let operation = if name == "appendVarFlag" { "appendflag" } else { "prependflag" };
                let (var, flag) = (Value::Str(text(0)?), Value::Str(text(1)?));
                self.tell(vec![operation.into(), number(store), var, flag, Value::Str(text(2)?)])
            }
            ("delVarFlag", 2) => self.delete_flag(store, &text(0)?, &text(1)?),
            ("getVarFlags", 1) => {
                let none = Value::List(Arc::default());
                let flags =
                    self.ask(vec!["flags".into(), number(store), Value::Str(text(0)?), none, Value::Bool(false)])?;
                Ok(if flags.truth()? { flags } else { Object::None })
            }
            ("setVarFilter", 2) => {
                self.writes += 1;
                self.ask(vec!["setfilter".into(), number(store), Value::Str(text(0)?), Value::Str(text(1)?)])
            }
            ("expand", 1) => match &plain[0] {
                Object::Str(text) if text.contains("${") => {
                    self.ask(vec!["expand".into(), number(store), Value::Str(Arc::clone(text)), Value::None])
                }
                other => Ok(other.clone()),
            },
            ("createCopy", 0) => self.copy(store),
            _ => Err(Stop::Python),
        }
    }
}
