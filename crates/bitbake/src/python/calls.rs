//! What Python asks of its stores.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::session::{Message, Session};
use crate::data::{Lookup, Origin, Store};
use crate::error::{Error, Result};
use crate::metadata::Reader;
use crate::recipe::StoreView;
use crate::signature::{Generator, differences};
use crate::workbench::read_signature;
use crate::{CodeRefs, Sym, Text, Value};

/// The arguments of a call, taken one by one.
struct Arguments<'a> {
    operation: &'a str,
    rest: std::slice::Iter<'a, Value>,
}

impl<'a> Arguments<'a> {
    fn value(&mut self) -> Result<&'a Value> {
        self.rest.next().ok_or_else(|| Error::Worker(format!("{} lacks an argument", self.operation)))
    }

    fn text(&mut self) -> Result<&'a str> {
        let value = self.value()?;
        value.as_str().ok_or_else(|| Error::Fatal(format!("{} of {value:?}: a name must be text", self.operation)))
    }

    fn name(&mut self) -> Result<Sym> {
        self.text().map(Sym::new)
    }

    fn flag(&mut self) -> Result<bool> {
        Ok(self.value()?.truthy())
    }

    fn line(&mut self) -> Result<u32> {
        match self.value()? {
            Value::Int(line) => Ok(u32::try_from(*line).unwrap_or_default()),
            other => Err(Error::Worker(format!("{other:?} is no line"))),
        }
    }

    fn origin(&mut self) -> Result<Origin> {
        let file = self.text()?;
        let line = self.line()?;
        Ok(if file.is_empty() { Origin::internal() } else { Origin { file: Sym::new(file), line } })
    }

    fn handle(&mut self) -> Result<u32> {
        match self.value()? {
            Value::Int(handle) => u32::try_from(*handle).map_err(|_| Error::Worker("a handle is out of range".into())),
            other => Err(Error::Worker(format!("{other:?} is no handle"))),
        }
    }
}

impl Session {
    /// Answers one call.
    pub(super) fn serve(&mut self, parts: &[Value]) -> Result<Value> {
        let operation = parts.first().and_then(Value::as_str).unwrap_or_default();
        let mut arguments = Arguments { operation, rest: parts.get(1..).unwrap_or_default().iter() };
        match operation {
            "log" => {
                let level = match arguments.value()? {
                    Value::Int(level) => *level,
                    _ => 0,
                };
                let text = arguments.value()?.to_text().to_string();
                self.messages.push(Message { level, text });
                return Ok(Value::None);
            }
            "origenv" => {
                self.seen.insert(crate::persist::Seen::environment());
                let mut store = Store::new(false);
                let environment = Arc::clone(&self.shared);
                for (name, value) in &environment.environment {
                    store.set(self, Sym::new(name), value.as_str().into(), Origin::internal())?;
                }
                return Ok(self.adopt(store));
            }
            "arguments" => {
                let arguments = self.open.last().map(|open| Arc::clone(&open.arguments)).unwrap_or_default();
                return Ok(Value::List(arguments));
            }
            "new" => return Ok(self.adopt(Store::new(false))),
            "comparesigs" => {
                let old = read_signature(Path::new(arguments.text()?))?;
                let new = read_signature(Path::new(arguments.text()?))?;
                let told: Vec<String> = differences(&old, &new).iter().map(ToString::to_string).collect();
                return Ok(list(told.iter().map(String::as_str)));
            }
            "shellexecs" => return Ok(list(shared_execs(self, arguments.text()?)?.iter().map(|name| &**name))),
            "pythonrefs" => {
                let refs = crate::data::Evaluate::code_refs(self, arguments.text()?)?;
                return Ok(Value::Tuple(Arc::new(refs_value(&refs).to_vec())));
            }
            _ => {}
        }
        let handle = arguments.handle()?;
        let mut store = self
            .stores
            .remove(&handle)
            .ok_or_else(|| Error::Worker(format!("{operation} on a datastore that is gone")))?;
        let result = self.on_store(&mut store, operation, &mut arguments);
        self.stores.insert(handle, store);
        result
    }

    fn adopt(&mut self, mut store: Store) -> Value {
        self.next_handle += 1;
        store.handle = self.next_handle;
        self.stores.insert(store.handle, store);
        Value::Int(self.next_handle.into())
    }

    fn on_store(&mut self, store: &mut Store, operation: &str, arguments: &mut Arguments<'_>) -> Result<Value> {
        match operation {
            "get" => {
                let var = arguments.name()?;
                let how = Lookup {
                    expand: arguments.flag()?,
                    no_weak_default: arguments.flag()?,
                    parsing: arguments.flag()?,
                    with_refs: false,
                };
                Ok(or_none(store.lookup(self, var, None, how)?.0))
            }
            "getflag" => {
                let (var, flag) = (arguments.name()?, arguments.name()?);
                let how = Lookup {
                    expand: arguments.flag()?,
                    no_weak_default: arguments.flag()?,
                    parsing: arguments.flag()?,
                    with_refs: false,
                };
                let flag = (flag.as_str() != "_content").then_some(flag);
                Ok(or_none(store.lookup(self, var, flag, how)?.0))
            }
            "flags" => self.flags(store, arguments),
            "expand" => Ok(Value::Str(store.expand(self, arguments.text()?)?)),
            "refs" => self.references(store, arguments),
            "keys" => Ok(Value::List(Arc::new(store.keys(self)?.into_iter().map(|key| key.as_str().into()).collect()))),
            "withflag" => {
                let flag = arguments.name()?;
                let mut found: Vec<(&str, Value)> = store
                    .keys(self)?
                    .into_iter()
                    .filter_map(|key| Some((key.as_str(), store.flag_raw(key, flag)?)))
                    .collect();
                found.sort_by_key(|(name, _)| *name);
                let row = |(name, value): (&str, Value)| Value::Tuple(Arc::new(vec![name.into(), value]));
                Ok(Value::List(Arc::new(found.into_iter().map(row).collect())))
            }
            "hasoverrides" => Ok(Value::Bool(store.has_variants(arguments.name()?))),
            "needoverrides" => store.need_overrides(self).map(|_| Value::None),
            "overrides" => {
                Ok(Value::List(Arc::new(store.need_overrides(self)?.list.iter().map(|o| o.as_str().into()).collect())))
            }
            "copy" => {
                let mut copy = store.copy();
                // What is known of URLs is not copied.
                let fetched = Sym::new("__BBFETCHED");
                if copy.variable(fetched).is_some() {
                    copy.delete(fetched, Origin::internal());
                }
                Ok(self.adopt(copy))
            }
            "history" => Ok(history(store, arguments.name()?)),
            "dependencies" => self.dependencies(store, arguments),
            "recipe" => self.recipe(store, arguments.name()?),
            _ => self.write(store, operation, arguments).map(|()| Value::None),
        }
    }

    /// Reads a recipe into a store and finalises it; says which store each variant is in, the recipe's own being the given one.
    fn recipe(&mut self, store: &mut Store, file: Sym) -> Result<Value> {
        let handle = store.handle;
        let appends = store.get_words(self, "__BBAPPEND")?;
        let mut variants = Vec::new();
        for variant in Reader::new(self).recipe(store.copy(), file, &appends, None)? {
            let place = if variant.variant.is_empty() {
                *store = variant.store;
                store.handle = handle;
                Value::Int(handle.into())
            } else {
                self.adopt(variant.store)
            };
            variants.push((variant.variant.as_str().into(), place));
        }
        Ok(Value::Dict(Arc::new(variants)))
    }

    fn write(&mut self, store: &mut Store, operation: &str, arguments: &mut Arguments<'_>) -> Result<()> {
        match operation {
            "set" => {
                let var = arguments.name()?;
                let value = arguments.value()?.clone();
                if arguments.flag()? {
                    store.set_parsing(self, var, value, arguments.origin()?)
                } else {
                    store.set(self, var, value, arguments.origin()?)
                }
            }
            "del" => {
                let var = arguments.name()?;
                store.delete(var, arguments.origin()?);
                Ok(())
            }
            "rename" => {
                let (old, new) = (arguments.name()?, arguments.name()?);
                store.rename(self, old, new, arguments.origin()?)
            }
            "setflag" => {
                let (var, flag) = (arguments.name()?, arguments.name()?);
                let value = arguments.value()?.clone();
                store.set_flag(self, var, flag, value, arguments.origin()?)
            }
            "appendflag" | "prependflag" => {
                let (var, flag) = (arguments.name()?, arguments.name()?);
                let text = arguments.text()?;
                let origin = arguments.origin()?;
                if operation == "appendflag" {
                    store.append_flag(self, var, flag, text, origin)
                } else {
                    store.prepend_flag(self, var, flag, text, origin)
                }
            }
            "delflag" => {
                let (var, flag) = (arguments.name()?, arguments.name()?);
                store.delete_flag(var, flag, arguments.origin()?);
                Ok(())
            }
            "delflags" => {
                let var = arguments.name()?;
                store.delete_flags(var, arguments.origin()?);
                Ok(())
            }
            "setfilter" => {
                let var = arguments.name()?;
                store.set_filter(var, Some(arguments.text()?));
                Ok(())
            }
            "expandvarref" => {
                let var = arguments.name()?;
                store.expand_reference(self, var)
            }
            "inherit" => {
                let (classes, from, line) = (arguments.text()?, arguments.name()?, arguments.line()?);
                Reader::new(self).inherit(store, classes, from, line, arguments.flag()?)
            }
            "include" => {
                let (parent, files, line) = (arguments.name()?, arguments.text()?, arguments.line()?);
                let required = Some(arguments.text()?).filter(|verb| !verb.is_empty());
                Reader::new(self).include(store, parent, files, line, required)
            }
            "read" => Reader::new(self).read(store, arguments.name()?, true),
            _ => Err(Error::Worker(format!("there is no operation {operation}"))),
        }
    }

    fn flags(&mut self, store: &mut Store, arguments: &mut Arguments<'_>) -> Result<Value> {
        let var = arguments.name()?;
        let expand: Vec<Sym> = match arguments.value()? {
            Value::List(names) => names.iter().filter_map(Value::as_str).map(Sym::new).collect(),
            _ => Vec::new(),
        };
        let internal = arguments.flag()?;
        let mut flags = Vec::new();
        for (flag, mut value) in if internal { store.all_flags(var) } else { store.flags(var) } {
            if let Value::Str(text) = &value
                && expand.contains(&flag)
            {
                value = Value::Str(store.expand(self, text)?);
            }
            flags.push((flag.as_str().into(), value));
        }
        Ok(Value::Dict(Arc::new(flags)))
    }

    fn references(&mut self, store: &mut Store, arguments: &mut Arguments<'_>) -> Result<Value> {
        let text = arguments.text()?;
        let var = arguments.value()?.as_str().map(Sym::new);
        let expansion = store.expand_value(self, Some(text.into()), var)?;
        let [references, execs, contains] = refs_value(&expansion.refs);
        Ok(Value::Tuple(Arc::new(vec![or_none(expansion.value), references, execs, contains])))
    }

    /// What a variable needs and its value, both as for a signature.
    fn dependencies(&mut self, store: &mut Store, arguments: &mut Arguments<'_>) -> Result<Value> {
        let var = arguments.name()?;
        let ignored: Vec<Sym> = match arguments.value()? {
            Value::List(names) => names.iter().filter_map(Value::as_str).map(Sym::new).collect(),
            _ => Vec::new(),
        };
        let mut generator = Generator::new(Arc::default(), ignored);
        let signature = generator.one(&mut StoreView::new(self, store), var)?;
        let depends = list(signature.depends.iter().map(|name| name.as_str()));
        Ok(Value::Tuple(Arc::new(vec![depends, signature.value.map_or(Value::None, Value::Str)])))
    }
}

fn shared_execs(session: &Session, code: &str) -> Result<Arc<BTreeSet<Text>>> {
    session.shared.shell_execs(&Text::from(code))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    Value::List(Arc::new(names.map(Value::from).collect()))
}

/// References, execs and contains as Python takes them.
fn refs_value(refs: &CodeRefs) -> [Value; 3] {
    let names = |names: &BTreeSet<Sym>| list(names.iter().map(|name| name.as_str()));
    let contains =
        refs.contains.iter().map(|(var, words)| (var.as_str().into(), list(words.iter().map(|word| &**word))));
    [names(&refs.references), names(&refs.execs), Value::Dict(Arc::new(contains.collect()))]
}

fn or_none(value: Option<Value>) -> Value {
    value.unwrap_or(Value::None)
}

fn history(store: &Store, var: Sym) -> Value {
    let entries = store.history().map_or(&[][..], |history| history.of(var));
    let row = |entry: &crate::data::Entry| {
        Value::Tuple(Arc::new(vec![
            entry.operation.as_str().into(),
            entry.flag.map_or(Value::None, |flag| flag.as_str().into()),
            entry.origin.file.as_str().into(),
            Value::Int(entry.origin.line.into()),
            entry.detail.clone(),
        ]))
    };
    Value::List(Arc::new(entries.iter().map(row).collect()))
}
