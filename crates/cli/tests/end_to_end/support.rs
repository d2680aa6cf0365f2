//! Workspaces in temporary directories, and the program run in them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A workspace and a cache of its own; checkouts of it may be added beside it.
pub(crate) struct Place {
    directory: TempDir,
    root: PathBuf,
    environment: BTreeMap<String, OsString>,
}

/// How a command ended.
pub(crate) struct Ended {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// An empty workspace.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directories work");
        let root = directory.path().join("w");
        fs::create_dir(&root).expect("temporary directory is writable");
        let mut environment = BTreeMap::new();
        // The toolchains of Rust stay where they are, though the home directory is another.
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
            if let Some(value) = std::env::var_os(name) {
                environment.insert(name.to_owned(), value);
            }
        }
        if let Some(home) = environment.get("HOME").map(PathBuf::from) {
            environment.entry("CARGO_HOME".into()).or_insert_with(|| home.join(".cargo").into());
            environment.entry("RUSTUP_HOME".into()).or_insert_with(|| home.join(".rustup").into());
        }
        environment.insert("HOME".into(), directory.path().join("home").into());
        environment.insert("BUILDNET_CACHE_DIR".into(), directory.path().join("cache").into());
        environment.insert("BUILDNET_NO_DAEMON".into(), "1".into());
        Self { directory, root, environment }
    }

    /// A workspace with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let place = Self::new();
        files.iter().for_each(|(path, text)| place.write(path, text));
        place
    }

    /// A copy of a tree.
    pub(crate) fn copy_of(tree: &Path) -> Self {
        let place = Self::new();
        copy(tree, &place.root);
        place
    }

    /// Another checkout, with the files of this one that `wanted` accepts by name at its top, and the same cache.
    pub(crate) fn checkout(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Checkout<'_> {
        let root = self.directory.path().join(name);
        fs::create_dir(&root).expect("temporary directory is writable");
        for entry in fs::read_dir(&self.root).expect("the workspace is there").flatten() {
            if wanted(&entry.file_name().to_string_lossy()) {
                copy(&entry.path(), &root.join(entry.file_name()));
            }
        }
        Checkout { place: self, root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// A path beside workspace and cache.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("files have a directory")).expect("temporary directory is writable");
        fs::write(path, text).expect("temporary directory is writable");
    }

    pub(crate) fn append(&self, path: &str, text: &str) {
        self.write(path, &(self.read(path) + text));
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        read(&self.root, path)
    }

    /// The program, in the workspace.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_in(&self.root, arguments)
    }

    fn command_in(&self, root: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buildnet"));
        command.args(arguments).current_dir(root).env_clear().envs(&self.environment).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// Builds, and says how each task came about: its tier, or `failed` or `skipped`.
    #[track_caller]
    pub(crate) fn tiers(&self, arguments: &[&str]) -> BTreeMap<String, String> {
        tiers(&self.run(&[arguments, &["--json"]].concat()).expect(0, &[]))
    }
}

/// Another checkout of a place.
pub(crate) struct Checkout<'p> {
    place: &'p Place,
    pub(crate) root: PathBuf,
}

impl Checkout<'_> {
    #[track_caller]
    pub(crate) fn tiers(&self, arguments: &[&str]) -> BTreeMap<String, String> {
        let arguments = [arguments, &["--json"]].concat();
        tiers(&Ended::of(&mut self.place.command_in(&self.root, &arguments)).expect(0, &[]))
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        read(&self.root, path)
    }
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the program starts");
        Self {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Standard output and error.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Checks the exit code, and that each text was told.
    #[track_caller]
    pub(crate) fn expect(self, code: i32, texts: &[&str]) -> Self {
        let all = self.all();
        assert_eq!(self.code, Some(code), "{all}");
        for text in texts {
            assert!(all.contains(text), "no {text:?} in:\n{all}");
        }
        self
    }
}

/// Tasks of a build by name, with their tiers, or how else they ended.
#[track_caller]
pub(crate) fn tiers(ended: &Ended) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in ended.stdout.lines() {
        let event: Value = serde_json::from_str(line).expect("`--json` writes one JSON object per line");
        match event["event"].as_str() {
            Some("task_finished") => {
                let how = event["tier"].as_str().or_else(|| event["outcome"].as_str()).expect("a task ends somehow");
                found.insert(name(&event["task"]), how.to_owned());
            }
            Some("tasks_unchanged") => {
                let tasks = event["tasks"].as_array().expect("tasks are a list");
                found.extend(tasks.iter().map(|task| (name(task), "instant".to_owned())));
            }
            _ => {}
        }
    }
    found
}

fn name(task: &Value) -> String {
    match task.as_str() {
        Some(name) => name.to_owned(),
        None => format!("{}:{}", task["package"].as_str().unwrap_or("?"), task["task"].as_str().unwrap_or("?")),
    }
}

/// Names of the tasks that came about like this, sorted, joined by a space.
pub(crate) fn those(tiers: &BTreeMap<String, String>, how: &[&str]) -> String {
    let names = tiers.iter().filter(|(_, tier)| how.contains(&tier.as_str())).map(|(name, _)| name.as_str());
    names.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Copies a file or a tree, with modes and symlinks.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg("-T").arg(from).arg(to).status().expect("`cp` is there");
    assert!(status.success(), "cannot copy {}", from.display());
}

/// Every file below a directory with its content, by relative path.
pub(crate) fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => pending.push(path),
                Ok(kind) if kind.is_file() => {
                    let relative = path.strip_prefix(directory).expect("it was listed below it").to_owned();
                    found.insert(relative, fs::read(&path).unwrap_or_default());
                }
                _ => {}
            }
        }
    }
    found
}

/// Whether the test cannot run here, said aloud.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Packages of a Cargo manifest by name, with the directories where their sources lie; none, said aloud, if they cannot be had.
pub(crate) fn fetched(manifest: &str) -> Option<Vec<(String, PathBuf)>> {
    let directory = tempfile::tempdir().expect("temporary directories work");
    fs::write(directory.path().join("Cargo.toml"), manifest).expect("temporary directory is writable");
    fs::create_dir(directory.path().join("src")).expect("temporary directory is writable");
    fs::write(directory.path().join("src/lib.rs"), "").expect("temporary directory is writable");
    let metadata = cargo(directory.path(), &["metadata", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_slice(&metadata).expect("Cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let place = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some((package["name"].as_str()?.to_owned(), manifest.parent()?.to_owned()))
    };
    Some(packages.iter().filter_map(place).collect())
}

/// What Cargo says to a command that may ask the registry; none, said aloud, if it fails.
pub(crate) fn cargo(directory: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new("cargo").args(arguments).current_dir(directory).output() {
        Err(error) => skip(&format!("cargo cannot be started: {error}")),
        Ok(output) if !output.status.success() => {
            skip(&format!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
        }
        Ok(output) => return Some(output.stdout),
    }
    None
}
