//! Showing variables and where they were set.

use std::io::{self, Write};

use super::base::BuildDir;
use super::every::ParseOptions;
use super::layers::RecipeFile;
use crate::data::{Entry, Store};
use crate::error::Result;
use crate::graph::Universe;
use crate::metadata::Finalised;
use crate::python::Session;
use crate::recipe::{RecipeInfo, split_multiconfig};
use crate::{Sym, Value};

/// Everything known of one variable.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Its expanded value; `None` when it is not set.
    pub value: Option<String>,
    /// Its value before expansion.
    pub unexpanded: Option<String>,
    /// Its flags, unexpanded.
    pub flags: Vec<(String, String)>,
    /// Every line that set it, in order; empty unless the build directory was opened with history.
    pub history: Vec<Entry>,
    /// The same for each override variant of it that is set.
    pub variants: Vec<(String, Vec<Entry>)>,
}

/// Everything known of a variable in a store.
pub fn show(session: &mut Session, store: &mut Store, name: &str) -> Result<Shown> {
    let var = Sym::new(name);
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    let value = text(store.get(session, var)?);
    let unexpanded = text(store.get_raw(session, var)?);
    let entries = |var: Sym| store.history().map(|history| history.of(var).to_vec()).unwrap_or_default();
    Ok(Shown {
        name: name.to_owned(),
        value,
        unexpanded,
        flags: store.flags(var).iter().map(|(flag, value)| (flag.to_string(), value.to_string())).collect(),
        history: entries(var),
        variants: store.variant_names(var).into_iter().map(|full| (full.to_string(), entries(full))).collect(),
    })
}

/// Writes all variables as shell assignments with their history as comments, then the shell functions, then the Python functions:
/// what `bitbake -e` shows.
pub fn write_environment(session: &mut Session, store: &mut Store, out: &mut dyn Write) -> Result<io::Result<()>> {
    let mut names: Vec<&str> =
        store.keys(session)?.into_iter().map(Sym::as_str).filter(|n| !n.starts_with("__")).collect();
    names.sort_unstable();
    let (func, python, export, unexport) =
        (Sym::new("func"), Sym::new("python"), Sym::new("export"), Sym::new("unexport"));
    let is = |store: &Store, name: &str, flag: Sym| {
        store
            .flag_raw(Sym::new(name), flag)
            .is_some_and(|value| !matches!(value.to_text().to_lowercase().as_str(), "" | "0" | "n" | "no" | "false"))
    };
    let mut text = String::new();
    for name in &names {
        if is(store, name, func) {
            continue;
        }
        let shown = show(session, store, name)?;
        comment(&mut text, &shown);
        if is(store, name, unexport) {
            text.extend([format!("unset {name}\n")]);
        } else if let Some(value) = shown.value {
            let value = value.replace('"', "\\\"").replace('`', "\\`").replace('\n', " \\\n").replace('$', "\\$");
            let export = if is(store, name, export) { "export " } else { "" };
            text.extend([format!("{export}{name}=\"{value}\"\n")]);
        }
    }
    let functions: Vec<&str> = names.iter().copied().filter(|name| is(store, name, func)).collect();
    let (in_python, in_shell): (Vec<&str>, Vec<&str>) = functions.into_iter().partition(|name| is(store, name, python));
    for name in in_shell {
        let place =
            |flag: &str| store.flag_raw(Sym::new(name), Sym::new(flag)).map(|v| v.to_string()).unwrap_or_default();
        text.extend([format!("# line: {}, file: {}\n", place("lineno"), place("filename"))]);
        let body = store.get(session, Sym::new(name))?.map(|value| value.to_string()).unwrap_or_default();
        text.extend([format!("{name}() {{\n{}\n}}\n\n", body.trim_end_matches('\n'))]);
    }
    text.push('\n');
    let mut anonymous: Vec<(&str, &str)> =
        store.anonymous.iter().map(|function| (function.name.as_str(), &*function.text)).collect();
    anonymous.sort_unstable();
    for (name, body) in anonymous {
        text.extend([format!("\npython {name} () {{\n{body}}}\n\n")]);
    }
    for name in in_python {
        let body = store.get_raw(session, Sym::new(name))?.map(|value| value.to_string()).unwrap_or_default();
        text.extend([format!("\npython {name} () {{\n{body}}}\n\n")]);
    }
    Ok(out.write_all(text.as_bytes()))
}

fn comment(text: &mut String, shown: &Shown) {
    let count = shown.history.len() + shown.variants.iter().map(|(_, entries)| entries.len()).sum::<usize>();
    let operations = if count > 1 { format!(" [{count} operations]") } else { String::new() };
    text.extend([format!("#\n# ${}{operations}\n", shown.name)]);
    if count == 0 {
        text.push_str("#   [no history recorded]\n");
    }
    let own = shown.history.iter().map(|entry| (None, entry));
    let others = shown.variants.iter().flat_map(|(name, entries)| entries.iter().map(move |entry| (Some(name), entry)));
    for (variant, entry) in own.chain(others) {
        let operation =
            variant.map_or_else(|| entry.operation.clone(), |name| format!("override[{name}]:{}", entry.operation));
        let flag = entry.flag.map_or_else(String::new, |flag| format!("[{flag}] "));
        let detail = entry.detail.to_string().replace('\n', "\n#     ");
        text.extend([format!(
            "#   {operation} {}:{}\n#     {flag}\"{detail}\"\n",
            entry.origin.file, entry.origin.line
        )]);
    }
    if count > 1 {
        let raw = shown.unexpanded.clone().unwrap_or_else(|| "None".into()).replace('\n', "\n# ");
        text.extend([format!("# pre-expansion value:\n#   \"{raw}\"\n")]);
    }
}

impl BuildDir {
    /// The file that a variant was read from.
    pub fn recipe_file(&self, info: &RecipeInfo) -> Option<&RecipeFile> {
        self.recipes().iter().find(|file| file.path == info.path && file.multiconfig == info.multiconfig)
    }

    /// Reads the recipe that a build of `target` would choose. Recipes whose file is named like the target are tried first, and all
    /// others only when none of them provides it. `None` when nothing does.
    pub fn read_target(&self, session: &mut Session, target: &str, threads: usize) -> Result<Option<Finalised>> {
        let (multiconfig, name) = split_multiconfig(target);
        let stem = name.trim_start_matches("nativesdk-").trim_end_matches("-native");
        let named = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            let name = file.strip_suffix(".bb").unwrap_or(file).split('_').next().unwrap_or_default();
            name == stem || (name.len() > 2 && stem.starts_with(name))
        };
        let own = |index: &usize| self.recipes()[*index].multiconfig == multiconfig;
        let all = (0..self.recipes().len()).filter(own);
        let likely: Vec<usize> = all.clone().filter(|index| named(&self.recipes()[*index].path)).collect();
        for chosen in [likely, all.collect()] {
            let options = ParseOptions { threads, sign: false };
            let outcomes = self.each_recipe(Some(&chosen), options, RecipeInfo::of);
            let mut infos = Vec::new();
            for outcome in outcomes {
                infos.extend(outcome.variants?);
            }
            let mut universe = Universe::new(self, infos)?;
            let Some(best) = universe.build_providers(target)?.first().copied() else { continue };
            let info = &universe.recipes[best];
            let Some(file) = self.recipe_file(info) else { continue };
            return Ok(self.read_recipe(session, file, Some(&info.variant))?.pop());
        }
        Ok(None)
    }
}
