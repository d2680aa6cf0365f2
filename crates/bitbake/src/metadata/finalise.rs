//! Finalising a recipe and its variants.

use super::files::{Reader, defer, list, text_value};
use super::tasks::TaskTable;
use crate::data::{Origin, Store};
use crate::error::{Error, Result};
use crate::python::Session;
use crate::recipe::StoreView;
use crate::signature::RecipeSignatures;
use crate::{Sym, Value};

/// A variant of a recipe, finalised or skipped.
#[derive(Clone)]
pub struct Finalised {
    /// Its name: empty for the recipe itself, else `native`, `nativesdk`, ….
    pub variant: String,
    /// Its datastore.
    pub store: Store,
    /// Its tasks; none when it is skipped.
    pub tasks: TaskTable,
    /// The signatures of its tasks; none when it is skipped, or was not signed.
    pub signatures: Option<RecipeSignatures>,
    /// Why it is skipped.
    pub skipped: Option<String>,
}

impl Reader<'_> {
    /// Reads a recipe with its appends into a copy of the configuration, and finalises every variant of it. Each is handed over before the
    /// next one is made: a recipe may have a hundred.
    ///
    /// `only` restricts the work to one variant.
    pub fn recipe(
        &mut self,
        mut store: Store,
        file: Sym,
        appends: &[String],
        only: Option<&str>,
        each: &mut dyn FnMut(&mut Session, Finalised) -> Result<()>,
    ) -> Result<()> {
        match self.read(&mut store, file, false) {
            Ok(()) => {}
            Err(Error::Skip(reason)) => return each(self.session, skipped(String::new(), store, reason)),
            Err(error) => return Err(error),
        }
        for append in appends {
            self.read(&mut store, Sym::new(append), true)?;
        }
        let wanted = |variant: &str| only.is_none_or(|only| only == variant);
        let mut safe = store.copy();
        let mut variant = self.finalise(store, file, String::new())?;
        let base = &mut variant.store;
        let extended = base.get_text(self.session, "BBCLASSEXTEND")?.unwrap_or_default();
        let name = base.get_text(self.session, "PN")?.unwrap_or_default();
        if wanted("") {
            each(self.session, variant)?;
        }
        if extended.trim().is_empty() {
            return Ok(());
        }
        safe.set(self.session, Sym::new("BBCLASSEXTEND"), extended.clone().into(), Origin::internal())?;
        let mut seen = Vec::new();
        for extension in extended.split_whitespace() {
            if seen.contains(&extension) || !wanted(extension) {
                continue;
            }
            seen.push(extension);
            let mut copy = safe.copy();
            let class = if let Some((class, argument)) = extension.split_once(':') {
                let argument = argument.split(':').next().unwrap_or_default();
                copy.set(self.session, Sym::new("BBEXTENDCURR"), class.into(), Origin::internal())?;
                copy.set(self.session, Sym::new("BBEXTENDVARIANT"), argument.into(), Origin::internal())?;
                class
            } else {
                copy.set(self.session, Sym::new("PN"), format!("{name}-{extension}").into(), Origin::internal())?;
                extension
            };
            defer(&mut copy, self.session, class, file, 0)?;
            let variant = self.finalise(copy, file, extension.to_owned())?;
            each(self.session, variant)?;
        }
        Ok(())
    }

    fn finalise(&mut self, mut store: Store, file: Sym, variant: String) -> Result<Finalised> {
        match self.finalise_steps(&mut store, file) {
            Ok((tasks, signatures)) => Ok(Finalised { variant, store, tasks, signatures, skipped: None }),
            Err(error) => match skip_reason(error) {
                Ok(reason) => {
                    store.set(self.session, Sym::new("__SKIPPED"), reason.as_str().into(), Origin::internal())?;
                    Ok(skipped(variant, store, reason))
                }
                Err(error) => Err(error),
            },
        }
    }

    fn finalise_steps(&mut self, store: &mut Store, file: Sym) -> Result<(TaskTable, Option<RecipeSignatures>)> {
        if store.uses_renamed {
            return Err(Error::Fatal(format!("{file} uses variables that were renamed")));
        }
        let name = Value::from(file.as_str());
        let waiting = Sym::new("__BBDEFINHERITS");
        let inherits = list(store.get_raw(self.session, waiting)?);
        let classes = if inherits.is_empty() {
            vec![Value::from("")]
        } else {
            inherits.iter().filter_map(|entry| first(entry).cloned()).collect()
        };
        self.fire(store, "RecipePreDeferredInherits", &[name.clone(), Value::List(classes.into())])?;
        loop {
            let mut inherits = list(store.get_raw(self.session, waiting)?);
            if inherits.is_empty() {
                break;
            }
            let entry = inherits.remove(0);
            store.set(self.session, waiting, Value::List(inherits.into()), Origin::internal())?;
            if let Value::Tuple(parts) = &entry
                && let [Value::Str(classes), Value::Str(from), Value::Int(line)] = parts.as_slice()
            {
                self.inherit(store, classes, Sym::new(from), u32::try_from(*line).unwrap_or_default(), true)?;
            }
        }
        self.register_handlers(store)?;
        self.fire(store, "RecipePreFinalise", std::slice::from_ref(&name))?;
        store.expand_keys(self.session)?;
        self.fire(store, "RecipePostKeyExpansion", std::slice::from_ref(&name))?;
        let anonymous = std::sync::Arc::clone(&store.anonymous);
        for function in anonymous.iter() {
            self.session.run(store, function.name, &function.text, function.file, function.line)?;
        }
        let tasks = self.task_names(store)?;
        let names = tasks.iter().map(|task| task.as_str().into()).collect::<Vec<Value>>();
        self.fire(store, "RecipeTaskPreProcess", &[name.clone(), Value::List(names.into())])?;
        self.virtual_providers(store, &tasks)?;
        let table = self.task_table(store)?;
        let signatures = self.sign(store, &tasks)?;
        let files: Vec<&str> = store.files().map(Sym::as_str).collect();
        let files = files.join(" ");
        store.set(self.session, Sym::new("BBINCLUDED"), files.into(), Origin::internal())?;
        self.fire(store, "RecipeParsed", &[name])?;
        Ok((table, signatures))
    }

    fn sign(&mut self, store: &mut Store, tasks: &[Sym]) -> Result<Option<RecipeSignatures>> {
        let Some(mut signer) = self.session.signer.take() else { return Ok(None) };
        let signatures = signer.signatures(&mut StoreView::new(self.session, store), tasks);
        self.session.signer = Some(signer);
        signatures.map(Some)
    }

    /// Replaces virtual recipe providers in DEPENDS and the tasks' `depends` by the preferred recipe.
    fn virtual_providers(&mut self, store: &mut Store, tasks: &[Sym]) -> Result<()> {
        let virtuals = store.get_words(self.session, "BB_RECIPE_VIRTUAL_PROVIDERS")?;
        let depends_var = Sym::new("DEPENDS");
        let mut depends = store.get_words(self.session, "DEPENDS")?;
        for dep in depends.iter_mut().filter(|dep| virtuals.contains(dep)) {
            *dep = self.preferred(store, dep)?;
        }
        store.set(self.session, depends_var, depends.join(" ").into(), Origin::internal())?;
        let flag = Sym::new("depends");
        for task in tasks {
            let text = text_value(store.get_flag(self.session, *task, flag)?);
            let mut entries = Vec::new();
            for entry in text.split_whitespace() {
                let Some((recipe, other)) = entry.split_once(':') else {
                    return Err(Error::Fatal(format!("{task}[depends]: {entry} is not RECIPE:TASK")));
                };
                let recipe = if virtuals.iter().any(|v| v == recipe) {
                    self.preferred(store, recipe)?
                } else {
                    recipe.to_owned()
                };
                entries.push(format!("{recipe}:{other}"));
            }
            store.set_flag(self.session, *task, flag, entries.join(" ").into(), Origin::internal())?;
        }
        Ok(())
    }

    fn preferred(&mut self, store: &mut Store, provided: &str) -> Result<String> {
        let chosen =
            store.get_text(self.session, &format!("PREFERRED_PROVIDER_{provided}"))?.filter(|text| !text.is_empty());
        chosen
            .map(|text| text.to_string())
            .ok_or_else(|| Error::Fatal(format!("PREFERRED_PROVIDER_{provided} is not set")))
    }
}

fn first(entry: &Value) -> Option<&Value> {
    match entry {
        Value::Tuple(parts) => parts.first(),
        _ => None,
    }
}

fn skipped(variant: String, store: Store, reason: String) -> Finalised {
    Finalised { variant, store, tasks: TaskTable::default(), signatures: None, skipped: Some(reason) }
}

fn skip_reason(error: Error) -> std::result::Result<String, Error> {
    match error {
        Error::Skip(reason) => Ok(reason),
        other => Err(other),
    }
}
