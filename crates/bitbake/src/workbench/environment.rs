//! Variables, as `bitbake -e` and `bitbake-getvar` show them.

use std::fmt::Write as _;
use std::path::Path;

use super::Workbench;
use super::question::{Answer, Refusal};
use crate::config::{show, write_environment};
use crate::data::Store;
use crate::error::{Error, Result};
use crate::python::Session;

/// What is to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Variables {
    /// A recipe, by anything it provides or by its path; `mc:NAME` for a configuration; `None` for the default one.
    pub recipe: Option<String>,
    /// One variable alone.
    pub variable: Option<String>,
    /// Also every line that set it.
    pub history: bool,
}

/// Shows variables; the build directory has been opened with history where that is wanted.
pub(super) fn show_variables(bench: &Workbench, wanted: &Variables, answer: &mut Answer) -> Result<()> {
    let mut session = bench.dir.session(false);
    let result = fill(bench, &mut session, wanted, answer);
    bench.dir.give_back(session);
    result
}

fn fill(bench: &Workbench, session: &mut Session, wanted: &Variables, answer: &mut Answer) -> Result<()> {
    let configuration = wanted.recipe.as_deref().map_or(Some(""), |name| name.strip_prefix("mc:"));
    let mut store = match &wanted.recipe {
        Some(name) if configuration.is_none_or(|own| own.contains(':')) => {
            let Some(store) = recipe_store(bench, session, name)? else {
                let hint = "`buildnet bitbake recipes` shows all recipes, and why some are skipped.";
                answer.refusal = Some(Refusal::new(format!("nothing provides {name}"), hint));
                return Ok(());
            };
            store
        }
        _ => {
            let name = configuration.unwrap_or_default();
            let Some((_, store)) = bench.dir.configurations().find(|(own, _)| *own == name) else {
                let text = format!("there is no multiconfig {name} in BBMULTICONFIG");
                answer.refusal = Some(Refusal { message: text, hint: None });
                return Ok(());
            };
            let mut store = store.copy();
            store.expand_keys(session)?;
            store
        }
    };
    let Some(name) = &wanted.variable else {
        let mut text = Vec::new();
        let written = write_environment(session, &mut store, &mut text)?;
        written.map_err(|error| Error::Fatal(error.to_string()))?;
        answer.text = String::from_utf8_lossy(&text).into_owned();
        return Ok(());
    };
    let shown = show(session, &mut store, name)?;
    if shown.value.is_none() && shown.history.is_empty() && shown.flags.is_empty() {
        let hint = "`buildnet bitbake env` without -v shows everything that is.";
        answer.refusal = Some(Refusal::new(format!("{name} is not set"), hint));
        return Ok(());
    }
    let value = shown.value.unwrap_or_default();
    if !wanted.history {
        answer.text = format!("{value}\n");
        return Ok(());
    }
    let variants = shown.variants.iter().map(|(variant, entries)| (variant, entries));
    for (variant, entries) in [(name, &shown.history)].into_iter().chain(variants) {
        for entry in entries {
            let flag = entry.flag.map(|flag| format!("[{flag}]")).unwrap_or_default();
            let (file, line) = (entry.origin.file, entry.origin.line);
            let (operation, detail) = (&entry.operation, entry.detail.to_string());
            let _ = writeln!(answer.text, "{file}:{line}: {operation} {variant}{flag} {detail:?}");
        }
    }
    let _ = writeln!(answer.text, "{name} = {value:?}");
    Ok(())
}

fn recipe_store(bench: &Workbench, session: &mut Session, name: &str) -> Result<Option<Store>> {
    let is_file = Path::new(name).extension().is_some_and(|extension| extension == "bb");
    let by_file = is_file.then(|| bench.recipe_matching(name, &bench.directory).ok()).flatten();
    let Some((index, variant)) = by_file else {
        return Ok(bench.dir.read_target(session, name, bench.threads)?.map(|found| found.store));
    };
    let file = &bench.dir.recipes()[index];
    let mut variants = bench.dir.read_recipe(session, file, Some(&variant))?;
    Ok(variants.pop().map(|found| found.store))
}
