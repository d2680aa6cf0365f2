//! Generates an npm workspace of trivial packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::peers::Peer;

/// A generated workspace.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) packages: usize,
}

/// The build script of every package.
pub(crate) const SCRIPT: &str = "mkdir -p dist && cat src/*.js > dist/index.js";

impl Workspace {
    /// The directory of a package.
    pub(crate) fn package(&self, number: usize) -> PathBuf {
        self.root.join(format!("packages/pkg-{number}"))
    }

    /// Changes one source file of a package.
    pub(crate) fn touch(&self, number: usize, text: &str) -> Result<(), String> {
        write(&self.package(number).join("src/file-0.js"), text)
    }

    /// Removes what every tool made and remembers.
    pub(crate) fn forget(&self) -> Result<(), String> {
        for place in [".buildnet", ".turbo", ".nx", "node_modules/.cache"] {
            remove(&self.root.join(place))?;
        }
        for number in 0..self.packages {
            remove(&self.package(number).join("dist"))?;
            remove(&self.package(number).join(".turbo"))?;
        }
        Ok(())
    }
}

/// Writes the workspace if it is not there, and installs the peers into it.
pub(crate) fn generate(root: &Path, packages: usize, files: usize, peers: &[Peer]) -> Result<Workspace, String> {
    let workspace = Workspace { root: root.to_owned(), packages };
    if !root.join(".git").exists() {
        write_packages(&workspace, files)?;
        // Peers read the git index.
        for arguments in [
            vec!["init", "--quiet"],
            vec!["add", "--all"],
            vec!["-c", "user.name=bench", "-c", "user.email=bench@invalid", "commit", "--quiet", "-m", "bench"],
        ] {
            call(root, "git", &arguments)?;
        }
    }
    let missing: Vec<String> = peers
        .iter()
        .filter(|peer| !root.join("node_modules").join(peer.package()).exists())
        .map(|peer| format!("{}@{}", peer.package(), peer.version()))
        .collect();
    if !missing.is_empty() {
        println!("installing {} ...", missing.join(" "));
        let mut arguments = vec!["install", "--no-audit", "--no-fund", "--silent", "--save-dev"];
        arguments.extend(missing.iter().map(String::as_str));
        call(root, "npm", &arguments)?;
        call(root, "git", &["add", "--all"])?;
        let commit = ["-c", "user.name=bench", "-c", "user.email=bench@invalid", "commit", "--quiet", "-m", "peers"];
        call(root, "git", &commit)?;
    }
    Ok(workspace)
}

fn write_packages(workspace: &Workspace, files: usize) -> Result<(), String> {
    println!("generating {} packages of {files} files ...", workspace.packages);
    let root = &workspace.root;
    write_json(
        &root.join("package.json"),
        &json!({ "name": "bench", "version": "1.0.0", "private": true, "workspaces": ["packages/*"],
                 "packageManager": "npm@10.0.0" }),
    )?;
    write_json(
        &root.join("turbo.json"),
        &json!({ "tasks": { "build": { "dependsOn": ["^build"], "outputs": ["dist/**"] } } }),
    )?;
    write_json(
        &root.join("nx.json"),
        &json!({ "targetDefaults": { "build": { "cache": true, "dependsOn": ["^build"],
                 "outputs": ["{projectRoot}/dist"] } }, "neverConnectToCloud": true, "analytics": false }),
    )?;
    write(&root.join(".gitignore"), "node_modules\ndist\n.turbo\n.nx\n.buildnet\n")?;
    for number in 0..workspace.packages {
        let package = workspace.package(number);
        // Each depends on two of the layer before it: twenty layers for a thousand packages.
        let layer = workspace.packages.div_ceil(20);
        let dependencies: serde_json::Map<String, serde_json::Value> = [layer, layer + 7]
            .iter()
            .filter_map(|back| number.checked_sub(*back))
            .map(|other| (format!("pkg-{other}"), json!("1.0.0")))
            .collect();
        write_json(
            &package.join("package.json"),
            &json!({ "name": format!("pkg-{number}"), "version": "1.0.0", "main": "dist/index.js",
                     "scripts": { "build": SCRIPT }, "dependencies": dependencies }),
        )?;
        write(&package.join("README.md"), &format!("# pkg-{number}\n"))?;
        for file in 0..files.saturating_sub(2) {
            let text = format!("export const value{file} = {number} * {file};\n").repeat(10);
            write(&package.join(format!("src/file-{file}.js")), &text)?;
        }
    }
    Ok(())
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), String> {
    write(path, &format!("{value:#}\n"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let error = |error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(error)?;
    fs::write(path, text).map_err(error)
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

fn call(directory: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let status = Command::new(program).args(arguments).current_dir(directory).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
