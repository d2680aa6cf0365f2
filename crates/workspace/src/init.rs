//! A first `buildnet.yaml`.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::Overrides;
use crate::error::{Problem, ProblemKind, WorkspaceErrors};
use crate::model::{Manager, Workspace};

/// Build files by which a directory without npm or Cargo is recognised, and what builds it.
const BUILD_FILES: [(&str, &str, &str); 5] = [
    ("Makefile", "make", "make, cc"),
    ("makefile", "make", "make, cc"),
    ("CMakeLists.txt", "cmake -S . -B out && cmake --build out", "cmake, make, cc"),
    ("go.mod", "go build -o out/ ./...", "go"),
    ("build.sh", "sh build.sh", ""),
];

/// Proposes the text of a `buildnet.yaml` for the directory: for a workspace that is discovered, only what may be said beyond
/// that; otherwise a package for each directory with a known build file.
///
/// # Errors
/// There is a `buildnet.yaml` already, or what was discovered is not right.
pub fn init(root: &Path) -> Result<String, WorkspaceErrors> {
    let path = root.join(crate::FILE_NAME);
    if path.exists() {
        let hint = "edit it, or remove it first";
        return Err(Problem::new(ProblemKind::Exists(path.display().to_string())).hint(hint).into());
    }
    let mut text = String::from("# The configuration of BuildNet; every key is described in docs/configuration.md.\n");
    let discovered = match Workspace::load(root, None, &Overrides::default()) {
        Ok(workspace) => Some(workspace),
        Err(errors) if errors.problems.iter().any(|problem| matches!(*problem.kind, ProblemKind::NoWorkspace(_))) => {
            None
        }
        Err(errors) => return Err(errors),
    };
    match discovered {
        Some(workspace) => describe(&workspace, &mut text),
        None => propose(root, &mut text)?,
    }
    Ok(text)
}

fn describe(workspace: &Workspace, text: &mut String) {
    let managers: Vec<&str> = workspace
        .managers
        .iter()
        .map(|manager| match manager {
            Manager::Npm => "npm",
            Manager::Pnpm => "pnpm",
            Manager::Yarn => "yarn",
            Manager::Cargo => "Cargo",
            Manager::BuildNet => "buildnet.yaml",
        })
        .collect();
    let names: Vec<&str> = workspace.packages.keys().map(|name| &**name).collect();
    let few: Vec<&str> = names.iter().copied().take(8).collect();
    let more = if names.len() > few.len() { ", ..." } else { "" };
    writeln!(text, "# Packages found by {}: {}{more}.", managers.join(" and "), few.join(", ")).expect(INFALLIBLE);
    text.push_str("# They need no entry here.\n\ntasks:\n  build:\n    depends_on: [\"^build\"]\n");
    let has = |task: &str| workspace.packages.values().any(|package| package.tasks.contains_key(task));
    if has("test") {
        text.push_str("  test:\n    depends_on: [build, \"^build\"]\n    timeout: 15m\n");
    }
    if has("lint") {
        text.push_str("  lint:\n    depends_on: [\"^build\"]\n");
    }
}

/// Most directories that are looked at, and how deep.
const MAX_DIRECTORIES: usize = 20_000;
const MAX_DEPTH: usize = 4;

fn propose(root: &Path, text: &mut String) -> Result<(), WorkspaceErrors> {
    let mut found = Vec::new();
    let walk = ignore::WalkBuilder::new(root)
        .max_depth(Some(MAX_DEPTH))
        .require_git(false)
        .sort_by_file_name(Ord::cmp)
        .build();
    for entry in walk.take(MAX_DIRECTORIES).filter_map(Result::ok) {
        let Some(name) = entry.file_name().to_str() else { continue };
        let Some((_, command, tools)) = BUILD_FILES.iter().find(|(file, ..)| *file == name) else { continue };
        let Some(parent) = entry.path().parent().and_then(|parent| parent.strip_prefix(root).ok()) else { continue };
        let Some(directory) = parent.to_str() else { continue };
        // What lies below a package belongs to it.
        if !found.iter().any(|(other, ..): &(String, &str, &str)| crate::paths::is_within(directory, other)) {
            found.push((directory.to_owned(), *command, *tools));
        }
    }
    if found.is_empty() {
        let hint = "write a `buildnet.yaml` with your packages; docs/configuration.md shows how";
        return Err(Problem::new(ProblemKind::NoWorkspace(root.to_path_buf())).hint(hint).into());
    }
    text.push_str("# Proposed from the build files that were found: say what each package depends on and where it writes.\n\npackages:\n");
    for (directory, command, tools) in found {
        let name = directory.replace('/', "-");
        let name = if name.is_empty() { "root" } else { &name };
        let path = if directory.is_empty() { "." } else { &directory };
        let quote = |text: &str| serde_json::to_string(text).expect("text is plain JSON");
        writeln!(text, "  - name: {}\n    path: {}\n    build_cmd: {}", quote(name), quote(path), quote(command))
            .expect(INFALLIBLE);
        if !tools.is_empty() {
            writeln!(text, "    toolchains: [{tools}]").expect(INFALLIBLE);
        }
        text.push_str("    dependencies: []\n    output_dir: out\n");
    }
    Ok(())
}

const INFALLIBLE: &str = "writing to a string succeeds";
