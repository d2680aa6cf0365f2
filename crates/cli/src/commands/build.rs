//! `buildnet build`, `test` and `run`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::BuildRequest;
use clap::Args;

use crate::context::{Context, environment};
use crate::terminal::messages::Verbosity;
use crate::terminal::session::Show;

/// What all tasks take.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line, independent of each other")]
pub(crate) struct TaskOptions {
    /// Run everything, whatever the caches hold
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Go on with what does not need a task that failed
    #[arg(short, long)]
    pub(crate) keep_going: bool,
    /// How many commands may run at once [default: one per core]
    #[arg(short, long, value_name = "N", env = "BUILDNET_JOBS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) jobs: Option<u32>,
    /// Cache to share over the network, such as grpc://host:9876/main; empty for none
    #[arg(long, value_name = "URL", env = "BUILDNET_REMOTE_CACHE")]
    pub(crate) remote_cache: Option<String>,
    /// Whether to send results to the remote cache [default: true]
    #[arg(long, value_name = "BOOL", env = "BUILDNET_REMOTE_UPLOAD", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) remote_upload: Option<bool>,
    /// Tell what would run, and run nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Trace which files commands read, and propose the lines to add to `inputs`
    #[arg(long)]
    pub(crate) trace_inputs: bool,
}

/// Build packages and what they need
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet build               every package of the workspace\n  \
                        buildnet build api ui        these and what they need\n  \
                        buildnet build --json        what happens, as one JSON object per line")]
pub(crate) struct BuildArgs {
    /// Packages to build [default: all]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Build all packages (what happens too when none is named)
    #[arg(short, long, conflicts_with = "packages")]
    all: bool,
    #[command(flatten)]
    options: TaskOptions,
}

/// Run the tests of packages
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet test api            the tests of one package, after what they need")]
pub(crate) struct TestArgs {
    /// Packages to test [default: all]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    #[command(flatten)]
    options: TaskOptions,
}

/// Run another task of the pipeline
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet run lint ui         the task `lint` of one package")]
pub(crate) struct RunArgs {
    /// The task
    task: String,
    /// Packages to run it in [default: all that have it]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    #[command(flatten)]
    options: TaskOptions,
}

pub(crate) fn build(args: BuildArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    crate::run::run(request("build".to_owned(), args.packages, &args.options, context), context)
}

pub(crate) fn test(args: TestArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    crate::run::run(request("test".to_owned(), args.packages, &args.options, context), context)
}

pub(crate) fn run(args: RunArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    crate::run::run(request(args.task, args.packages, &args.options, context), context)
}

/// What the user asks for.
pub(crate) fn request(task: String, packages: Vec<String>, options: &TaskOptions, context: &Context) -> BuildRequest {
    let shown = |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    BuildRequest {
        workspace: context.directory.display().to_string(),
        cache_dir: context.cache_dir_chosen.then(|| context.cache_dir.display().to_string()),
        remote_cache: options.remote_cache.clone(),
        remote_upload: options.remote_upload,
        tls_ca: shown(context.client_tls.ca.as_ref()),
        tls_client_cert: shown(context.client_tls.certificate.as_ref()),
        tls_client_key: shown(context.client_tls.key.as_ref()),
        task,
        packages,
        force: options.force,
        keep_going: options.keep_going,
        jobs: options.jobs,
        dry_run: options.dry_run,
        trace_inputs: options.trace_inputs,
        environment: environment(),
        compact: context.show() != Show::Json && context.teller.verbosity < Verbosity::Verbose,
        detached: false,
    }
}
