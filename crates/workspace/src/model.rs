//! A workspace as it was found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_event::TaskName;

use crate::config::{Settings, TaskOptions};
use crate::decode::Spanned;
use crate::discover::cargo::{CargoPackage, CargoRoot};
use crate::discover::npm::{NpmPackage, NpmRoot};
use crate::task_graph::TaskIndex;
use crate::text::{Location, SourceText};

/// What describes a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackageKind {
    /// A `package.json` that is a member of an npm, pnpm or yarn workspace.
    Npm,
    /// A `Cargo.toml` that is a member of a Cargo workspace.
    Cargo,
    /// `buildnet.yaml` alone.
    Declared,
}

impl PackageKind {
    /// The kind's name, as queries use it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Cargo => "cargo",
            Self::Declared => "declared",
        }
    }
}

/// What manages the packages of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// npm: `workspaces` in `package.json`.
    Npm,
    /// pnpm: `pnpm-workspace.yaml`.
    Pnpm,
    /// yarn: `workspaces` in `package.json`, and a `yarn.lock`.
    Yarn,
    /// Cargo: `[workspace]` or `[package]` in `Cargo.toml`.
    Cargo,
    /// `buildnet.yaml`.
    BuildNet,
}

/// A workspace: its packages and settings. See [`Workspace::load`].
#[derive(Debug)]
pub struct Workspace {
    /// Its root: absolute, without symlinks.
    pub root: PathBuf,
    /// Its packages by name.
    pub packages: BTreeMap<Arc<str>, Package>,
    /// Its settings.
    pub settings: Settings,
    /// What its packages were found by.
    pub managers: Vec<Manager>,
    /// Every file and directory whose change may change what loading finds, absolute, sorted; some may not exist. While their
    /// size, mtime and inode (or their absence) stay, loading again finds the same.
    pub config_files: Vec<PathBuf>,
    /// What is odd but no obstacle.
    pub warnings: Vec<String>,
    pub(crate) npm: Option<NpmRoot>,
    pub(crate) cargo: Option<CargoRoot>,
    pub(crate) global_inputs: Vec<String>,
    pub(crate) cargo_home: Option<PathBuf>,
    pub(crate) rustup_home: Option<PathBuf>,
    pub(crate) index: TaskIndex,
}

/// A package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: Arc<str>,
    /// Its directory, relative to the root and `/`-separated; empty for the root itself.
    pub directory: String,
    /// What describes it.
    pub kind: PackageKind,
    /// Its main language, such as `ts`, `js` or `rust`.
    pub language: Option<Arc<str>>,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// Words to find it by.
    pub tags: BTreeSet<String>,
    /// The packages of this workspace that it needs directly, sorted.
    pub dependencies: Vec<Arc<str>>,
    /// Its tasks by name.
    pub tasks: BTreeMap<Arc<str>, Task>,
    pub(crate) sources: Option<Vec<Spanned<String>>>,
    pub(crate) output_dir: Option<Spanned<String>>,
    pub(crate) facts: Facts,
    pub(crate) origin: Origin,
    /// Places of the dependencies that `buildnet.yaml` declares.
    pub(crate) declared_dependencies: Vec<Spanned<String>>,
}

/// What only one kind of package has.
#[derive(Clone, Debug)]
pub(crate) enum Facts {
    Npm(NpmPackage),
    Cargo(CargoPackage),
    Declared,
}

/// Where a package comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A manifest, relative to the root; it is read again when a message needs an excerpt.
    Manifest(String),
    /// A place in `buildnet.yaml`.
    Declared(Location),
}

impl Origin {
    /// The place of `word` in the manifest, or the declared place.
    pub(crate) fn locate(&self, root: &Path, word: &str) -> Option<Location> {
        match self {
            Self::Declared(location) => Some(location.clone()),
            Self::Manifest(path) => {
                let text = std::fs::read_to_string(root.join(path)).ok()?;
                Some(Location::find(&Arc::new(SourceText { path: path.clone(), text }), word))
            }
        }
    }
}

/// A task of a package.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub name: TaskName,
    /// Its commands, hooks not included; none for a task that only groups others.
    pub commands: Vec<String>,
    pub(crate) depends_on: Vec<DependsOn>,
    pub(crate) inputs: Option<Vec<Spanned<String>>>,
    pub(crate) outputs: Option<Vec<Spanned<String>>>,
    pub(crate) options: TaskOptions,
    /// Whether `buildnet.yaml` says anything about it.
    pub(crate) declared: bool,
}

/// What comes before a task.
#[derive(Clone, Debug)]
pub(crate) struct DependsOn {
    pub(crate) text: String,
    pub(crate) location: Option<Location>,
}

impl Package {
    /// `path` inside the package, relative to the root.
    pub(crate) fn join(&self, path: &str) -> String {
        join(&self.directory, path)
    }
}

/// Joins relative `/`-separated paths, either of which may be empty.
pub(crate) fn join(base: &str, path: &str) -> String {
    match (base, path) {
        ("", path) => path.to_owned(),
        (base, "" | ".") => base.to_owned(),
        (base, path) => format!("{base}/{path}"),
    }
}
