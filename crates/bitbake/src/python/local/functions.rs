//! Functions of modules, and built-in ones.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use fancy_regex::Regex;

use super::super::native::{paths, words};
use super::object::{Closure, Object};
use super::run::{Machine, Outcome};
use super::uri::Uri;
use super::{Stop, cached};
use crate::{Text, Value};

type Named = Vec<(Text, Object)>;

/// The words of a text, or the items of something else.
fn wanted(value: &Object) -> Outcome<BTreeSet<Text>> {
    match value {
        Object::Str(text) => Ok(words(text).ok_or(Stop::Python)?.map(Text::from).collect()),
        other => other.as_set(),
    }
}

impl Machine<'_> {
    /// Calls a function by a name that is not local: of the metadata or of the running module, or a built-in one.
    pub(super) fn call_global(&mut self, name: &str, plain: Vec<Object>, named: Named) -> Outcome {
        if let Some(module) = &self.module {
            let path = format!("{module}.{name}");
            if self.session.shared.library_source(&path).is_some() {
                return self.library(&path, &plain, &named);
            }
        } else if let Ok(function) = self.function(name) {
            return self.call(&function, plain, named);
        } else if crate::Sym::find(name).is_some_and(|name| self.functions.contains_key(&name)) {
            return Err(Stop::Python);
        }
        if named.is_empty() { builtin(name, &plain) } else { Err(Stop::Python) }
    }

    /// Calls a function by its dotted name.
    pub(super) fn call_path(&mut self, path: &str, plain: &[Object], named: &[(Text, Object)]) -> Outcome {
        if path.starts_with("oe.") {
            return self.library(path, plain, named);
        }
        if let ("urllib.parse.quote", [Object::Str(text)], [(name, Object::Str(safe))]) = (path, plain, named)
            && (&**name, &**safe) == ("safe", "")
        {
            return Ok(Object::Str(quoted(text).into()));
        }
        if !named.is_empty() {
            return Err(Stop::Python);
        }
        match (path, plain) {
            ("bb.utils.contains", [Object::Str(var), checked, yes, no, Object::Store(store)]) => {
                let have = self.words_of(*store, var)?;
                let Some(have) = have else { return Ok(no.clone()) };
                Ok(if wanted(checked)?.is_subset(&have) { yes.clone() } else { no.clone() })
            }
            ("bb.utils.contains_any", [Object::Str(var), checked, yes, no, Object::Store(store)]) => {
                let have = self.words_of(*store, var)?;
                let Some(have) = have else { return Ok(no.clone()) };
                Ok(if wanted(checked)?.is_disjoint(&have) { no.clone() } else { yes.clone() })
            }
            ("bb.utils.filter", [Object::Str(var), checked, Object::Store(store)]) => {
                let Some(have) = self.words_of(*store, var)? else { return Ok(Object::Str("".into())) };
                let both: Vec<Text> = wanted(checked)?.intersection(&have).cloned().collect();
                Ok(Object::Str(both.join(" ").into()))
            }
            ("bb.utils.to_boolean", [value]) => to_boolean(value, None),
            ("bb.utils.to_boolean", [value, default]) => to_boolean(value, Some(default)),
            ("bb.utils.explode_deps", [Object::Str(text)]) => explode_deps(text),
            ("bb.data.inherits_class", [Object::Str(class), Object::Store(store)]) => {
                let files = self.get(*store, &"__inherit_cache".into(), false)?;
                let end = format!("/{class}.bbclass");
                let mut found = false;
                if files.truth()? {
                    for file in files.items()? {
                        found |= file.text()?.ends_with(&end);
                    }
                }
                Ok(Object::Bool(found))
            }
            ("bb.data.createCopy", [Object::Store(store)]) => self.copy(*store),
            // Too detailed for anyone to be shown.
            ("bb.debug", [Object::Int(_), Object::Str(_)]) => Ok(Object::None),
            ("bb.build.deltask", [Object::Str(task), Object::Store(store)]) => self.delete_task(*store, task),
            ("bb.fetch.get_hashvalue" | "bb.fetch2.get_hashvalue", [Object::Store(store)]) => {
                self.source_revisions(*store)
            }
            ("bb.fetch.get_checksum_file_list" | "bb.fetch2.get_checksum_file_list", [Object::Store(store)]) => {
                self.local_sources(*store)
            }
            ("bb.fetch.URI" | "bb.fetch2.URI", [Object::Str(text)]) => Ok(Object::Uri(Rc::new(Uri::parse(text)?))),
            ("bb.fetch.decodeurl" | "bb.fetch2.decodeurl", [Object::Str(text)]) => decode(text),
            ("os.path.exists", [Object::Str(path)]) => Ok(Object::Bool(is_plain(path)? && self.type_at(path)? != '-')),
            ("os.path.isdir", [Object::Str(path)]) => Ok(Object::Bool(is_plain(path)? && self.type_at(path)? == 'd')),
            ("os.path.isfile", [Object::Str(path)]) => Ok(Object::Bool(is_plain(path)? && self.type_at(path)? == 'f')),
            ("os.path.realpath", [Object::Str(path)]) => self.real_path(path),
            ("os.path.basename", [Object::Str(path)]) => {
                Ok(Object::Str(path.rsplit('/').next().unwrap_or_default().into()))
            }
            ("os.path.dirname", [Object::Str(path)]) => Ok(Object::Str(paths::dirname(path).into())),
            ("os.path.normpath", [Object::Str(path)]) => Ok(Object::Str(paths::normpath(path).into())),
            ("os.path.join", [_, ..]) => {
                let parts = super::operate::texts(plain)?;
                paths::join(&parts).map_err(|_| Stop::Python).and_then(|value| Object::of(&value))
            }
            ("re.match", [Object::Str(pattern), Object::Str(text)]) => {
                found(self.pattern(pattern)?.as_ref(), text, true)
            }
            ("re.search", [Object::Str(pattern), Object::Str(text)]) => {
                found(self.pattern(pattern)?.as_ref(), text, false)
            }
            // Words of a package list, where a reference with code in it would be one: without any it is white space alone.
            ("re.split", [Object::Str(pattern), Object::Str(text)])
                if **pattern == *r"\${@(?:{.*?}|.)+?}|\s" && !text.contains("${@") && words(text).is_some() =>
            {
                Ok(Object::texts(text.split(|c: char| c.is_ascii_whitespace() || c == '\x0b')))
            }
            ("re.compile", [Object::Str(pattern)]) => self.pattern(pattern).map(Object::Pattern),
            _ => Err(Stop::Python),
        }
    }

    /// The words of a variable; none where it is false.
    fn words_of(&mut self, store: usize, var: &Text) -> Outcome<Option<BTreeSet<Text>>> {
        match self.get(store, var, true)? {
            Object::Str(text) if !text.is_empty() => {
                Ok(Some(words(&text).ok_or(Stop::Python)?.map(Text::from).collect()))
            }
            Object::Str(_) | Object::None => Ok(None),
            _ => Err(Stop::Python),
        }
    }

    /// The runtime's `bb.build.deltask`.
    fn delete_task(&mut self, store: usize, task: &Text) -> Outcome {
        let task = if task.starts_with("do_") { Arc::clone(task) } else { format!("do_{task}").into() };
        let all = self.get(store, &"__BBTASKS".into(), false)?;
        let mut tasks = if all.truth()? { all.items()? } else { Vec::new() };
        let mut at = None;
        for (index, other) in tasks.iter().enumerate() {
            if *other.text()? == task && at.is_none() {
                at = Some(index);
            }
        }
        if let Some(at) = at {
            tasks.remove(at);
            self.delete_flag(store, &task, "task")?;
            self.set(store, "__BBTASKS", Object::list(tasks.clone()).value()?, false)?;
        }
        self.delete_flag(store, &task, "deps")?;
        for name in tasks {
            let name = name.text()?;
            let others = self.get_flag(store, name, &"deps".into(), false)?;
            if !others.truth()? {
                continue;
            }
            let others = others.items()?;
            let kept = others.iter().filter(|other| !matches!(other, Object::Str(other) if *other == task));
            let kept: Vec<Object> = kept.cloned().collect();
            if kept.len() < others.len() {
                self.set_flag(store, name, "deps", Object::list(kept).value()?)?;
            }
        }
        Ok(Object::None)
    }

    /// `os.path.realpath` of a path without links.
    /// What a path is, as the kinds of [`crate::persist::Kind::Type`] name it; noted.
    pub(super) fn type_at(&mut self, path: &str) -> Outcome<char> {
        // What a relative path is meant from, Python knows.
        if path.starts_with('/') { Ok(self.session.type_at(path)) } else { Err(Stop::Python) }
    }

    fn real_path(&mut self, path: &str) -> Outcome {
        if !path.starts_with('/') || !is_plain(path)? {
            return Err(Stop::Python);
        }
        let normal = paths::normpath(path);
        // `..` after a link leads elsewhere.
        if path.contains("/..") || normal.starts_with("//") {
            return Err(Stop::Python);
        }
        let ends = normal.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at).chain([normal.len()]);
        for end in ends {
            if self.session.shared.is_link(&normal[..end]) {
                return Err(Stop::Python);
            }
        }
        self.session.seen.insert(crate::persist::Seen::real_path(path, &normal));
        Ok(Object::Str(normal.into()))
    }

    /// A pattern that means the same to both.
    fn pattern(&self, pattern: &Text) -> Outcome<Rc<Regex>> {
        let compiled = cached(&self.session.shared.functions.patterns, pattern, || {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*+|^$/:, ()[]".contains(&byte);
            let odd = ["(?", "[]", "[^]", "[[", "**", "++", "--", "||"].iter().any(|odd| pattern.contains(odd));
            if odd || !pattern.bytes().all(plain) { None } else { Regex::new(pattern).ok() }
        });
        compiled.map(Rc::new).ok_or(Stop::Python)
    }

    /// Calls a function of a layer's library: here if it can be run here, or else in Python, with this conversation.
    fn library(&mut self, path: &str, plain: &[Object], named: &[(Text, Object)]) -> Outcome {
        let source = self.session.shared.library_source(path).ok_or(Stop::Python)?;
        if plain.iter().any(|argument| matches!(argument, Object::Function(_))) {
            return Err(Stop::Python);
        }
        if let ("oe.license.check_license_format", [Object::Store(store)], []) = (path, plain, named) {
            let said = self.session.said();
            match self.check_license_format(*store) {
                Err(Stop::Python) if self.session.unsay(said) => {}
                result => return result,
            }
        }
        let function = self.session.shared.functions.function(&source);
        if let Some(function) = function.filter(|function| function.is_worth_it()) {
            let (said, writes) = (self.session.said(), self.writes);
            let (module, _) = path.rsplit_once('.').ok_or(Stop::Python)?;
            let outer = self.module.replace(module.into());
            let (depth, trying) = (self.depth, self.trying);
            let closure = Closure { function: Arc::clone(&function), around: None };
            let result = self.call(&closure, plain.to_vec(), named.to_vec());
            self.module = outer;
            (self.depth, self.trying) = (depth, trying);
            match result {
                Err(Stop::Python) if writes == self.writes && self.session.unsay(said) => function.stopped(),
                result => return result,
            }
        }
        if !named.is_empty() {
            return Err(Stop::Python);
        }
        let mut arguments = Vec::new();
        for argument in plain {
            arguments.push(match argument {
                Object::Store(0) => Value::Tuple(Arc::new(vec!["d".into()])),
                // What is done to a list, its owner must see.
                Object::List(_) => return Err(Stop::Python),
                other => Value::Tuple(Arc::new(vec!["v".into(), other.value()?])),
            });
        }
        // Python may write, too, and what it did it cannot do again.
        self.writes += 1;
        let value = self.session.call_in_python(path, arguments).map_err(|_| Stop::Python)?;
        Object::of(&value)
    }
}

/// A text as part of a URL: everything but letters, digits and `_.-~` in hexadecimal.
fn quoted(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) {
            result.push(char::from(byte));
        } else {
            result.push('%');
            result.push_str(&hex::encode_upper([byte]));
        }
    }
    result
}

/// Whether the file system sees the same path as Python does.
fn is_plain(path: &str) -> Outcome<bool> {
    if path.contains('\0') { Err(Stop::Python) } else { Ok(true) }
}

/// Whether a pattern is found, at the start or anywhere.
pub(super) fn found(pattern: &Regex, text: &str, at_start: bool) -> Outcome {
    // Python's `$` comes before a line's end, too.
    if text.contains('\n') {
        return Err(Stop::Python);
    }
    let found = pattern.find(text).map_err(|_| Stop::Python)?;
    match found {
        Some(found) if !at_start || found.start() == 0 => Ok(Object::Match),
        // A later place is found only where none is at the start.
        _ => Ok(Object::None),
    }
}

fn decode(text: &str) -> Outcome {
    let uri = Uri::parse(text)?;
    let parameter = |value: &Option<Text>| value.clone().map_or(Object::None, Object::Str);
    let parameters = uri.parameters.iter().map(|(name, value)| (Arc::clone(name), parameter(value))).collect();
    let path = if uri.path.is_empty() { "/".into() } else { uri.path };
    let none = Object::Str("".into());
    Ok(Object::Tuple(Rc::new(vec![
        Object::Str(uri.scheme),
        Object::Str(uri.host),
        Object::Str(path),
        none.clone(),
        none,
        Object::dict(parameters),
    ])))
}

fn to_boolean(value: &Object, default: Option<&Object>) -> Outcome {
    match value {
        Object::Str(text) if !text.is_empty() => match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "1" | "true" => Ok(Object::Bool(true)),
            "n" | "no" | "0" | "false" => Ok(Object::Bool(false)),
            _ => Err(Stop::Python),
        },
        Object::None | Object::Str(_) => Ok(default.cloned().unwrap_or(Object::None)),
        _ => Err(Stop::Python),
    }
}

/// The names in a dependency string.
fn explode_deps(text: &str) -> Outcome {
    let mut names = Vec::new();
    let mut inside = false;
    for word in words(text).ok_or(Stop::Python)? {
        inside |= word.starts_with('(');
        if !inside {
            names.push(word);
        } else if word.ends_with(')') {
            inside = false;
        }
    }
    Ok(Object::texts(names))
}

fn builtin(name: &str, arguments: &[Object]) -> Outcome {
    match (name, arguments) {
        ("len", [of]) => {
            let len = match of {
                Object::Str(text) => text.chars().count(),
                Object::Set(items) => items.borrow().len(),
                other => other.items()?.len(),
            };
            i64::try_from(len).map(Object::Int).map_err(|_| Stop::Python)
        }
        ("str", [of]) => of.printed().map(Object::Str),
        ("bool", [of]) => of.truth().map(Object::Bool),
        ("int", [Object::Str(text)]) if text.is_ascii() && !text.contains('_') => {
            text.trim().parse().map(Object::Int).map_err(|_| Stop::Python)
        }
        ("int", [of]) => of.number().map(Object::Int).ok_or(Stop::Python),
        ("list", []) => Ok(Object::list(Vec::new())),
        ("list", [of]) => of.items().map(Object::list),
        ("tuple", [of]) => of.items().map(|items| Object::Tuple(Rc::new(items))),
        ("set", []) => Ok(Object::set(BTreeSet::new())),
        ("set", [of @ (Object::List(_) | Object::Tuple(_) | Object::Set(_) | Object::Dict(_))]) => {
            of.as_set().map(Object::set)
        }
        ("dict", []) => Ok(Object::dict(Vec::new())),
        ("dict", [Object::Dict(items)]) => Ok(Object::dict(items.borrow().clone())),
        ("sorted", [of]) => sorted(of),
        ("reversed", [of @ (Object::List(_) | Object::Tuple(_))]) => {
            let mut items = of.items()?;
            items.reverse();
            Ok(Object::list(items))
        }
        ("enumerate", [of @ (Object::List(_) | Object::Tuple(_))]) => {
            let pair = |(at, item): (i64, Object)| Object::Tuple(Rc::new(vec![Object::Int(at), item]));
            Ok(Object::list((0..).zip(of.items()?).map(pair).collect()))
        }
        ("range", [Object::Int(end @ 0..=10_000)]) => Ok(Object::list((0..*end).map(Object::Int).collect())),
        ("any", [of @ (Object::List(_) | Object::Tuple(_))]) => {
            let mut found = false;
            for item in of.items()? {
                found = found || item.truth()?;
            }
            Ok(Object::Bool(found))
        }
        ("isinstance", [Object::Event(class), kinds]) => is_event(class, kinds).map(Object::Bool),
        _ => Err(Stop::Python),
    }
}

/// Whether an event of one class is of another (or one of others) in `bb.event`.
fn is_event(class: &str, kinds: &Object) -> Outcome<bool> {
    match kinds {
        Object::Name(kind) => {
            let kind = kind.strip_prefix("bb.event.").ok_or(Stop::Python)?;
            Ok(kind == class || kind == "Event" || (kind == "RecipeEvent" && class.starts_with("Recipe")))
        }
        Object::Tuple(kinds) => {
            for kind in kinds.iter() {
                if is_event(class, kind)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(Stop::Python),
    }
}

/// `sorted` of texts, or of pairs whose first parts are texts and differ.
fn sorted(of: &Object) -> Outcome {
    if let Object::Set(items) = of {
        return Ok(Object::texts(items.borrow().iter().map(Arc::clone)));
    }
    let items = of.items()?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        let key = match &item {
            Object::Str(text) => Arc::clone(text),
            Object::Tuple(parts) => Arc::clone(parts.first().ok_or(Stop::Python)?.text()?),
            _ => return Err(Stop::Python),
        };
        keyed.push((key, item));
    }
    keyed.sort_by(|(left, _), (right, _)| left.cmp(right));
    let clash = |pair: &[(Text, Object)]| pair[0].0 == pair[1].0 && !matches!(pair[0].1, Object::Str(_));
    let mixed = keyed.iter().any(|(_, item)| matches!(item, Object::Str(_)))
        && keyed.iter().any(|(_, item)| matches!(item, Object::Tuple(_)));
    if mixed || keyed.windows(2).any(clash) {
        return Err(Stop::Python);
    }
    Ok(Object::list(keyed.into_iter().map(|(_, item)| item).collect()))
}
