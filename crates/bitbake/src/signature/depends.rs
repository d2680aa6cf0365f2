//! What one variable needs, and its value for the purpose of a signature.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use rustc_hash::{FxHashMap, FxHashSet};

use super::library::Library;
use crate::view::DataView;
use crate::{CodeRefs, Expansion, Sym, Text, Value};

/// A variable (or flag, or library function) in a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarSignature {
    /// Names it needs, without repetition, in no order. A flag is `VAR[flag]`.
    pub depends: Arc<[Sym]>,
    /// Its text; `None` for a flag that is not set.
    pub value: Option<Text>,
    /// What the text was before it was text; signature files keep the difference.
    pub kind: ValueKind,
}

/// What kind of value a variable or flag has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueKind {
    /// Text, or something that only Python holds.
    #[default]
    Text,
    /// An integer, such as the `1` of a task's `task` flag.
    Integer,
    /// A truth value.
    Truth,
}

impl ValueKind {
    fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::Int(_)) => Self::Integer,
            Some(Value::Bool(_)) => Self::Truth,
            _ => Self::Text,
        }
    }
}

/// Flags with a meaning of their own here.
struct Flags {
    func: Sym,
    python: Sym,
    vardeps: Sym,
    vardepsexclude: Sym,
    vardepvalue: Sym,
    vardepvalueexclude: Sym,
    prefuncs: Sym,
    postfuncs: Sym,
    exports: Sym,
    export: Sym,
    unexport: Sym,
}

static FLAGS: LazyLock<Flags> = LazyLock::new(|| Flags {
    func: Sym::new("func"),
    python: Sym::new("python"),
    vardeps: Sym::new("vardeps"),
    vardepsexclude: Sym::new("vardepsexclude"),
    vardepvalue: Sym::new("vardepvalue"),
    vardepvalueexclude: Sym::new("vardepvalueexclude"),
    prefuncs: Sym::new("prefuncs"),
    postfuncs: Sym::new("postfuncs"),
    exports: Sym::new("exports"),
    export: Sym::new("export"),
    unexport: Sym::new("unexport"),
});

/// Makes signatures; keeps what does not change from recipe to recipe. One per thread.
#[derive(Debug)]
pub struct Generator {
    library: Arc<Library>,
    /// `BB_BASEHASH_IGNORE_VARS` of the configuration.
    ignored: FxHashSet<Sym>,
    /// (variable, flag) → `variable[flag]`.
    flag_names: FxHashMap<(Sym, Sym), Sym>,
    /// The way back.
    flag_parts: FxHashMap<Sym, (Sym, Sym)>,
    /// What a name is, by its index.
    kinds: Vec<NameKind>,
    pub(super) numbers: Numbers,
    nothing: VarSignature,
}

/// What a name is the name of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum NameKind {
    /// Not looked at yet.
    #[default]
    Unseen,
    Variable,
    Flag,
}

/// A number for each name of a recipe: a table by symbol, which is not cleared but outdated.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    round: u32,
    entries: Vec<(u32, u32)>,
}

impl Numbers {
    /// Forgets all numbers.
    pub(super) fn clear(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.entries.clear();
            self.round = 1;
        }
    }

    pub(super) fn get(&self, name: Sym) -> Option<u32> {
        self.entries.get(name.index()).filter(|(round, _)| *round == self.round).map(|(_, number)| *number)
    }

    pub(super) fn set(&mut self, name: Sym, number: u32) {
        if self.entries.len() <= name.index() {
            self.entries.resize((name.index() + 1).next_power_of_two(), (0, 0));
        }
        self.entries[name.index()] = (self.round, number);
    }
}

/// What all variables of one recipe share.
pub(super) struct Recipe {
    /// Exported variables: every shell function needs them.
    exported: Vec<Sym>,
    /// `BB_SIGNATURE_EXCLUDE_FLAGS`; when empty, no flags count at all.
    excluded_flags: FxHashSet<Sym>,
}

impl Generator {
    /// A generator for a configuration's `BB_BASEHASH_IGNORE_VARS`.
    pub fn new(library: Arc<Library>, ignored: impl IntoIterator<Item = Sym>) -> Self {
        Self {
            library,
            ignored: ignored.into_iter().collect(),
            flag_names: FxHashMap::default(),
            flag_parts: FxHashMap::default(),
            kinds: Vec::new(),
            numbers: Numbers::default(),
            nothing: VarSignature { depends: Arc::default(), value: Some("".into()), kind: ValueKind::Text },
        }
    }

    /// What one name of a recipe needs, and its value: BitBake's `build_dependencies`.
    pub fn one<V: DataView>(&mut self, view: &mut V, name: Sym) -> Result<VarSignature, V::Error> {
        let recipe = Self::recipe(view)?;
        self.variable(view, &recipe, name)
    }

    pub(super) fn recipe<V: DataView>(view: &mut V) -> Result<Recipe, V::Error> {
        let mut exported = Vec::new();
        for var in view.export_list() {
            if flag_is_set(view, var, FLAGS.export)? && !flag_is_set(view, var, FLAGS.unexport)? {
                exported.push(var);
            }
        }
        let excluded = view.get_var(Sym::new("BB_SIGNATURE_EXCLUDE_FLAGS"))?;
        let excluded_flags = excluded.map(|value| words(&value.to_text())).unwrap_or_default();
        Ok(Recipe { exported, excluded_flags: excluded_flags.into_iter().collect() })
    }

    /// What a name needs, and its value.
    pub(super) fn variable<V: DataView>(
        &mut self,
        view: &mut V,
        recipe: &Recipe,
        key: Sym,
    ) -> Result<VarSignature, V::Error> {
        if let Some(entry) = self.library.get(key).cloned() {
            let mut value = Draft::new(Some(Arc::clone(&entry.digest)));
            value.contains(view, &self.ignored, &[], &entry.refs.contains)?;
            let mut depends = Vec::new();
            self.take_refs(view, &mut depends, &entry.refs)?;
            return Ok(self.finish(depends, &[], Some(value.text())));
        }
        if let Some((var, flag)) = self.flag_of(key) {
            return self.flag(view, var, flag);
        }
        if view.is_unknown(key) {
            return Ok(self.nothing.clone());
        }
        let flags = view.flags(key);
        let find = |flag: Sym| flags.iter().find(|(name, _)| *name == flag).map(|(_, value)| value);
        let excluded = match find(FLAGS.vardepsexclude) {
            Some(value) => words(&expanded(view, value)?),
            None => Vec::new(),
        };
        let mut depends = Vec::new();
        let mut value = if let Some(value) = find(FLAGS.vardepvalue) {
            Draft::new(Some(expanded(view, value)?))
        } else if find(FLAGS.func).is_some_and(Value::truthy) {
            let python = find(FLAGS.python).is_some_and(Value::truthy);
            let value = self.function(view, recipe, key, python, &excluded, &mut depends)?;
            for flag in [FLAGS.prefuncs, FLAGS.postfuncs, FLAGS.exports] {
                if let Some(value) = find(flag) {
                    depends.extend(words(&expanded(view, value)?));
                }
            }
            value
        } else {
            let (raw, parsed) = view.parse_var(key)?;
            let mut value = Draft::new(truthy_text(raw));
            self.take_refs(view, &mut depends, &parsed.refs)?;
            value.contains(view, &self.ignored, &excluded, &parsed.refs.contains)?;
            self.removes(view, &parsed, &excluded, &mut value, &mut depends)?;
            value
        };
        if let Some(unwanted) = find(FLAGS.vardepvalueexclude) {
            value.delete(&unwanted.to_text());
        }
        if !recipe.excluded_flags.is_empty() {
            for (flag, _) in &flags {
                if !recipe.excluded_flags.contains(flag) {
                    depends.push(self.flag_name(key, *flag));
                }
            }
        }
        if let Some(value) = find(FLAGS.vardeps) {
            depends.extend(words(&expanded(view, value)?));
        }
        Ok(self.finish(depends, &excluded, Some(value.text())))
    }

    /// Whether a name that is called counts: only what exists does.
    fn is_function<V: DataView>(&self, view: &mut V, name: Sym) -> Result<bool, V::Error> {
        Ok(self.library.get(name).is_some() || (view.is_key(name)? && !name.as_str().starts_with("__")))
    }

    /// Takes the references, and those called functions that exist.
    fn take_refs<V: DataView>(&self, view: &mut V, depends: &mut Vec<Sym>, refs: &CodeRefs) -> Result<(), V::Error> {
        depends.extend(&refs.references);
        for exec in &refs.execs {
            if self.is_function(view, *exec)? {
                depends.push(*exec);
            }
        }
        Ok(())
    }

    fn finish(&self, mut depends: Vec<Sym>, excluded: &[Sym], value: Option<Text>) -> VarSignature {
        depends.sort_unstable();
        depends.dedup();
        depends.retain(|name| !excluded.contains(name) && !self.ignored.contains(name));
        let depends = if depends.is_empty() { Arc::clone(&self.nothing.depends) } else { depends.into() };
        VarSignature { depends, value, kind: ValueKind::Text }
    }

    fn flag<V: DataView>(&mut self, view: &mut V, var: Sym, flag: Sym) -> Result<VarSignature, V::Error> {
        if flag == FLAGS.vardepvalueexclude {
            return Ok(self.nothing.clone());
        }
        let (raw, parsed) = view.parse_flag(var, flag)?;
        let mut depends = Vec::new();
        self.take_refs(view, &mut depends, &parsed.refs)?;
        let kind = ValueKind::of(raw.as_ref());
        Ok(VarSignature { kind, ..self.finish(depends, &[], raw.map(|value| value.to_text())) })
    }

    fn function<V: DataView>(
        &mut self,
        view: &mut V,
        recipe: &Recipe,
        key: Sym,
        python: bool,
        excluded: &[Sym],
        depends: &mut Vec<Sym>,
    ) -> Result<Draft, V::Error> {
        let (raw, parsed) = view.parse_function(key)?;
        let mut value = Draft::new(truthy_text(raw));
        if python {
            let refs = view.scan_python(value.base())?;
            self.take_refs(view, depends, &refs)?;
            value.contains(view, &self.ignored, excluded, &refs.contains)?;
            return Ok(value);
        }
        let body = parsed.value.as_ref().map(Value::to_text).unwrap_or_default();
        depends.extend(&recipe.exported);
        self.take_refs(view, depends, &parsed.refs)?;
        for command in view.scan_shell(&body)?.iter() {
            if let Some(command) = Sym::find(command)
                && self.is_function(view, command)?
            {
                depends.push(command);
            }
        }
        value.contains(view, &self.ignored, excluded, &parsed.refs.contains)?;
        self.removes(view, &parsed, excluded, &mut value, depends)?;
        Ok(value)
    }

    /// Adds the `:remove` texts that took something away. Only the references of the first one count: BitBake loses the others.
    fn removes<V: DataView>(
        &self,
        view: &mut V,
        parsed: &Expansion,
        excluded: &[Sym],
        value: &mut Draft,
        depends: &mut Vec<Sym>,
    ) -> Result<(), V::Error> {
        for (index, remove) in parsed.removes.iter().flatten().enumerate() {
            let expansion = view.expand_text(remove)?;
            if index == 0 {
                depends.extend(&expansion.refs.references);
            }
            value.push(format_args!("\n_remove of {remove}"));
            value.contains(view, &self.ignored, excluded, &expansion.refs.contains)?;
        }
        Ok(())
    }

    fn flag_name(&mut self, var: Sym, flag: Sym) -> Sym {
        *self.flag_names.entry((var, flag)).or_insert_with(|| Sym::new(&format!("{var}[{flag}]")))
    }

    /// The variable and flag of a name such as `do_compile[dirs]`.
    fn flag_of(&mut self, key: Sym) -> Option<(Sym, Sym)> {
        if self.kinds.len() <= key.index() {
            self.kinds.resize((key.index() + 1).next_power_of_two(), NameKind::Unseen);
        }
        if self.kinds[key.index()] == NameKind::Unseen {
            let mut parts = key.as_str().strip_suffix(']').unwrap_or_default().split('[');
            let found = parts.next().zip(parts.next()).map(|(var, flag)| (Sym::new(var), Sym::new(flag)));
            self.kinds[key.index()] = if found.is_some() { NameKind::Flag } else { NameKind::Variable };
            self.flag_parts.extend(found.map(|parts| (key, parts)));
        }
        if self.kinds[key.index()] == NameKind::Flag { self.flag_parts.get(&key).copied() } else { None }
    }
}

fn words(text: &str) -> Vec<Sym> {
    text.split_whitespace().map(Sym::new).collect()
}

fn expanded<V: DataView>(view: &mut V, value: &Value) -> Result<Text, V::Error> {
    match value {
        Value::Str(text) if text.contains("${") => {
            Ok(view.expand_text(text)?.value.as_ref().map(Value::to_text).unwrap_or_default())
        }
        // Python code may set a flag to nothing.
        Value::None => Ok(Text::from("")),
        other => Ok(other.to_text()),
    }
}

fn truthy_text(value: Option<Value>) -> Option<Text> {
    value.filter(Value::truthy).map(|value| value.to_text())
}

/// BitBake's notion of a true flag: set, and none of `n`, `no`, `0`, `false`.
fn flag_is_set<V: DataView>(view: &mut V, var: Sym, flag: Sym) -> Result<bool, V::Error> {
    let (_, parsed) = view.parse_flag(var, flag)?;
    Ok(match &parsed.value {
        Some(Value::Str(text)) => {
            !text.is_empty() && !["n", "no", "0", "false"].iter().any(|no| text.eq_ignore_ascii_case(no))
        }
        Some(other) => other.truthy(),
        None => false,
    })
}

/// A value under construction: the text of the variable, shared while nothing is added to it.
struct Draft {
    base: Text,
    added: String,
}

impl Draft {
    fn new(base: Option<Text>) -> Self {
        Self { base: base.unwrap_or_default(), added: String::new() }
    }

    fn base(&self) -> &str {
        &self.base
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.added.write_fmt(text).expect("writing to a string cannot fail");
    }

    fn text(self) -> Text {
        if self.added.is_empty() { self.base } else { [&*self.base, &self.added].concat().into() }
    }

    /// Adds for each tested variable and item whether it holds: a change of the variable matters only where the answer changes.
    fn contains<V: DataView>(
        &mut self,
        view: &mut V,
        ignored: &FxHashSet<Sym>,
        excluded: &[Sym],
        contains: &BTreeMap<Sym, BTreeSet<Text>>,
    ) -> Result<(), V::Error> {
        let mut tested: Vec<_> =
            contains.iter().filter(|(var, _)| !excluded.contains(var) && !ignored.contains(var)).collect();
        tested.sort_unstable_by_key(|(var, _)| var.as_str());
        for (var, items) in tested {
            let value = view.get_var(*var)?.filter(Value::truthy).map(|value| value.to_text()).unwrap_or_default();
            for item in items {
                let holds = item.split_whitespace().all(|word| value.split_whitespace().any(|other| other == word));
                self.push(format_args!("\n{var}{{{item}}} = {}", if holds { "Set" } else { "Unset" }));
            }
        }
        Ok(())
    }

    /// Deletes every occurrence of the texts between `|`.
    fn delete(&mut self, unwanted: &str) {
        let mut text = [&*self.base, &self.added].concat();
        for unwanted in unwanted.split('|').filter(|unwanted| !unwanted.is_empty()) {
            text = text.replace(unwanted, "");
        }
        self.base = text.into();
        self.added.clear();
    }
}
