//! Evaluating a program.

use std::sync::Arc;

use super::program::{Comparison, Node, Program};
use super::{Stop, functions, text};
use crate::data::Store;
use crate::python::Session;
use crate::{Text, Value};

type Outcome<T = Value> = Result<T, Stop>;

/// Evaluates a program against a store.
pub(super) fn run(session: &mut Session, store: &mut Store, program: &Program) -> Outcome {
    let mut machine = Machine { session, store, locals: vec![Value::None; program.locals] };
    machine.value(&program.root)
}

pub(super) struct Machine<'a> {
    pub(super) session: &'a mut Session,
    pub(super) store: &'a mut Store,
    locals: Vec<Value>,
}

impl Machine<'_> {
    fn value(&mut self, node: &Node) -> Outcome {
        Ok(match node {
            Node::Constant(value) => value.clone(),
            Node::Local(at) => self.locals[*at].clone(),
            Node::List(nodes) => Value::List(self.values(nodes)?.into()),
            Node::Tuple(nodes) => Value::Tuple(self.values(nodes)?.into()),
            Node::Concat(nodes) => {
                let mut result = String::new();
                for value in self.values(nodes)? {
                    result.push_str(&printable(&value)?);
                }
                result.into()
            }
            Node::And(nodes) => self.choose(nodes, false)?,
            Node::Or(nodes) => self.choose(nodes, true)?,
            Node::Not(node) => Value::Bool(!self.truth(node)?),
            Node::If { test, body, other } => {
                if self.truth(test)? {
                    self.value(body)?
                } else {
                    self.value(other)?
                }
            }
            Node::Compare { left, rest } => self.compare(left, rest)?,
            Node::Add(left, right) => add(&self.value(left)?, &self.value(right)?)?,
            Node::Format(left, right) => format_text(&self.value(left)?, &self.value(right)?)?,
            Node::Index(of, index) => index_of(&self.value(of)?, &self.value(index)?)?,
            Node::Slice { of, from, to } => {
                let of = self.value(of)?;
                let from = from.as_deref().map(|node| self.value(node)).transpose()?;
                let to = to.as_deref().map(|node| self.value(node)).transpose()?;
                slice(&of, from.as_ref(), to.as_ref())?
            }
            Node::Call(function, arguments) => {
                let arguments = self.values(arguments)?;
                functions::call(self, *function, &arguments)?
            }
            Node::Method(method, of, arguments) => {
                let of = self.value(of)?;
                let arguments = self.values(arguments)?;
                text::method(*method, &of, &arguments)?
            }
            Node::Each { local, over, conditions, element } => {
                let over = self.value(over)?;
                self.each(*local, &over, conditions, element)?
            }
        })
    }

    fn values(&mut self, nodes: &[Node]) -> Outcome<Vec<Value>> {
        nodes.iter().map(|node| self.value(node)).collect()
    }

    fn truth(&mut self, node: &Node) -> Outcome<bool> {
        truth(&self.value(node)?)
    }

    /// `and` and `or`: the first value that decides, else the last.
    fn choose(&mut self, nodes: &[Node], decides: bool) -> Outcome {
        let mut value = Value::None;
        for node in nodes {
            value = self.value(node)?;
            if truth(&value)? == decides {
                break;
            }
        }
        Ok(value)
    }

    fn compare(&mut self, left: &Node, rest: &[(Comparison, Node)]) -> Outcome {
        let mut left = self.value(left)?;
        for (comparison, right) in rest {
            let right = self.value(right)?;
            if !compare(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn each(&mut self, local: usize, over: &Value, conditions: &[Node], element: &Node) -> Outcome {
        let (Value::List(items) | Value::Tuple(items)) = over else { return Err(Stop::Python) };
        let mut result = Vec::new();
        'items: for item in items.iter() {
            self.locals[local] = item.clone();
            for condition in conditions {
                if !self.truth(condition)? {
                    continue 'items;
                }
            }
            result.push(self.value(element)?);
        }
        Ok(Value::List(result.into()))
    }
}

/// Truth, of the kinds whose truth is known here.
pub(super) fn truth(value: &Value) -> Outcome<bool> {
    match value {
        Value::Object(_) => Err(Stop::Python),
        value => Ok(value.truthy()),
    }
}

/// `str(value)`, of the kinds whose text has one form only.
pub(super) fn printable(value: &Value) -> Outcome<Text> {
    match value {
        Value::Str(_) | Value::Int(_) | Value::Bool(_) | Value::None => Ok(value.to_text()),
        _ => Err(Stop::Python),
    }
}

/// A number; truth values are numbers too.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(int) => Some(*int),
        Value::Bool(truth) => Some(i64::from(*truth)),
        _ => None,
    }
}

fn equal(left: &Value, right: &Value) -> Outcome<bool> {
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return Ok(left == right);
    }
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => Ok(left == right),
        (Value::None, Value::None) => Ok(true),
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                if !equal(left, right)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (left, right) if simple(left) && simple(right) => Ok(false),
        _ => Err(Stop::Python),
    }
}

/// Kinds of which values of different kinds are never equal, numbers aside.
fn simple(value: &Value) -> bool {
    matches!(value, Value::None | Value::Bool(_) | Value::Int(_) | Value::Str(_) | Value::List(_) | Value::Tuple(_))
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> Outcome<bool> {
    Ok(match comparison {
        Comparison::Equal => equal(left, right)?,
        Comparison::NotEqual => !equal(left, right)?,
        Comparison::In => contains(right, left)?,
        Comparison::NotIn => !contains(right, left)?,
        Comparison::IsNone => *left == Value::None,
        Comparison::IsNotNone => *left != Value::None,
        ordered => {
            let order = match (number(left), number(right), left, right) {
                (Some(left), Some(right), ..) => left.cmp(&right),
                (_, _, Value::Str(left), Value::Str(right)) => left.cmp(right),
                _ => return Err(Stop::Python),
            };
            match ordered {
                Comparison::Less => order.is_lt(),
                Comparison::LessOrEqual => order.is_le(),
                Comparison::Greater => order.is_gt(),
                _ => order.is_ge(),
            }
        }
    })
}

fn contains(whole: &Value, part: &Value) -> Outcome<bool> {
    match (whole, part) {
        (Value::Str(whole), Value::Str(part)) => Ok(whole.contains(&**part)),
        (Value::List(items) | Value::Tuple(items), part) => {
            for item in items.iter() {
                if equal(item, part)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(Stop::Python),
    }
}

fn add(left: &Value, right: &Value) -> Outcome {
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => Ok([&**left, &**right].concat().into()),
        (Value::List(left), Value::List(right)) => Ok(Value::List(Arc::new([&left[..], &right[..]].concat()))),
        (Value::Int(left), Value::Int(right)) => left.checked_add(*right).map(Value::Int).ok_or(Stop::Python),
        _ => Err(Stop::Python),
    }
}

/// `%` on text, with `%s` and `%%` only.
fn format_text(format: &Value, values: &Value) -> Outcome {
    let Value::Str(format) = format else { return Err(Stop::Python) };
    let single = [values.clone()];
    let mut values = match values {
        Value::Tuple(values) => values.iter(),
        Value::Str(_) | Value::Int(_) | Value::Bool(_) | Value::None => single.iter(),
        _ => return Err(Stop::Python),
    };
    let mut result = String::new();
    let mut rest: &str = format;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            result.push('%');
            rest = after;
        } else if let Some(after) = after.strip_prefix('s') {
            result.push_str(&printable(values.next().ok_or(Stop::Python)?)?);
            rest = after;
        } else {
            return Err(Stop::Python);
        }
    }
    result.push_str(rest);
    if values.next().is_some() { Err(Stop::Python) } else { Ok(result.into()) }
}

/// A position counted from the start, or from the end where it is negative.
fn position(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let index = if index < 0 { index + len } else { index };
    usize::try_from(index).ok().filter(|_| index < len)
}

fn index_of(of: &Value, index: &Value) -> Outcome {
    let index = number(index).ok_or(Stop::Python)?;
    match of {
        Value::List(items) | Value::Tuple(items) => {
            position(index, items.len()).map(|at| items[at].clone()).ok_or(Stop::Python)
        }
        Value::Str(text) if text.is_ascii() => {
            position(index, text.len()).map(|at| Value::from(&text[at..=at])).ok_or(Stop::Python)
        }
        _ => Err(Stop::Python),
    }
}

fn slice(of: &Value, from: Option<&Value>, to: Option<&Value>) -> Outcome {
    let len = match of {
        Value::List(items) | Value::Tuple(items) => items.len(),
        Value::Str(text) if text.is_ascii() => text.len(),
        _ => return Err(Stop::Python),
    };
    let signed = i64::try_from(len).map_err(|_| Stop::Python)?;
    let bound = |value: Option<&Value>, default: i64| -> Outcome<usize> {
        let index = match value {
            None | Some(Value::None) => default,
            Some(value) => number(value).ok_or(Stop::Python)?,
        };
        let index = if index < 0 { index.saturating_add(signed) } else { index };
        usize::try_from(index.clamp(0, signed)).map_err(|_| Stop::Python)
    };
    let (from, to) = (bound(from, 0)?, bound(to, signed)?);
    let to = to.max(from);
    Ok(match of {
        Value::List(items) => Value::List(items[from..to].to_vec().into()),
        Value::Tuple(items) => Value::Tuple(items[from..to].to_vec().into()),
        Value::Str(text) => Value::from(&text[from..to]),
        _ => return Err(Stop::Python),
    })
}
