//! The tools BuildNet is measured beside.

use std::path::Path;
use std::process::Command;

/// A tool that builds the same workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Turborepo.
    Turbo,
    /// Nx with its daemon.
    Nx,
}

impl Peer {
    /// Its npm package.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::Turbo => "turbo",
            Self::Nx => "nx",
        }
    }

    /// The version that is measured.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Turbo => "2.11.11",
            Self::Nx => "24.0.6",
        }
    }

    /// Builds everything, as its users do.
    pub(crate) fn build(self, root: &Path) -> Command {
        let mut command = Command::new(root.join("node_modules/.bin").join(self.package()));
        command.current_dir(root).env("CI", "1").env("TURBO_TELEMETRY_DISABLED", "1").env("NX_NO_CLOUD", "true");
        match self {
            Self::Turbo => command.args(["run", "build", "--output-logs=none"]),
            // CI would switch its daemon off, which would handicap it.
            Self::Nx => command.args(["run-many", "--target=build", "--output-style=static"]).env("NX_DAEMON", "true"),
        };
        command
    }

    /// Stops what keeps running.
    pub(crate) fn stop(self, root: &Path) {
        if self == Self::Nx {
            let mut command = Command::new(root.join("node_modules/.bin/nx"));
            let _ = command.arg("reset").current_dir(root).output();
        }
    }
}
