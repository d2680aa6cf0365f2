//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs, Parser, ValueEnum};

use crate::commands::Command;

/// Makes any build fast: caches, runs and explains the builds of a workspace.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "buildnet",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 the build failed, 2 the user's mistake, 3 the environment's or BuildNet's own.\n\n\
                  Example:\n  buildnet build            build every package of the workspace you stand in"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Work as if started in DIR
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub(crate) directory: Option<PathBuf>,
    /// Where blobs and action results are kept
    #[arg(long, value_name = "DIR", env = "BUILDNET_CACHE_DIR", global = true)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Write for machines: JSON, one object per line where it is a stream
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Whether to use colours
    #[arg(
        long,
        value_name = "WHEN",
        env = "BUILDNET_COLOR",
        default_value = "auto",
        global = true,
        hide_possible_values = false
    )]
    pub(crate) color: ColorChoice,
    /// Do everything in this process, also when a daemon runs
    #[arg(long, env = "BUILDNET_NO_DAEMON", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_daemon: bool,
    /// Where the daemon listens [default: daemon.listen of buildnet.yaml, then 127.0.0.1:9876]
    #[arg(long, value_name = "ADDR", env = "BUILDNET_DAEMON_ADDRESS", global = true)]
    pub(crate) daemon_address: Option<SocketAddr>,
    /// Token for a daemon that asks for one
    #[arg(long, value_name = "TOKEN", env = "BUILDNET_TOKEN", hide = true, hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// Authorities to trust where TLS is spoken, in PEM; `system` for those that this machine trusts
    #[arg(long, value_name = "FILE", env = "BUILDNET_TLS_CA", global = true, hide_short_help = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Certificate to show where TLS is spoken, in PEM
    #[arg(long, value_name = "FILE", env = "BUILDNET_TLS_CLIENT_CERT", global = true, hide_short_help = true)]
    pub(crate) tls_client_cert: Option<PathBuf>,
    /// Private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", env = "BUILDNET_TLS_CLIENT_KEY", global = true, hide_short_help = true)]
    pub(crate) tls_client_key: Option<PathBuf>,
    /// Tell more: what was instant, why tasks ran, and their output
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Tell failures alone
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "`{}` has no example", command.get_name());
            assert!(help.contains("  buildnet"), "`{}` has no example command", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Args::command());
    }
}
