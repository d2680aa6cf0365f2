//! Methods and attributes of objects.

use std::rc::Rc;
use std::sync::Arc;

use super::super::native::{Method, text_method};
use super::Stop;
use super::object::Object;
use super::operate::put;
use super::run::{Machine, Outcome};
use crate::{Text, Value};

impl Machine<'_> {
    /// `of.name`.
    pub(super) fn attribute(&mut self, of: &Object, name: &str) -> Outcome {
        match of {
            Object::Event(class) => self.event_attribute(class, name),
            Object::Uri(uri) => Ok(match name {
                "scheme" => Object::Str(Arc::clone(&uri.scheme)),
                "path" => Object::Str(Arc::clone(&uri.path)),
                "params" => {
                    let value = |value: &Option<Text>| value.clone().map_or(Object::None, Object::Str);
                    Object::dict(uri.parameters.iter().map(|(name, text)| (Arc::clone(name), value(text))).collect())
                }
                _ => return Err(Stop::Python),
            }),
            _ => Err(Stop::Python),
        }
    }

    /// What the event was made of: Python asks for it when the first attribute is looked at.
    fn event_attribute(&mut self, class: &str, name: &str) -> Outcome {
        let at = match (class, name) {
            ("RecipePreDeferredInherits", "inherits") | ("RecipeTaskPreProcess", "tasklist") => 1,
            ("RecipePreDeferredInherits" | "RecipeTaskPreProcess", "fn") => 0,
            _ => return Err(Stop::Python),
        };
        if self.event.is_none() {
            let Object::List(arguments) = self.ask(vec!["arguments".into()])? else { return Err(Stop::Python) };
            self.event = Some(arguments);
        }
        self.event.as_ref().and_then(|arguments| arguments.borrow().get(at).cloned()).ok_or(Stop::Python)
    }

    /// `of.name(…)`.
    pub(super) fn method(&mut self, of: &Object, name: &str, plain: &[Object], named: &[(Text, Object)]) -> Outcome {
        if let Object::Store(store) = of {
            return self.store_method(*store, name, plain, named);
        }
        if !named.is_empty() {
            return Err(Stop::Python);
        }
        match of {
            Object::Str(text) => on_text(text, name, plain),
            Object::List(items) => {
                let mut items = items.try_borrow_mut().map_err(|_| Stop::Python)?;
                on_list(&mut items, name, plain)
            }
            Object::Dict(items) => {
                let more = match (name, plain) {
                    ("update", [Object::Dict(more)]) if !Rc::ptr_eq(items, more) => more.borrow().clone(),
                    _ => Vec::new(),
                };
                on_dict(&mut items.borrow_mut(), name, plain, more)
            }
            Object::Set(items) => {
                let own = items.borrow().clone();
                on_set(items, &own, name, plain)
            }
            Object::Pattern(pattern) => match (name, plain) {
                ("match", [Object::Str(text)]) => super::functions::found(pattern, text, true),
                ("search", [Object::Str(text)]) => super::functions::found(pattern, text, false),
                _ => Err(Stop::Python),
            },
            _ => Err(Stop::Python),
        }
    }
}

fn on_text(text: &Text, name: &str, arguments: &[Object]) -> Outcome {
    match (name, arguments) {
        ("join", [items]) => {
            let mut result = String::new();
            for (at, item) in items.items()?.iter().enumerate() {
                result.push_str(if at == 0 { "" } else { text });
                result.push_str(item.text()?);
            }
            return Ok(Object::Str(result.into()));
        }
        ("startswith" | "endswith", [Object::Tuple(parts)]) => {
            for part in parts.iter() {
                let part = part.text()?;
                if if name == "startswith" { text.starts_with(&**part) } else { text.ends_with(&**part) } {
                    return Ok(Object::Bool(true));
                }
            }
            return Ok(Object::Bool(false));
        }
        ("format", values) => return formatted(text, values),
        ("count", [Object::Str(part)]) if !part.is_empty() => {
            let count = i64::try_from(text.matches(&**part).count()).map_err(|_| Stop::Python)?;
            return Ok(Object::Int(count));
        }
        ("partition", [Object::Str(by)]) if !by.is_empty() => {
            let (before, by, after) = match text.split_once(&**by) {
                Some((before, after)) => (before, &**by, after),
                None => (&**text, "", ""),
            };
            return Ok(Object::Tuple(Rc::new([before, by, after].map(|part| Object::Str(part.into())).to_vec())));
        }
        ("removeprefix", [Object::Str(part)]) => {
            return Ok(Object::Str(text.strip_prefix(&**part).unwrap_or(text).into()));
        }
        ("removesuffix", [Object::Str(part)]) => {
            return Ok(Object::Str(text.strip_suffix(&**part).unwrap_or(text).into()));
        }
        _ => {}
    }
    let method = Method::of(name, arguments.len()).ok_or(Stop::Python)?;
    let arguments = super::operate::texts(arguments)?;
    let result = text_method(method, &Value::Str(Arc::clone(text)), &arguments).map_err(|_| Stop::Python)?;
    Object::of(&result)
}

/// `format` with plain `{}` only.
fn formatted(text: &str, values: &[Object]) -> Outcome {
    let mut values = values.iter();
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        result.push_str(&rest[..at]);
        rest = rest[at..].strip_prefix("{}").ok_or(Stop::Python)?;
        result.push_str(&values.next().ok_or(Stop::Python)?.printed()?);
    }
    result.push_str(rest);
    Ok(Object::Str(result.into()))
}

fn on_list(items: &mut Vec<Object>, name: &str, arguments: &[Object]) -> Outcome {
    match (name, arguments) {
        ("append", [item]) => items.push(item.clone()),
        ("extend", [more]) => items.extend(more.items()?),
        ("insert", [Object::Int(at), item]) => {
            let at = usize::try_from(*at).map_err(|_| Stop::Python)?.min(items.len());
            items.insert(at, item.clone());
        }
        ("reverse", []) => items.reverse(),
        ("sort", []) => {
            let mut texts = items.iter().map(|item| item.text().map(Arc::clone)).collect::<Outcome<Vec<_>>>()?;
            texts.sort_unstable();
            *items = texts.into_iter().map(Object::Str).collect();
        }
        ("pop", []) => return items.pop().ok_or(Stop::Python),
        ("pop", [Object::Int(0)]) if !items.is_empty() => return Ok(items.remove(0)),
        ("remove", [item]) => {
            for at in 0..items.len() {
                if items[at].equals(item)? {
                    items.remove(at);
                    return Ok(Object::None);
                }
            }
            return Err(Stop::Python);
        }
        ("copy", []) => return Ok(Object::list(items.clone())),
        ("count", [item]) => {
            let mut count = 0;
            for other in &*items {
                count += i64::from(other.equals(item)?);
            }
            return Ok(Object::Int(count));
        }
        _ => return Err(Stop::Python),
    }
    Ok(Object::None)
}

fn on_dict(items: &mut Vec<(Text, Object)>, name: &str, arguments: &[Object], more: Vec<(Text, Object)>) -> Outcome {
    let get = |items: &[(Text, Object)], key: &Object| {
        let key = key.text()?;
        Ok(items.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone()))
    };
    match (name, arguments) {
        ("get", [key]) => Ok(get(items, key)?.unwrap_or(Object::None)),
        ("get", [key, default]) => Ok(get(items, key)?.unwrap_or_else(|| default.clone())),
        ("setdefault", [key, default]) => {
            if let Some(known) = get(items, key)? {
                return Ok(known);
            }
            items.push((Arc::clone(key.text()?), default.clone()));
            Ok(default.clone())
        }
        ("keys", []) => Ok(Object::texts(items.iter().map(|(key, _)| Arc::clone(key)))),
        ("values", []) => Ok(Object::list(items.iter().map(|(_, value)| value.clone()).collect())),
        ("items", []) => {
            let pair = |(key, value): &(Text, Object)| {
                Object::Tuple(Rc::new(vec![Object::Str(Arc::clone(key)), value.clone()]))
            };
            Ok(Object::list(items.iter().map(pair).collect()))
        }
        ("update", [Object::Dict(_)]) => {
            for (key, value) in more {
                put(items, key, value);
            }
            Ok(Object::None)
        }
        ("copy", []) => Ok(Object::dict(items.clone())),
        _ => Err(Stop::Python),
    }
}

type Items = std::cell::RefCell<std::collections::BTreeSet<Text>>;

fn on_set(items: &Items, own: &std::collections::BTreeSet<Text>, name: &str, arguments: &[Object]) -> Outcome {
    match (name, arguments) {
        ("add", [Object::Str(item)]) => {
            items.borrow_mut().insert(Arc::clone(item));
        }
        ("discard", [Object::Str(item)]) => {
            items.borrow_mut().remove(item);
        }
        ("remove", [Object::Str(item)]) if own.contains(item) => {
            items.borrow_mut().remove(item);
        }
        ("update", [more]) => items.borrow_mut().extend(more.as_set()?),
        ("copy", []) => return Ok(Object::set(own.clone())),
        ("difference", [other]) => return Ok(Object::set(own.difference(&other.as_set()?).cloned().collect())),
        ("intersection", [other]) => return Ok(Object::set(own.intersection(&other.as_set()?).cloned().collect())),
        ("union", [other]) => return Ok(Object::set(own.union(&other.as_set()?).cloned().collect())),
        ("issubset", [other]) => return Ok(Object::Bool(own.is_subset(&other.as_set()?))),
        _ => return Err(Stop::Python),
    }
    Ok(Object::None)
}
