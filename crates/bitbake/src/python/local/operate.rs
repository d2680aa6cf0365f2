//! Operators on objects.

use std::rc::Rc;
use std::sync::Arc;

use super::super::native::Comparison;
use super::Stop;
use super::object::Object;
use super::program::Operator;
use super::run::Outcome;
use crate::{Text, Value};

pub(super) fn put(items: &mut Vec<(Text, Object)>, key: Text, value: Object) {
    match items.iter_mut().find(|(known, _)| *known == key) {
        Some(entry) => entry.1 = value,
        None => items.push((key, value)),
    }
}

pub(super) fn set_item(of: &Object, index: &Object, value: Object) -> Outcome<()> {
    match of {
        Object::Dict(items) => put(&mut items.borrow_mut(), Arc::clone(index.text()?), value),
        Object::List(items) => {
            let mut items = items.borrow_mut();
            let at = position(index.number().ok_or(Stop::Python)?, items.len()).ok_or(Stop::Python)?;
            items[at] = value;
        }
        _ => return Err(Stop::Python),
    }
    Ok(())
}

/// A position counted from the start, or from the end where it is negative.
pub(super) fn position(index: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let index = if index < 0 { index + len } else { index };
    usize::try_from(index).ok().filter(|_| index < len)
}

pub(super) fn item(of: &Object, index: &Object) -> Outcome {
    let at = |len: usize| index.number().and_then(|index| position(index, len)).ok_or(Stop::Python);
    match of {
        Object::List(items) => {
            let items = items.borrow();
            Ok(items[at(items.len())?].clone())
        }
        Object::Tuple(items) => Ok(items[at(items.len())?].clone()),
        Object::Str(text) if text.is_ascii() => {
            let at = at(text.len())?;
            Ok(Object::Str(text[at..=at].into()))
        }
        Object::Dict(items) => {
            let key = index.text()?;
            items.borrow().iter().find(|(known, _)| known == key).map(|(_, value)| value.clone()).ok_or(Stop::Python)
        }
        _ => Err(Stop::Python),
    }
}

pub(super) fn slice(of: &Object, from: Option<&Object>, to: Option<&Object>) -> Outcome {
    let len = match of {
        Object::List(items) => items.borrow().len(),
        Object::Tuple(items) => items.len(),
        Object::Str(text) if text.is_ascii() => text.len(),
        _ => return Err(Stop::Python),
    };
    let signed = i64::try_from(len).map_err(|_| Stop::Python)?;
    let bound = |value: Option<&Object>, default: i64| -> Outcome<usize> {
        let index = match value {
            None | Some(Object::None) => default,
            Some(value) => value.number().ok_or(Stop::Python)?,
        };
        let index = if index < 0 { index.saturating_add(signed) } else { index };
        usize::try_from(index.clamp(0, signed)).map_err(|_| Stop::Python)
    };
    let (from, to) = (bound(from, 0)?, bound(to, signed)?);
    let to = to.max(from);
    Ok(match of {
        Object::List(items) => Object::list(items.borrow()[from..to].to_vec()),
        Object::Tuple(items) => Object::Tuple(Rc::new(items[from..to].to_vec())),
        Object::Str(text) => Object::Str(text[from..to].into()),
        _ => return Err(Stop::Python),
    })
}

pub(super) fn compare(comparison: Comparison, left: &Object, right: &Object) -> Outcome<bool> {
    Ok(match comparison {
        Comparison::Equal => left.equals(right)?,
        Comparison::NotEqual => !left.equals(right)?,
        Comparison::In => right.contains(left)?,
        Comparison::NotIn => !right.contains(left)?,
        Comparison::IsNone => matches!(left, Object::None),
        Comparison::IsNotNone => !matches!(left, Object::None),
        ordered => {
            let order = match (left.number(), right.number(), left, right) {
                (Some(left), Some(right), ..) => left.cmp(&right),
                (_, _, Object::Str(left), Object::Str(right)) => left.cmp(right),
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

pub(super) fn binary(operator: Operator, left: &Object, right: &Object) -> Outcome {
    if let (Some(left), Some(right)) = (left.number(), right.number()) {
        let number = match operator {
            Operator::Add => left.checked_add(right),
            Operator::Subtract => left.checked_sub(right),
            Operator::Multiply => left.checked_mul(right),
            // Python rounds down; Euclid does for what is positive.
            Operator::Divide if right > 0 => left.checked_div_euclid(right),
            Operator::Modulo if right > 0 => left.checked_rem_euclid(right),
            _ => None,
        };
        return number.map(Object::Int).ok_or(Stop::Python);
    }
    match (left, operator, right) {
        (Object::Str(left), Operator::Add, Object::Str(right)) => Ok(Object::Str([&**left, &**right].concat().into())),
        (Object::Str(format), Operator::Modulo, values) => format_text(format, values),
        (Object::List(left), Operator::Add, Object::List(right)) => {
            Ok(Object::list([&left.borrow()[..], &right.borrow()[..]].concat()))
        }
        (Object::Tuple(left), Operator::Add, Object::Tuple(right)) => {
            Ok(Object::Tuple(Rc::new([&left[..], &right[..]].concat())))
        }
        (Object::Set(left), _, Object::Set(right)) => {
            let (left, right) = (left.borrow(), right.borrow());
            Ok(Object::set(match operator {
                Operator::And => left.intersection(&right).cloned().collect(),
                Operator::Or => left.union(&right).cloned().collect(),
                Operator::Subtract => left.difference(&right).cloned().collect(),
                _ => return Err(Stop::Python),
            }))
        }
        _ => Err(Stop::Python),
    }
}

/// `%` on text, with `%s` and `%%` only.
pub(super) fn format_text(format: &str, values: &Object) -> Outcome {
    let values = match values {
        Object::Tuple(values) => values.to_vec(),
        Object::Str(_) | Object::Int(_) | Object::Bool(_) | Object::None => vec![values.clone()],
        _ => return Err(Stop::Python),
    };
    let mut values = values.iter();
    let mut result = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            result.push('%');
            rest = after;
        } else {
            let after = after.strip_prefix('s').ok_or(Stop::Python)?;
            result.push_str(&values.next().ok_or(Stop::Python)?.printed()?);
            rest = after;
        }
    }
    result.push_str(rest);
    if values.next().is_some() { Err(Stop::Python) } else { Ok(Object::Str(result.into())) }
}

/// Values of a request.
pub(super) fn texts(values: &[Object]) -> Outcome<Vec<Value>> {
    values.iter().map(Object::value).collect()
}
