//! Reading the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::environment::approved;
use super::layers::{Found, Layer, RecipeFile, layers as layers_of, recipe_files};
use crate::data::{Evaluate as _, Origin, Store};
use crate::error::{Error, Result};
use crate::metadata::{Finalised, Reader, join};
use crate::persist::Seen;
use crate::python::{Launch, LibraryFunction, Runtime, Session};
use crate::shared::Shared;
use crate::signature::{Generator, Library, LibrarySource};
use crate::{Sym, Text, Value};

/// How often event handlers may ask to read the configuration again.
const REREADS: usize = 20;

/// How to open a build directory.
#[derive(Clone, Debug)]
pub struct Options {
    /// The build directory, which holds `conf/`.
    pub build_dir: PathBuf,
    /// The user's environment.
    pub environment: Vec<(String, String)>,
    /// The Python interpreter, 3.9 or newer.
    pub python: PathBuf,
    /// Directories to search for Python modules before our own runtime.
    pub python_path: Vec<PathBuf>,
    /// Where private files may be written.
    pub temporary: PathBuf,
    /// Whether to record who set what.
    pub history: bool,
    /// How long a single piece of Python may run; a minute is far more than any needs.
    pub time_limit: Duration,
}

/// A further configuration of the same build directory: `conf/multiconfig/NAME.conf` on top of all else.
pub struct Multiconfig {
    /// Its name in `BBMULTICONFIG`.
    pub name: String,
    /// What its recipes start from.
    pub store: Store,
}

/// A build directory with its configuration read.
pub struct BuildDir {
    /// The default configuration, which its recipes start from.
    pub store: Store,
    /// Python.
    pub session: Session,
    /// The layers, in the order of `BBFILE_COLLECTIONS`.
    pub layers: Vec<Layer>,
    /// The other configurations that `BBMULTICONFIG` names, in its order.
    pub multiconfigs: Vec<Multiconfig>,
    recipes: Vec<RecipeFile>,
    library: Arc<Library>,
    ignored: Vec<Sym>,
    /// Sessions whose Python is running and waits for more.
    idle: Mutex<Vec<Session>>,
    /// What was looked at while the configuration was read.
    seen: Vec<Seen>,
    /// Directories that were listed to find the recipes.
    listed: Vec<PathBuf>,
    /// How many recipes and appends BBMASK hides.
    pub masked: usize,
    /// The variables that the user's environment sets, where he stands aside.
    user_settings: Vec<(String, String)>,
}

impl BuildDir {
    /// Reads the configuration of a build directory.
    pub fn open(options: &Options) -> Result<Self> {
        let mut runtime = Runtime::write(&options.temporary)?;
        for path in &options.python_path {
            runtime = runtime.with_path(path.clone());
        }
        let launch = Launch {
            python: options.python.clone(),
            runtime: Arc::new(runtime),
            environment: options.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            directory: options.build_dir.clone(),
            limit: options.time_limit,
        };
        let shared = Arc::new(Shared::new(options.environment.clone(), options.build_dir.clone()));
        let mut session = Session::new(shared, launch);
        let mut store = read_configuration(&mut session, options, "")?;
        let mut reader = Reader::of_configuration(&mut session);
        reader.fire(&mut store, "ConfigParsed", &[])?;
        let invalid = Sym::new("BB_INVALIDCONF");
        for round in 0.. {
            if store.get_raw(&mut session, invalid)? != Some(Value::Bool(true)) {
                break;
            }
            if round > REREADS {
                return Err(Error::Fatal(format!(
                    "the configuration was read {REREADS} times, and its event handlers still call it invalid (BB_INVALIDCONF)"
                )));
            }
            store = read_configuration(&mut session, options, "")?;
            Reader::of_configuration(&mut session).fire(&mut store, "ConfigParsed", &[])?;
        }
        let mut multiconfigs = read_multiconfigs(&mut session, &mut store, options)?;
        if store.uses_renamed {
            return Err(Error::Fatal("the configuration uses variables that were renamed".into()));
        }
        for store in std::iter::once(&mut store).chain(multiconfigs.iter_mut().map(|other| &mut other.store)) {
            store.seal_files();
            store.set(&mut session, Sym::new("__bbclasstype"), "recipe".into(), Origin::internal())?;
        }
        let layers = layers_of(&mut session, &mut store)?;
        let Found { mut recipes, mut listed, mut masked } = recipe_files(&mut session, &mut store, &layers, "")?;
        for Multiconfig { name, store } in &mut multiconfigs {
            let more = recipe_files(&mut session, store, &layers, name)?;
            recipes.extend(more.recipes);
            listed.extend(more.listed);
            masked += more.masked;
        }
        let library = Arc::new(library(&mut session, &mut store)?);
        let ignored =
            store.get_words(&mut session, "BB_BASEHASH_IGNORE_VARS")?.iter().map(|name| Sym::new(name)).collect();
        let user_settings = approved(&options.environment).into_iter().map(|(name, value, _)| (name, value));
        let user_settings = user_settings.filter(|(name, _)| name != "PWD").collect();
        let seen = session.seen.drain().collect();
        let idle = Mutex::new(vec![session.hand_over()]);
        Ok(Self {
            store,
            session,
            layers,
            multiconfigs,
            recipes,
            library,
            ignored,
            idle,
            seen,
            listed,
            masked,
            user_settings,
        })
    }

    /// A session for one thread that reads recipes; with `sign` it also makes the signatures of their tasks.
    pub fn session(&self, sign: bool) -> Session {
        let idle = self.idle.lock().pop();
        let mut session = idle.unwrap_or_else(|| self.session.fork());
        session.signer = sign.then(|| Generator::new(Arc::clone(&self.library), self.ignored.iter().copied()));
        session
    }

    /// What was looked at while the configuration was read.
    pub(crate) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Directories that were listed to find the recipes.
    pub(crate) fn listed(&self) -> &[PathBuf] {
        &self.listed
    }

    /// Looks for recipes and appends again.
    pub(crate) fn find_recipes(&mut self) -> Result<()> {
        let mut session = self.session(false);
        let (mut recipes, mut listed, mut masked) = (Vec::new(), Vec::new(), 0);
        for (name, store) in self.configurations() {
            let more = recipe_files(&mut session, &mut store.copy(), &self.layers, name)?;
            recipes.extend(more.recipes);
            listed.extend(more.listed);
            masked += more.masked;
        }
        self.give_back(session);
        (self.recipes, self.listed, self.masked) = (recipes, listed, masked);
        Ok(())
    }

    /// Takes back a session, for the next who needs one: its Python is running already.
    pub(crate) fn give_back(&self, mut session: Session) {
        if session.is_at_rest() {
            self.idle.lock().push(session);
        }
    }

    /// Ends the Python of all but so many sessions.
    pub(crate) fn dismiss(&self, but: usize) {
        self.idle.lock().truncate(but);
    }

    /// All configurations' stores, to mark variables.
    pub(crate) fn stores_mut(&mut self) -> impl Iterator<Item = &mut Store> {
        std::iter::once(&mut self.store).chain(self.multiconfigs.iter_mut().map(|other| &mut other.store))
    }

    /// The variables that the user's environment sets, `PWD` aside.
    pub(crate) fn user_settings(&self) -> &[(String, String)] {
        &self.user_settings
    }

    /// `BB_BASEHASH_IGNORE_VARS`: what no hash covers.
    pub fn ignored(&self) -> &[Sym] {
        &self.ignored
    }

    /// The recipes that BBFILES names and BBMASK leaves, in order, with their appends: those of the default configuration, then
    /// those of each other one.
    pub fn recipes(&self) -> &[RecipeFile] {
        &self.recipes
    }

    /// The configurations' names and stores, the default one (whose name is empty) first.
    pub fn configurations(&self) -> impl Iterator<Item = (&str, &Store)> {
        std::iter::once(("", &self.store))
            .chain(self.multiconfigs.iter().map(|other| (other.name.as_str(), &other.store)))
    }

    /// Reads one recipe with all its variants, or only one of them, in a session.
    pub fn read_recipe(
        &self,
        session: &mut Session,
        recipe: &RecipeFile,
        only: Option<&str>,
    ) -> Result<Vec<Finalised>> {
        let base = self.configurations().find(|(name, _)| *name == recipe.multiconfig).map(|(_, store)| store);
        Self::read_recipe_from(base.unwrap_or(&self.store), session, recipe, only)
    }

    /// The same, from a configuration that may differ from the one that was read.
    pub(crate) fn read_recipe_from(
        configuration: &Store,
        session: &mut Session,
        recipe: &RecipeFile,
        only: Option<&str>,
    ) -> Result<Vec<Finalised>> {
        let mut store = configuration.copy();
        let origin = Origin::internal();
        store.set(session, Sym::new("__BBMULTICONFIG"), recipe.multiconfig.as_str().into(), origin)?;
        let layer = recipe.layer.as_deref().map_or(Value::None, Value::from);
        store.set(session, Sym::new("FILE_LAYERNAME"), layer, origin)?;
        store.set(session, Sym::new("__BB_RECIPE_FILE"), recipe.path.as_str().into(), origin)?;
        if !recipe.appends.is_empty() {
            store.set(session, Sym::new("__BBAPPEND"), recipe.appends.join(" ").into(), origin)?;
        }
        Reader::new(session).recipe(store, Sym::new(&recipe.path), &recipe.appends, only)
    }
}

/// The functions of the layers' Python libraries, as signatures need them.
fn library(session: &mut Session, store: &mut Store) -> Result<Library> {
    let mut modules: BTreeMap<String, Vec<Arc<LibraryFunction>>> = BTreeMap::new();
    for function in session.shared.library() {
        let module = function.name.rsplit_once('.').map_or("", |(module, _)| module).to_owned();
        modules.entry(module).or_default().push(function);
    }
    let mut library = Library::default();
    for functions in modules.values_mut() {
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        let mut sources = Vec::new();
        for function in functions.iter() {
            let refs = session.code_refs(&function.source)?;
            let LibraryFunction { name, source, line, vardeps, vardepsexclude, .. } = &**function;
            sources.push((LibrarySource { name, source, line: *line, vardeps, vardepsexclude }, refs));
        }
        library.add_module(&sources);
    }
    let flag = Sym::new("vardepsexclude");
    let mut excluded = BTreeMap::new();
    for name in library.names().collect::<Vec<_>>() {
        if let Some(value) = store.get_flag(session, name, flag)? {
            let words: Vec<Sym> = value.to_text().split_whitespace().map(Sym::new).collect();
            excluded.insert(name, words);
        }
    }
    library.exclude(|name| excluded.get(&name).cloned().unwrap_or_default());
    Ok(library)
}

/// Finds `conf/bblayers.conf` along BBPATH, then in the build directory and above it.
fn find_bblayers(session: &mut Session, options: &Options) -> Option<PathBuf> {
    let path = options.environment.iter().find(|(name, _)| name == "BBPATH").map_or("", |(_, value)| value);
    let along = path.split(':').filter(|part| !part.is_empty()).map(PathBuf::from);
    along
        .chain(options.build_dir.ancestors().map(Path::to_owned))
        .map(|directory| directory.join("conf/bblayers.conf"))
        .find(|file| session.exists(Sym::new(&file.display().to_string())))
}

/// Reads the configurations that `BBMULTICONFIG` names, and tells the handlers when all are there.
fn read_multiconfigs(session: &mut Session, store: &mut Store, options: &Options) -> Result<Vec<Multiconfig>> {
    let mut others: Vec<Multiconfig> = Vec::new();
    for name in store.get_words(session, "BBMULTICONFIG")? {
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Error::Fatal(format!("BBMULTICONFIG: {name} starts with a digit, and may not")));
        }
        let mut store = read_configuration(session, options, &name).map_err(|error| {
            Error::Fatal(format!(
                "{error}
  in the multiconfig {name}"
            ))
        })?;
        Reader::of_configuration(session).fire(&mut store, "ConfigParsed", &[])?;
        match others.iter_mut().find(|other| other.name == name) {
            Some(same) => same.store = store,
            None => others.push(Multiconfig { name, store }),
        }
    }
    if !others.is_empty() {
        let mut stores: Vec<(Text, Store)> =
            others.iter_mut().map(|other| (other.name.as_str().into(), std::mem::take(&mut other.store))).collect();
        let fired = Reader::of_configuration(session).fire_multiconfig(store, &mut stores);
        for (other, (_, store)) in others.iter_mut().zip(stores) {
            other.store = store;
        }
        fired?;
    }
    Ok(others)
}

fn read_configuration(session: &mut Session, options: &Options, multiconfig: &str) -> Result<Store> {
    let origin = Origin::internal();
    let mut store = Store::new(options.history);
    for (name, value, exported) in approved(&options.environment) {
        let var = Sym::new(&name);
        store.set(session, var, value.into(), origin)?;
        if exported {
            store.set_flag(session, var, Sym::new("export"), Value::Bool(true), origin)?;
        }
    }
    store.set(session, Sym::new("__bbclasstype"), "global".into(), origin)?;
    store.set(session, Sym::new("BB_CURRENT_MC"), multiconfig.into(), origin)?;
    let mut reader = Reader::of_configuration(session);
    if let Some(conf) = find_bblayers(reader.session, options) {
        let top = conf.parent().and_then(Path::parent).unwrap_or(&options.build_dir).display().to_string();
        store.set(reader.session, Sym::new("TOPDIR"), top.into(), origin)?;
        reader.read_along_path(&mut store, &conf.display().to_string())?;
        default_cache_dir(&mut reader, &mut store)?;
        read_layers(&mut reader, &mut store, &conf.display().to_string())?;
    }
    let path = store.get_text(reader.session, "BBPATH")?.unwrap_or_default();
    if path.is_empty() {
        return Err(Error::Fatal(format!(
            "BBPATH is not set, and no conf/bblayers.conf lies in {} or above it",
            options.build_dir.display()
        )));
    }
    if store.get_text(reader.session, "TOPDIR")?.is_none_or(|top| top.is_empty()) {
        store.set(reader.session, Sym::new("TOPDIR"), options.build_dir.display().to_string().into(), origin)?;
    }
    default_cache_dir(&mut reader, &mut store)?;
    reader.read_along_path(&mut store, "conf/bitbake.conf")?;
    let mut classes = vec!["base".to_owned()];
    classes.extend(store.get_words(reader.session, "INHERIT")?);
    for class in classes {
        reader.inherit(&mut store, &class, Sym::new("configuration INHERITs"), 0, false)?;
    }
    reader.register_handlers(&mut store)?;
    let files: Vec<&str> = store.files().map(Sym::as_str).collect();
    let files = files.join(" ");
    store.set(reader.session, Sym::new("BBINCLUDED"), files.into(), origin)?;
    Ok(store)
}

fn default_cache_dir(reader: &mut Reader<'_>, store: &mut Store) -> Result<()> {
    if store.get_text(reader.session, "BB_CACHEDIR")?.is_none_or(|dir| dir.is_empty()) {
        store.set(reader.session, Sym::new("BB_CACHEDIR"), "${TOPDIR}/cache".into(), Origin::internal())?;
    }
    Ok(())
}

/// Reads every layer's `conf/layer.conf`, and checks that the layers fit together.
fn read_layers(reader: &mut Reader<'_>, store: &mut Store, bblayers: &str) -> Result<()> {
    let origin = Origin::internal();
    let layers = store.get_words(reader.session, "BBLAYERS")?;
    if layers.is_empty() {
        return Err(Error::Fatal(format!("{bblayers} sets no BBLAYERS")));
    }
    let absent: Vec<&String> = layers.iter().filter(|layer| !Path::new(layer).is_dir()).collect();
    if !absent.is_empty() {
        let names: Vec<&str> = absent.iter().map(|layer| layer.as_str()).collect();
        return Err(Error::Fatal(format!(
            "BBLAYERS in {bblayers} names directories that do not exist: {}",
            names.join(", ")
        )));
    }
    let mut core_names: BTreeSet<String> = BTreeSet::new();
    let mut compatible: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for layer in layers {
        let layer = layer.trim_end_matches('/');
        store.set(reader.session, Sym::new("LAYERDIR"), layer.into(), origin)?;
        store.set(reader.session, Sym::new("LAYERDIR_RE"), escape(layer).into(), origin)?;
        reader.read_along_path(store, &join(layer, "conf/layer.conf"))?;
        store.expand_reference(reader.session, Sym::new("LAYERDIR"))?;
        store.expand_reference(reader.session, Sym::new("LAYERDIR_RE"))?;
        // What a layer is compatible with is taken away at once, so that no other layer copies it.
        for collection in store.get_words(reader.session, "BBFILE_COLLECTIONS")? {
            let name = format!("LAYERSERIES_COMPAT_{collection}");
            let series = store.get_words(reader.session, &name)?;
            if !series.is_empty() {
                compatible.insert(collection, series.into_iter().collect());
                store.delete(Sym::new(&name), origin);
            }
        }
        if core_names.is_empty() {
            core_names = store.get_words(reader.session, "LAYERSERIES_CORENAMES")?.into_iter().collect();
            if !core_names.is_empty() {
                store.delete(Sym::new("LAYERSERIES_CORENAMES"), origin);
            }
        }
    }
    store.delete(Sym::new("LAYERDIR_RE"), origin);
    store.delete(Sym::new("LAYERDIR"), origin);
    for (collection, series) in &compatible {
        let series: Vec<&str> = series.iter().map(String::as_str).collect();
        store.set(
            reader.session,
            Sym::new(&format!("LAYERSERIES_COMPAT_{collection}")),
            series.join(" ").into(),
            origin,
        )?;
    }
    let collections = store.get_words(reader.session, "BBFILE_COLLECTIONS")?;
    let mut problems = dynamic_files(reader, store, &collections)?;
    problems.extend(incompatible(reader, &collections, &compatible, &core_names));
    if !problems.is_empty() {
        // What the layers need of each other is told along with it.
        if let Err(Error::Configuration(more)) = layers_of(reader.session, store) {
            problems.extend(more);
        }
        return Err(Error::Configuration(problems));
    }
    let names: Vec<&str> = core_names.iter().map(String::as_str).collect();
    store.set(reader.session, Sym::new("LAYERSERIES_CORENAMES"), names.join(" ").into(), origin)
}

/// BBFILES_DYNAMIC: files that count only with (or, after `!`, without) another layer. What is wrong with it, in words.
fn dynamic_files(reader: &mut Reader<'_>, store: &mut Store, collections: &[String]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for entry in store.get_words(reader.session, "BBFILES_DYNAMIC")? {
        let Some((layer, files)) = entry.split_once(':').filter(|(layer, _)| !layer.is_empty()) else {
            problems.push(format!("BBFILES_DYNAMIC: {entry} is not [!]LAYER:PATTERN"));
            continue;
        };
        let (invert, layer) = layer.strip_prefix('!').map_or((false, layer), |layer| (true, layer));
        if collections.iter().any(|collection| collection == layer) != invert {
            store.append(reader.session, Sym::new("BBFILES"), &format!(" {files}"), Origin::internal())?;
        }
    }
    Ok(problems)
}

/// Why layers do not fit together; one that does not say what it fits is warned about.
fn incompatible(
    reader: &mut Reader<'_>,
    collections: &[String],
    compatible: &BTreeMap<String, BTreeSet<String>>,
    core: &BTreeSet<String>,
) -> Vec<String> {
    let words = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let mut problems = Vec::new();
    for (index, collection) in collections.iter().enumerate() {
        if collections[index + 1..].contains(collection) {
            problems.push(format!(
                "two layers are called {collection}: see BBFILE_COLLECTIONS in their layer.conf, and bblayers.conf"
            ));
            continue;
        }
        match compatible.get(collection) {
            Some(_) if core.is_empty() => problems.push(format!(
                "no core layer found to work with the layer {collection}: is one missing in bblayers.conf?"
            )),
            Some(series) if series.is_disjoint(core) => problems.push(format!(
                "the layer {collection} is compatible with {}, and the core layer is {}",
                words(series),
                words(core)
            )),
            Some(_) => {}
            None => {
                let text =
                    format!("the layer {collection} should set LAYERSERIES_COMPAT_{collection} in its layer.conf");
                reader.session.messages.push(crate::python::Message { level: 30, text });
            }
        }
    }
    problems
}

/// Python's `re.escape`.
fn escape(text: &str) -> String {
    let mut result = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\x0b\x0c".contains(c) {
            result.push('\\');
        }
        result.push(c);
    }
    result
}
