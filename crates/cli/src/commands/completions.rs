//! `buildnet completions`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::output::print;

/// Write the completions of a shell
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet completions bash > ~/.local/share/bash-completion/completions/buildnet")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<ExitCode, ErrorReport> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::Args::command(), "buildnet", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
