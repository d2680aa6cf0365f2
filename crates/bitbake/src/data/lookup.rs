//! The value of a variable or flag.
//!
//! The order is: the active override variant, else the value, else the weak default; then appends, then prepends; then expansion;
//! then removes; then the filter.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::overrides::Active;
use super::store::{Cached, Evaluate, Store};
use super::variable::{Keyword, Operation, operations_value};
use crate::error::{Error, Result};
use crate::view::Expansion;
use crate::{Sym, Text, Value};

/// How to look up.
#[expect(clippy::struct_excessive_bools, reason = "each is one of BitBake's independent arguments")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookup {
    /// Expand the value.
    pub expand: bool,
    /// Ignore what `??=` set.
    pub no_weak_default: bool,
    /// Ignore overrides and pending operations, as assignments do that read before they write.
    pub parsing: bool,
    /// Say what the value refers to, expanded or not.
    pub with_refs: bool,
}

impl Store {
    /// The expanded value: BitBake's `getVar(var)`.
    pub fn get(&mut self, ev: &mut dyn Evaluate, var: Sym) -> Result<Option<Value>> {
        Ok(self.lookup(ev, var, None, Lookup { expand: true, ..Lookup::default() })?.0)
    }

    /// The expanded value as text.
    pub fn get_text(&mut self, ev: &mut dyn Evaluate, var: &str) -> Result<Option<Text>> {
        Ok(self.get(ev, Sym::new(var))?.map(|value| value.to_text()))
    }

    /// The words of the expanded value.
    pub fn get_words(&mut self, ev: &mut dyn Evaluate, var: &str) -> Result<Vec<String>> {
        let text = self.get_text(ev, var)?.unwrap_or_default();
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// The unexpanded value: BitBake's `getVar(var, False)`.
    pub fn get_raw(&mut self, ev: &mut dyn Evaluate, var: Sym) -> Result<Option<Value>> {
        Ok(self.lookup(ev, var, None, Lookup::default())?.0)
    }

    /// The expanded flag: BitBake's `getVarFlag(var, flag)`.
    pub fn get_flag(&mut self, ev: &mut dyn Evaluate, var: Sym, flag: Sym) -> Result<Option<Value>> {
        Ok(self.lookup(ev, var, Some(flag), Lookup { expand: true, ..Lookup::default() })?.0)
    }

    /// The unexpanded flag, with its weak default.
    pub fn flag_raw(&self, var: Sym, flag: Sym) -> Option<Value> {
        self.raw_flag(var, flag, false)
    }

    /// BitBake's `getVarFlag` in full: the value, and its expansion when asked for.
    pub fn lookup(
        &mut self,
        ev: &mut dyn Evaluate,
        var: Sym,
        flag: Option<Sym>,
        how: Lookup,
    ) -> Result<(Option<Value>, Option<Arc<Expansion>>)> {
        if !how.no_weak_default
            && (how.expand || how.with_refs)
            && let Some(cached) = self.remembered(var, flag)
        {
            let value = if how.expand { cached.expansion.value.clone() } else { cached.unexpanded.clone() };
            return Ok((value, Some(Arc::clone(&cached.expansion))));
        }
        match flag {
            Some(flag) => self.lookup_flag(ev, var, flag, how),
            None => self.lookup_content(ev, var, how),
        }
    }

    fn remembered(&mut self, var: Sym, flag: Option<Sym>) -> Option<&Cached> {
        if flag.is_none()
            && let Some(cached) = self.plain.get(&var)
        {
            return Some(cached);
        }
        let cached = self.computed.get(&(var, flag))?;
        self.computations += 1;
        Some(cached)
    }

    fn lookup_flag(
        &mut self,
        ev: &mut dyn Evaluate,
        var: Sym,
        flag: Sym,
        how: Lookup,
    ) -> Result<(Option<Value>, Option<Arc<Expansion>>)> {
        let value = self.raw_flag(var, flag, how.no_weak_default);
        if !how.expand && !how.with_refs {
            return Ok((value, None));
        }
        let expanded = self.expand_value(ev, value.clone(), None);
        let expansion = Arc::new(expanded.map_err(|error| match error {
            Error::Expansion { mut chain, message } => {
                chain.push(format!("{var}[{flag}]"));
                Error::Expansion { chain, message }
            }
            other => other,
        })?);
        if !how.no_weak_default {
            self.computations += 1;
            let cached = Cached { unexpanded: value.clone(), expansion: Arc::clone(&expansion) };
            self.computed.insert((var, Some(flag)), cached);
        }
        Ok((if how.expand { expansion.value.clone() } else { value }, Some(expansion)))
    }

    fn raw_flag(&self, var: Sym, flag: Sym, no_weak_default: bool) -> Option<Value> {
        let variable = self.vars.get(&var)?;
        let value = match flag.as_str() {
            "_content" => variable.content.clone(),
            "_defaultval" => variable.default.clone(),
            name if name.starts_with(':') => {
                let keyword = Keyword::ALL.into_iter().find(|k| k.as_str() == name)?;
                let operations = variable.operations(keyword);
                (!operations.is_empty()).then(|| operations_value(operations))
            }
            name => match name.strip_prefix("_defaultval_flag_") {
                Some(flag) => variable.flag_default(Sym::new(flag)).cloned(),
                None => variable
                    .flag(flag)
                    .cloned()
                    .or_else(|| variable.flag_default(flag).filter(|_| !no_weak_default).cloned()),
            },
        };
        value.filter(|value| *value != Value::None)
    }

    fn lookup_content(
        &mut self,
        ev: &mut dyn Evaluate,
        var: Sym,
        how: Lookup,
    ) -> Result<(Option<Value>, Option<Arc<Expansion>>)> {
        let computations = self.computations;
        let variable = self.vars.get(&var).cloned();
        if variable.as_ref().is_some_and(|variable| variable.fleeting) {
            ev.saw(var);
        }
        let mut value = None;
        let mut removes: BTreeSet<Text> = BTreeSet::new();
        if !how.parsing
            && let Some(variants) = self.variants.get(&var).cloned()
        {
            let active = self.need_overrides(ev)?;
            if let Some(chosen) = active.choose(&variants) {
                self.depth += 1;
                let found = Self::deeper(self.depth, var)
                    .and_then(|()| self.lookup(ev, chosen, None, Lookup { with_refs: true, ..Lookup::default() }));
                self.depth -= 1;
                let (text, expansion) = found?;
                value = text;
                removes = expansion.and_then(|e| e.removes.clone()).unwrap_or_default();
            }
        }
        if let Some(variable) = &variable {
            if value.is_none() {
                value = match &variable.content {
                    Some(content) => Some(content.clone()),
                    None if how.no_weak_default => None,
                    None => variable.default.clone(),
                };
                value = value.filter(|value| *value != Value::None);
            }
            if !how.parsing {
                if !variable.append.is_empty() {
                    let active = self.need_overrides(ev)?;
                    value = added(&active, &variable.append, value, std::string::String::push_str);
                }
                if !variable.prepend.is_empty() {
                    let active = self.need_overrides(ev)?;
                    value = added(&active, &variable.prepend, value, |value, text| value.insert_str(0, text));
                }
            }
        }
        if !how.expand && !how.with_refs {
            return Ok((value, None));
        }
        self.depth += 1;
        let expanded = Self::deeper(self.depth, var).and_then(|()| self.expand_value(ev, value.clone(), Some(var)));
        self.depth -= 1;
        let mut expansion = expanded?;
        let current = if how.expand { &expansion.value } else { &value };
        let truthy = current.as_ref().is_some_and(Value::truthy);
        if truthy && !how.parsing {
            if let Some(variable) = &variable
                && !variable.remove.is_empty()
            {
                let active = self.need_overrides(ev)?;
                removes.extend(variable.remove.iter().filter(|op| applies(&active, op)).map(|op| Arc::clone(&op.text)));
            }
            if !removes.is_empty() {
                self.apply_removes(ev, &mut expansion, &removes)?;
            }
        }
        if how.expand && !self.filters.is_empty() && expansion.value.as_ref().is_some_and(Value::truthy) {
            let name = var.as_str();
            let base = name.split_once(':').map_or(Some(var), |(base, _)| Sym::find(base));
            if let Some(filter) = base.and_then(|base| self.filters.get(&base)).cloned() {
                let text = expansion.value.as_ref().map(Value::to_text).unwrap_or_default();
                expansion.value = Some(ev.filter(&filter, &text)?.into());
            }
        }
        let expansion = Arc::new(expansion);
        if !how.no_weak_default {
            let cached = Cached { unexpanded: value.clone(), expansion: Arc::clone(&expansion) };
            if self.computations == computations {
                self.plain.insert(var, cached);
            } else {
                self.computed.insert((var, None), cached);
            }
        }
        Ok((if how.expand { expansion.value.clone() } else { value }, Some(expansion)))
    }

    /// Takes words away, leaving the white space around them, and notes which of the removes took something.
    fn apply_removes(
        &mut self,
        ev: &mut dyn Evaluate,
        expansion: &mut Expansion,
        removes: &BTreeSet<Text>,
    ) -> Result<()> {
        let mut expanded = Vec::with_capacity(removes.len());
        for remove in removes {
            expanded.push((remove, self.expand(ev, remove)?));
        }
        let text = expansion.value.as_ref().map(Value::to_text).unwrap_or_default();
        let mut kept = String::with_capacity(text.len());
        let mut used = BTreeSet::new();
        let mut rest: &str = &text;
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let mut dropped = false;
            for (remove, words) in &expanded {
                if !word.is_empty() && words.split_whitespace().any(|w| w == word) {
                    used.insert(Arc::clone(remove));
                    dropped = true;
                }
            }
            if !dropped {
                kept.push_str(word);
            }
            let space = after.chars().next().map_or(0, char::len_utf8);
            kept.push_str(&after[..space]);
            rest = &after[space..];
        }
        expansion.value = Some(kept.into());
        expansion.removes = Some(used);
        Ok(())
    }
}

fn applies(active: &Active, operation: &Operation) -> bool {
    operation.overrides.iter().all(|over| active.set.contains(over))
}

fn added(
    active: &Active,
    operations: &[Operation],
    value: Option<Value>,
    add: impl Fn(&mut String, &str),
) -> Option<Value> {
    let mut text: Option<String> = None;
    for operation in operations.iter().filter(|op| applies(active, op)) {
        let text = text.get_or_insert_with(|| value.as_ref().map(|v| v.to_text().to_string()).unwrap_or_default());
        add(text, &operation.text);
    }
    text.map_or(value, |text| Some(text.into()))
}
