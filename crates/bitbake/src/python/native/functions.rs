//! Functions that expressions call.

use std::collections::BTreeSet;

use super::Stop;
use super::paths::{dirname, join, normpath};
use super::program::Function;
use super::run::{Machine, number, printable, truth};
use super::text::words;
use crate::{Sym, Text, Value};

type Outcome<T = Value> = Result<T, Stop>;

/// Calls a function; its arguments are as many as the compiler saw.
pub(super) fn call(machine: &mut Machine<'_>, function: Function, arguments: &[Value]) -> Outcome {
    let first = arguments.first().ok_or(Stop::Python)?;
    match function {
        Function::GetVar => machine.get(first),
        Function::GetVarRaw => Ok(machine.store.get_raw(machine.session, name(first)?)?.unwrap_or(Value::None)),
        Function::GetVarFlag => machine.get_flag(first, &arguments[1]),
        Function::Expand => match first {
            Value::Str(text) => Ok(Value::Str(machine.store.expand(machine.session, text)?)),
            _ => Err(Stop::Python),
        },
        Function::Contains => machine.contains(arguments, |have, wanted| wanted.iter().all(|word| have.contains(word))),
        Function::ContainsAny => {
            machine.contains(arguments, |have, wanted| wanted.iter().any(|word| have.contains(word)))
        }
        Function::Filter => machine.filter(first, &arguments[1]),
        Function::InheritsClass => machine.inherits(first),
        Function::Conditional => {
            let value = machine.get(first)?;
            match (&value, &arguments[1]) {
                (Value::Str(value), Value::Str(wanted)) => Ok(arguments[if value == wanted { 2 } else { 3 }].clone()),
                (Value::None, Value::Str(_)) => Ok(arguments[3].clone()),
                _ => Err(Stop::Python),
            }
        }
        Function::PruneSuffix => machine.prune_suffix(first, &arguments[1]),
        Function::ToBoolean => to_boolean(first, arguments.get(1)),
        Function::VarsFromFile => vars_from_file(first),
        Function::Str => printable(first).map(Value::Str),
        Function::Int => to_int(first),
        Function::Bool => truth(first).map(Value::Bool),
        Function::Len => length(first),
        Function::Sorted => sorted(first),
        Function::Dirname => path(first).map(|path| Value::from(dirname(path))),
        Function::Basename => path(first).map(|path| Value::from(path.rsplit('/').next().unwrap_or_default())),
        Function::Normpath => path(first).map(|path| normpath(path).into()),
        Function::JoinPath => join(arguments),
    }
}

fn name(value: &Value) -> Outcome<Sym> {
    match value {
        Value::Str(name) if !name.is_empty() => Ok(Sym::new(name)),
        _ => Err(Stop::Python),
    }
}

fn path(value: &Value) -> Outcome<&str> {
    value.as_str().ok_or(Stop::Python)
}

/// Words given as text or as a list.
fn wanted_words(value: &Value) -> Outcome<BTreeSet<&str>> {
    match value {
        Value::Str(text) => Ok(words(text).ok_or(Stop::Python)?.collect()),
        Value::List(items) | Value::Tuple(items) => {
            items.iter().map(|item| item.as_str().ok_or(Stop::Python)).collect()
        }
        _ => Err(Stop::Python),
    }
}

impl Machine<'_> {
    fn get(&mut self, variable: &Value) -> Outcome {
        Ok(self.store.get(self.session, name(variable)?)?.unwrap_or(Value::None))
    }

    fn get_flag(&mut self, variable: &Value, flag: &Value) -> Outcome {
        let flag = name(flag)?;
        if flag.as_str().starts_with(['_', ':']) {
            return Err(Stop::Python);
        }
        Ok(self.store.get_flag(self.session, name(variable)?, flag)?.unwrap_or(Value::None))
    }

    /// The value of a variable as text; `None` where it is false.
    fn text(&mut self, variable: &Value) -> Outcome<Option<Text>> {
        match self.get(variable)? {
            Value::Str(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            Value::None => Ok(None),
            _ => Err(Stop::Python),
        }
    }

    fn contains(&mut self, arguments: &[Value], holds: impl Fn(&BTreeSet<&str>, &BTreeSet<&str>) -> bool) -> Outcome {
        let [variable, wanted, yes, no] = arguments else { return Err(Stop::Python) };
        let Some(value) = self.text(variable)? else { return Ok(no.clone()) };
        let have: BTreeSet<&str> = words(&value).ok_or(Stop::Python)?.collect();
        Ok(if holds(&have, &wanted_words(wanted)?) { yes.clone() } else { no.clone() })
    }

    fn filter(&mut self, variable: &Value, wanted: &Value) -> Outcome {
        let Some(value) = self.text(variable)? else { return Ok("".into()) };
        let have: BTreeSet<&str> = words(&value).ok_or(Stop::Python)?.collect();
        // Byte order is the order of Python's text, too.
        Ok(wanted_words(wanted)?.intersection(&have).copied().collect::<Vec<_>>().join(" ").into())
    }

    fn inherits(&mut self, class: &Value) -> Outcome {
        let class = class.as_str().ok_or(Stop::Python)?;
        let end = format!("/{class}.bbclass");
        match self.store.get_raw(self.session, Sym::new("__inherit_cache"))? {
            None => Ok(Value::Bool(false)),
            Some(Value::List(files)) => {
                let mut found = false;
                for file in files.iter() {
                    found |= file.as_str().ok_or(Stop::Python)?.ends_with(&end);
                }
                Ok(Value::Bool(found))
            }
            Some(_) => Err(Stop::Python),
        }
    }

    fn prune_suffix(&mut self, text: &Value, suffixes: &Value) -> Outcome {
        let mut text = text.as_str().ok_or(Stop::Python)?;
        let Value::List(suffixes) = suffixes else { return Err(Stop::Python) };
        for suffix in suffixes.iter() {
            let suffix = suffix.as_str().ok_or(Stop::Python)?;
            if !suffix.is_empty() {
                text = text.strip_suffix(suffix).unwrap_or(text);
            }
        }
        let prefix = self.text(&"MLPREFIX".into())?;
        Ok(prefix.and_then(|prefix| text.strip_prefix(&*prefix)).unwrap_or(text).into())
    }
}

fn to_boolean(value: &Value, default: Option<&Value>) -> Outcome {
    match value {
        Value::Str(text) if !text.is_empty() => match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "1" | "true" => Ok(Value::Bool(true)),
            "n" | "no" | "0" | "false" => Ok(Value::Bool(false)),
            _ => Err(Stop::Python),
        },
        Value::None | Value::Str(_) => Ok(default.cloned().unwrap_or(Value::None)),
        _ => Err(Stop::Python),
    }
}

/// `[PN, PV, PR]` of a recipe's file name.
fn vars_from_file(file: &Value) -> Outcome {
    let file = path(file)?;
    let base = file.rsplit('/').next().unwrap_or_default();
    let Some(stem) =
        base.strip_suffix(".bbappend").or_else(|| base.strip_suffix(".bb")).filter(|stem| !stem.is_empty())
    else {
        return Err(Stop::Python);
    };
    let mut parts: Vec<Value> = stem.split('_').map(Value::from).collect();
    if parts.len() > 3 {
        return Err(Stop::Python);
    }
    parts.resize(3, Value::None);
    Ok(Value::List(parts.into()))
}

fn to_int(value: &Value) -> Outcome {
    let int = match value {
        Value::Str(text) if text.is_ascii() && !text.contains('_') => text.trim().parse().ok(),
        other => number(other),
    };
    int.map(Value::Int).ok_or(Stop::Python)
}

fn length(value: &Value) -> Outcome {
    let len = match value {
        Value::Str(text) => text.chars().count(),
        Value::List(items) | Value::Tuple(items) => items.len(),
        _ => return Err(Stop::Python),
    };
    i64::try_from(len).map(Value::Int).map_err(|_| Stop::Python)
}

fn sorted(value: &Value) -> Outcome {
    let (Value::List(items) | Value::Tuple(items)) = value else { return Err(Stop::Python) };
    let mut items: Vec<&str> = items.iter().map(|item| item.as_str().ok_or(Stop::Python)).collect::<Outcome<_>>()?;
    items.sort_unstable();
    Ok(Value::List(items.into_iter().map(Value::from).collect::<Vec<_>>().into()))
}
