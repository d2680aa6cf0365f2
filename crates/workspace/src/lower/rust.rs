//! Where the Rust toolchain and the sources of outside crates are.

use std::path::{Path, PathBuf};

use buildnet_engine::build::{ActionSpec, HostInput};

use super::{absolute, default_env};
use crate::model::Workspace;

/// Programs that rustup puts into `bin` of Cargo's home as stand-ins for those of the selected toolchain.
const PROXIED: [&str; 5] = ["cargo", "rustc", "rustdoc", "clippy-driver", "rustfmt"];

/// Shows a task that names such a program Cargo's registry and rustup's toolchains, where they are.
pub(super) fn lower(workspace: &Workspace, spec: &mut ActionSpec) {
    if !spec.toolchains.iter().any(|tool| PROXIED.contains(&tool.as_str())) {
        return;
    }
    let mut add = |source: PathBuf, identity: Vec<PathBuf>| {
        if source.exists() {
            spec.host_inputs.push(HostInput { target: source.clone(), source, identity });
        }
    };
    let locked = workspace.cargo.as_ref().is_some_and(|cargo| cargo.locked);
    let lock = || if locked { vec![absolute(workspace, "Cargo.lock")] } else { Vec::new() };
    if let Some(home) = &workspace.cargo_home {
        add(home.join("registry"), lock());
        add(home.join("git"), lock());
        add(home.join("bin"), Vec::new());
        for name in ["config.toml", "config"] {
            add(home.join(name), vec![home.join(name)]);
        }
        default_env(&mut spec.environment, "CARGO_HOME", &home.to_string_lossy());
    }
    if let Some(home) = workspace.rustup_home.as_ref().filter(|home| home.exists()) {
        add(home.clone(), rustup_identity(home));
        default_env(&mut spec.environment, "RUSTUP_HOME", &home.to_string_lossy());
    }
}

/// What changes when rustup installs or selects another toolchain.
fn rustup_identity(home: &Path) -> Vec<PathBuf> {
    let mut identity = vec![home.join("settings.toml")];
    let toolchains = std::fs::read_dir(home.join("toolchains")).into_iter().flatten().flatten();
    identity.extend(toolchains.map(|entry| entry.path().join("lib/rustlib/multirust-channel-manifest.toml")));
    identity.retain(|path| path.is_file());
    identity.sort_unstable();
    identity
}
