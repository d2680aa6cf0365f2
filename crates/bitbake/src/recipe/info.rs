//! What remains of a recipe once its datastore is dropped.

use std::collections::BTreeMap;

use crate::config::RecipeFile;
use crate::error::Result;
use crate::metadata::{Finalised, TaskTable};
use crate::python::Session;
use crate::signature::TaskSignature;
use crate::util::depends_names;
use crate::{Sym, Text, Value};

/// The facts of one variant of a recipe.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RecipeInfo {
    /// BitBake's name for the variant: `[mc:MULTICONFIG:][virtual:VARIANT:]PATH`.
    pub file: String,
    /// The configuration it was read under; empty for the default one.
    pub multiconfig: String,
    /// The recipe's path.
    pub path: String,
    /// The variant; empty for the recipe itself.
    pub variant: String,
    /// Why it is skipped.
    pub skipped: Option<String>,
    /// `PN`.
    pub name: String,
    /// `PE`, `PV`, `PR`.
    pub version: (String, String, String),
    /// The priority of its layer.
    pub priority: i64,
    /// `DEFAULT_PREFERENCE`.
    pub preference: i64,
    /// `PROVIDES`, the name first.
    pub provides: Vec<String>,
    /// `PACKAGES`; the name alone when that is empty.
    pub packages: Vec<String>,
    /// `PACKAGES_DYNAMIC`.
    pub packages_dynamic: Vec<String>,
    /// `RPROVIDES` of the recipe and of its packages.
    pub runtime_provides: Vec<String>,
    /// `DEPENDS`, each once.
    pub depends: Vec<String>,
    /// What its packages need or recommend at run time, each once.
    pub runtime_depends: Vec<String>,
    /// What its packages recommend at run time.
    pub recommends: Vec<String>,
    /// The tasks.
    pub tasks: TaskTable,
    /// Their signatures, without the names that enter them.
    pub signatures: Vec<TaskSignature>,
    /// Task → expanded `file-checksums`.
    pub file_checksums: BTreeMap<Text, Text>,
    /// `STAMP`.
    pub stamp: String,
    /// The class files it inherits.
    pub inherits: Vec<Text>,
    /// Whether `bitbake world` leaves it out.
    pub not_world: bool,
    /// The body of `calculate_extra_depends`, when it has one.
    pub extra_depends: Option<Text>,
    /// The files it was made of, those of the configuration aside: there or not when it was read.
    pub files: Vec<Sym>,
}

/// BitBake's name for a variant of a recipe.
pub fn virtual_name(multiconfig: &str, path: &str, variant: &str) -> String {
    let name = if variant.is_empty() { path.to_owned() } else { format!("virtual:{variant}:{path}") };
    in_multiconfig(multiconfig, &name)
}

/// A name of a configuration's, as it is written where several configurations meet: `mc:MULTICONFIG:NAME`.
pub fn in_multiconfig(multiconfig: &str, name: &str) -> String {
    if multiconfig.is_empty() { name.to_owned() } else { format!("mc:{multiconfig}:{name}") }
}

/// Takes the configuration off a name: the reverse of [`in_multiconfig`].
pub fn split_multiconfig(name: &str) -> (&str, &str) {
    name.strip_prefix("mc:").and_then(|rest| rest.split_once(':')).unwrap_or(("", name))
}

impl RecipeInfo {
    /// Whether another reading of the recipe is the same to whoever chooses providers and makes graphs: all but what enters hashes.
    pub(crate) fn is_same_in_graphs(&self, other: &Self) -> bool {
        // Each field by its name, so that a new one is not forgotten.
        let Self {
            file,
            multiconfig,
            path,
            variant,
            skipped,
            name,
            version,
            priority,
            preference,
            provides,
            packages,
            packages_dynamic,
            runtime_provides,
            depends,
            runtime_depends,
            recommends,
            tasks,
            signatures: _,
            file_checksums: _,
            stamp: _,
            inherits,
            not_world,
            extra_depends,
            files: _,
        } = self;
        (file, multiconfig, path, variant, skipped)
            == (&other.file, &other.multiconfig, &other.path, &other.variant, &other.skipped)
            && (name, version, priority, preference)
                == (&other.name, &other.version, &other.priority, &other.preference)
            && (provides, packages, packages_dynamic) == (&other.provides, &other.packages, &other.packages_dynamic)
            && (runtime_provides, depends, runtime_depends)
                == (&other.runtime_provides, &other.depends, &other.runtime_depends)
            && (recommends, tasks, inherits, not_world)
                == (&other.recommends, &other.tasks, &other.inherits, &other.not_world)
            && *extra_depends == other.extra_depends
    }

    /// Takes away what it needs of other recipes, as BitBake's `-b` does.
    pub fn stand_alone(&mut self) {
        self.depends.clear();
        self.runtime_depends.clear();
        self.recommends.clear();
        self.tasks.flags.remove("depends");
    }

    /// Reads the facts of a finalised variant.
    pub fn of(session: &mut Session, file: &RecipeFile, variant: &mut Finalised) -> Result<Self> {
        let mut get = Getter { session, variant };
        let name = get.text("PN")?;
        let mut info = Self {
            file: virtual_name(&file.multiconfig, &file.path, &get.variant.variant),
            multiconfig: file.multiconfig.clone(),
            path: file.path.clone(),
            variant: get.variant.variant.clone(),
            skipped: get.variant.skipped.clone(),
            priority: file.priority,
            provides: vec![name.clone()],
            packages: get.words("PACKAGES")?,
            packages_dynamic: get.words("PACKAGES_DYNAMIC")?,
            files: get.variant.store.own_files().to_vec(),
            name,
            ..Self::default()
        };
        extend(&mut info.provides, get.dependencies("PROVIDES")?);
        if info.packages.is_empty() {
            info.packages.push(info.name.clone());
        }
        extend(&mut info.runtime_provides, get.dependencies("RPROVIDES")?);
        for package in info.packages.clone() {
            extend(&mut info.runtime_provides, get.dependencies(&format!("RPROVIDES:{package}"))?);
        }
        if info.skipped.is_some() {
            return Ok(info);
        }
        info.version = (get.text("PE")?, get.text("PV")?, get.text("PR")?);
        info.preference = get.text("DEFAULT_PREFERENCE")?.trim().parse().unwrap_or_default();
        info.not_world = matches!(get.text("EXCLUDE_FROM_WORLD")?.to_lowercase().as_str(), "y" | "yes" | "1" | "true");
        extend(&mut info.depends, get.dependencies("DEPENDS")?);
        extend(&mut info.runtime_depends, get.dependencies("RDEPENDS")?);
        for package in info.packages.clone() {
            extend(&mut info.runtime_depends, get.dependencies(&format!("RDEPENDS:{package}"))?);
        }
        extend(&mut info.recommends, get.dependencies("RRECOMMENDS")?);
        for package in info.packages.clone() {
            extend(&mut info.recommends, get.dependencies(&format!("RRECOMMENDS:{package}"))?);
        }
        extend(&mut info.runtime_depends, info.recommends.clone());
        info.stamp = get.text("STAMP")?;
        info.extra_depends = Some(get.text("calculate_extra_depends")?).filter(|text| !text.is_empty()).map(Text::from);
        for task in get.variant.tasks.tasks.clone() {
            if let Some(list) =
                get.variant.store.get_flag(get.session, task, Sym::new("file-checksums"))?.filter(Value::truthy)
            {
                info.file_checksums.insert(task.as_str().into(), list.to_text());
            }
        }
        if let Some(Value::List(classes)) = get.variant.store.get_raw(get.session, Sym::new("__inherit_cache"))? {
            info.inherits = classes.iter().map(Value::to_text).collect();
        }
        info.tasks = get.variant.tasks.clone();
        let signed = get.variant.signatures.iter().flat_map(|signatures| &signatures.tasks);
        info.signatures = signed.map(TaskSignature::without_names).collect();
        Ok(info)
    }
}

struct Getter<'a> {
    session: &'a mut Session,
    variant: &'a mut Finalised,
}

impl Getter<'_> {
    fn text(&mut self, var: &str) -> Result<String> {
        Ok(self.variant.store.get_text(self.session, var)?.unwrap_or_default().to_string())
    }

    fn words(&mut self, var: &str) -> Result<Vec<String>> {
        self.variant.store.get_words(self.session, var)
    }

    fn dependencies(&mut self, var: &str) -> Result<Vec<String>> {
        let text = self.variant.store.get_text(self.session, var)?.unwrap_or_default();
        Ok(depends_names(&text).into_iter().map(str::to_owned).collect())
    }
}

fn extend(list: &mut Vec<String>, more: Vec<String>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}
