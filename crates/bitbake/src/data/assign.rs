//! Setting, appending, deleting, renaming.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::store::{Definition, Evaluate, Origin, Store};
use super::variable::{Keyword, Operation, operations_value};
use crate::error::{Error, Result};
use crate::{Sym, Text, Value};

/// Variables of BitBake itself that changed their name: old → new, or a sentence about what became of it.
const RENAMED: [(&str, &str); 9] = [
    ("BB_ENV_WHITELIST", "BB_ENV_PASSTHROUGH"),
    ("BB_ENV_EXTRAWHITE", "BB_ENV_PASSTHROUGH_ADDITIONS"),
    ("BB_HASHBASE_WHITELIST", "BB_BASEHASH_IGNORE_VARS"),
    ("BB_HASHCONFIG_WHITELIST", "BB_HASHCONFIG_IGNORE_VARS"),
    ("BB_HASHTASK_WHITELIST", "BB_TASKHASH_IGNORE_TASKS"),
    ("BB_SETSCENE_ENFORCE_WHITELIST", "BB_SETSCENE_ENFORCE_IGNORE_TASKS"),
    ("MULTI_PROVIDER_WHITELIST", "BB_MULTI_PROVIDER_ALLOWED"),
    ("BB_STAMP_WHITELIST", "is no longer supported"),
    ("BB_STAMP_POLICY", "is no longer supported"),
];

pub(super) fn renamed_variables() -> FxHashMap<Sym, Text> {
    RENAMED.iter().map(|(old, new)| (Sym::new(old), Text::from(*new))).collect()
}

/// Splits `base:append:overrides`. The overrides hold no capital letter, or the keyword is part of an ordinary name.
pub(crate) fn split_keyword(var: &str) -> Option<(&str, Keyword, Option<&str>)> {
    for (at, _) in var.match_indices(':') {
        for keyword in Keyword::ALL {
            let Some(rest) = var[at..].strip_prefix(keyword.as_str()) else { continue };
            if rest.is_empty() {
                return Some((&var[..at], keyword, None));
            }
            if let Some(overrides) = rest.strip_prefix(':')
                && !overrides.contains(|c: char| c.is_ascii_uppercase())
            {
                return Some((&var[..at], keyword, Some(overrides)));
            }
        }
    }
    None
}

impl Store {
    /// Sets a variable as Python code does (`d.setVar`): pending operations and active overrides of it go.
    pub fn set(&mut self, ev: &mut dyn Evaluate, var: Sym, value: Value, origin: Origin) -> Result<()> {
        self.assign(ev, var, value, false, "set", None, origin)
    }

    /// Sets a variable as a line of metadata does: pending operations and overrides of it stay.
    pub fn set_parsing(&mut self, ev: &mut dyn Evaluate, var: Sym, value: Value, origin: Origin) -> Result<()> {
        self.assign(ev, var, value, true, "set", None, origin)
    }

    /// Sets a variable; `detail` is what was written when that differs from the value.
    #[expect(clippy::too_many_arguments, reason = "an assignment has that many parts")]
    #[expect(clippy::needless_pass_by_value, reason = "most values are made for the call")]
    pub(crate) fn assign(
        &mut self,
        ev: &mut dyn Evaluate,
        var: Sym,
        value: Value,
        parsing: bool,
        operation: &str,
        detail: Option<Value>,
        origin: Origin,
    ) -> Result<()> {
        let name = var.as_str();
        if name.contains('_')
            && !name.starts_with("__anon_")
            && ["_append", "_prepend", "_remove"].iter().any(|old| name.contains(old))
        {
            return Err(Error::Fatal(format!(
                "{}:{}: the variable {name} contains an operation in the old override syntax: write :append, :prepend or :remove",
                origin.file, origin.line
            )));
        }
        self.check_renamed(ev, var, origin);
        self.forget();
        let keyword = if name.contains(':') { split_keyword(name) } else { None };
        if let Some((base, keyword, overrides)) = keyword {
            let base = Sym::new(base);
            let text = value.to_text();
            self.edit(base).operations_mut(keyword).push(Operation::new(text, overrides));
            if self.history.is_some() {
                let operation = overrides
                    .filter(|o| !o.is_empty())
                    .map_or_else(|| keyword.as_str().to_owned(), |o| format!("{}[{o}]", keyword.as_str()));
                self.record(base, &operation, None, value.clone(), origin);
            }
            self.add_variants(base);
            if self.override_vars.contains(&base) {
                self.touch_overrides(ev, var, &value)?;
            }
            return Ok(());
        }
        if !parsing {
            if let Some(variable) = self.vars.get(&var)
                && (!variable.append.is_empty() || !variable.prepend.is_empty() || !variable.remove.is_empty())
            {
                let variable = self.edit(var);
                variable.append.clear();
                variable.prepend.clear();
                variable.remove.clear();
            }
            if let Some(variants) = self.variants.get(&var).cloned() {
                let active = self.need_overrides(ev)?;
                for (full, over) in variants.iter() {
                    if active.covers(*over) {
                        self.delete(*full, Origin::internal());
                    }
                }
                self.variants.remove(&var);
            }
        }
        if name.contains(':') {
            self.add_variants(var);
        }
        self.edit(var).content = Some(value.clone());
        if self.history.is_some() {
            self.record(var, operation, None, detail.unwrap_or_else(|| value.clone()), origin);
        }
        if self.override_vars.contains(&var) {
            self.touch_overrides(ev, var, &value)?;
        }
        Ok(())
    }

    fn check_renamed(&mut self, ev: &mut dyn Evaluate, var: Sym, origin: Origin) {
        let name = var.as_str();
        let short = match name.split_once(':') {
            Some((short, _)) => match Sym::find(short) {
                Some(short) => short,
                None => return,
            },
            None => var,
        };
        if let Some(new) = self.renamed.get(&short) {
            let what = if new.contains(' ') { new.to_string() } else { format!("has been renamed to {new}") };
            ev.warn(format!("{}:{}: the variable {short} {what}", origin.file, origin.line));
            self.uses_renamed = true;
        }
    }

    /// Adds text to the end when the variable is read: `:append`.
    pub fn append(&mut self, ev: &mut dyn Evaluate, var: Sym, text: &str, origin: Origin) -> Result<()> {
        self.set_parsing(ev, Sym::new(&format!("{var}:append")), text.into(), origin)
    }

    /// Adds text to the front when the variable is read: `:prepend`.
    pub fn prepend(&mut self, ev: &mut dyn Evaluate, var: Sym, text: &str, origin: Origin) -> Result<()> {
        self.set_parsing(ev, Sym::new(&format!("{var}:prepend")), text.into(), origin)
    }

    /// Deletes a variable with its flags and override variants.
    pub fn delete(&mut self, var: Sym, origin: Origin) {
        self.forget();
        self.record(var, "del", None, "".into(), origin);
        *self.edit(var) = super::Variable::default();
        self.variants.remove(&var);
        self.remove_variants(var);
    }

    /// Sets a flag. The names `_defaultval` and `_defaultval_flag_X` are the weak defaults of the value and of a flag.
    pub fn set_flag(&mut self, ev: &mut dyn Evaluate, var: Sym, flag: Sym, value: Value, origin: Origin) -> Result<()> {
        self.set_flag_as(ev, var, flag, value, "set", None, origin)
    }

    #[expect(clippy::too_many_arguments, reason = "an assignment has that many parts")]
    pub(crate) fn set_flag_as(
        &mut self,
        ev: &mut dyn Evaluate,
        var: Sym,
        flag: Sym,
        value: Value,
        operation: &str,
        detail: Option<Value>,
        origin: Origin,
    ) -> Result<()> {
        if matches!(flag.as_str(), "_content" | "_defaultval") {
            self.forget();
        } else {
            self.forget_computed();
        }
        if var.as_str() == "BB_RENAMED_VARIABLES" {
            Arc::make_mut(&mut self.renamed).insert(flag, value.to_text());
        }
        self.check_renamed(ev, var, origin);
        if self.history.is_some() {
            self.record(var, operation, Some(flag), detail.unwrap_or_else(|| value.clone()), origin);
        }
        match flag.as_str() {
            "_content" => self.edit(var).content = Some(value),
            "_defaultval" => {
                self.edit(var).default = Some(value.clone());
                if var.as_str().contains(':') {
                    self.add_variants(var);
                }
                if self.override_vars.contains(&var) {
                    self.touch_overrides(ev, var, &value)?;
                }
            }
            "export" | "unexport" => {
                self.edit(var).set_flag(flag, value);
                if !self.exports.contains(&var) {
                    Arc::make_mut(&mut self.exports).insert(var);
                }
            }
            name => match name.strip_prefix("_defaultval_flag_") {
                Some(flag) => self.edit(var).set_flag_default(Sym::new(flag), value),
                None => self.edit(var).set_flag(flag, value),
            },
        }
        Ok(())
    }

    /// Adds text to the end of a flag, now.
    pub fn append_flag(
        &mut self,
        ev: &mut dyn Evaluate,
        var: Sym,
        flag: Sym,
        text: &str,
        origin: Origin,
    ) -> Result<()> {
        let old = self.flag_raw(var, flag).map(|value| value.to_text()).unwrap_or_default();
        self.set_flag_as(ev, var, flag, format!("{old}{text}").into(), "append", Some(text.into()), origin)
    }

    /// Adds text to the front of a flag, now.
    pub fn prepend_flag(
        &mut self,
        ev: &mut dyn Evaluate,
        var: Sym,
        flag: Sym,
        text: &str,
        origin: Origin,
    ) -> Result<()> {
        let old = self.flag_raw(var, flag).map(|value| value.to_text()).unwrap_or_default();
        self.set_flag_as(ev, var, flag, format!("{text}{old}").into(), "prepend", Some(text.into()), origin)
    }

    /// Deletes a flag.
    pub fn delete_flag(&mut self, var: Sym, flag: Sym, origin: Origin) {
        self.forget_computed();
        // A weak default goes only together with a value of its own.
        if self.vars.get(&var).is_some_and(|variable| variable.flag(flag).is_some()) {
            self.record(var, "delFlag", Some(flag), "".into(), origin);
            let variable = self.edit(var);
            variable.flags.retain(|(name, _)| *name != flag);
            variable.flag_defaults.retain(|(name, _)| *name != flag);
        }
    }

    /// Deletes everything but the value.
    pub fn delete_flags(&mut self, var: Sym, origin: Origin) {
        self.forget();
        self.record(var, "delete flags", None, "".into(), origin);
        let content = self.vars.get(&var).and_then(|variable| variable.content.clone());
        let variable = self.edit(var);
        *variable = super::Variable { content, ..super::Variable::default() };
    }

    /// The flags that metadata sees, in order: no weak default's own name, nothing internal.
    pub fn flags(&self, var: Sym) -> Vec<(Sym, Value)> {
        let Some(variable) = self.vars.get(&var) else { return Vec::new() };
        let visible = |flag: &Sym| !flag.as_str().starts_with(['_', ':']);
        let own = variable.flags.iter().filter(|(flag, _)| visible(flag));
        let weak = variable.flag_defaults.iter().filter(|(flag, _)| variable.flag(*flag).is_none());
        own.chain(weak).cloned().collect()
    }

    /// Every flag under its own name, internal ones too: the value as `_content`, weak defaults, pending operations.
    pub fn all_flags(&self, var: Sym) -> Vec<(Sym, Value)> {
        let Some(variable) = self.vars.get(&var) else { return Vec::new() };
        let mut flags: Vec<_> = Vec::new();
        flags.extend(variable.content.clone().map(|value| (Sym::new("_content"), value)));
        flags.extend(variable.default.clone().map(|value| (Sym::new("_defaultval"), value)));
        for keyword in Keyword::ALL {
            let operations = variable.operations(keyword);
            if !operations.is_empty() {
                flags.push((Sym::new(keyword.as_str()), operations_value(operations)));
            }
        }
        flags.extend(variable.flags.iter().cloned());
        let weak = variable.flag_defaults.iter();
        flags.extend(weak.map(|(flag, value)| (Sym::new(&format!("_defaultval_flag_{flag}")), value.clone())));
        flags
    }

    /// Renames a variable with its pending operations and override variants.
    pub fn rename(&mut self, ev: &mut dyn Evaluate, old: Sym, new: Sym, origin: Origin) -> Result<()> {
        if old == new {
            ev.warn(format!("renameVar of {old} to itself"));
            return Ok(());
        }
        let mut found = false;
        let value = self.lookup(ev, old, None, super::Lookup { parsing: true, ..super::Lookup::default() })?.0;
        if let Some(value) = &value {
            if let Some(history) = &mut self.history {
                history.copy_entries(old, new);
            }
            self.record(new, &format!("rename from {old}"), None, value.clone(), origin);
            self.set_parsing_silently(ev, new, value.clone())?;
            found = true;
        }
        if let Some(variable) = self.vars.get(&old).cloned() {
            for keyword in Keyword::ALL {
                let operations = variable.operations(keyword);
                if !operations.is_empty() {
                    self.forget();
                    self.edit(new).operations_mut(keyword).extend(operations.iter().cloned());
                    found = true;
                }
            }
        }
        if let Some(variants) = self.variants.get(&old).cloned() {
            found = true;
            *self.edit_variants(new) = Arc::default();
            for (full, over) in variants.iter() {
                let renamed = Sym::new(&full.as_str().replace(old.as_str(), new.as_str()));
                Arc::make_mut(self.edit_variants(new)).push((renamed, *over));
                self.rename(ev, *full, renamed, Origin::internal())?;
            }
        }
        if !found {
            return Ok(());
        }
        if value.is_none() && new.as_str().contains(':') {
            self.add_variants(new);
        }
        self.record(old, "rename (to)", None, new.as_str().into(), origin);
        self.delete(old, origin);
        Ok(())
    }

    fn set_parsing_silently(&mut self, ev: &mut dyn Evaluate, var: Sym, value: Value) -> Result<()> {
        let history = self.history.take();
        let result = self.set_parsing(ev, var, value, Origin::internal());
        self.history = history;
        result
    }

    /// The pending operations of one kind, as Python sees them.
    #[cfg(test)]
    pub(crate) fn pending(&self, var: Sym, keyword: Keyword) -> Value {
        self.vars.get(&var).map_or(Value::None, |variable| operations_value(variable.operations(keyword)))
    }

    pub(crate) fn define(&mut self, function: Sym, definition: Definition) {
        Arc::make_mut(&mut self.functions).insert(function, definition);
    }
}
