//! The program under the name `bitbake`: the flags and the words that BitBake's users know.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use buildnet_bitbake::workbench::{
    Answer, Front as Asked, FrontMode, FrontSummary, Question, Variables, find_build_dir,
};
use buildnet_daemon::ErrorReport;
use clap::{ArgAction, Parser};

use super::place::{Place, Stop, interpreter, write_file};
use crate::args::GlobalArgs;
use crate::context::Context;
use crate::output::{FAILED, print};
use crate::terminal::messages::Verbosity;

/// Reads BitBake metadata, and shows what would be built
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Clone, Debug, Parser)]
#[command(
    name = "bitbake",
    version,
    after_help = "This is BuildNet under the name bitbake. Examples:\n  bitbake -p                          read every recipe\n  \
                  bitbake -S none core-image-minimal  compute the signatures\n  buildnet bitbake --help             more"
)]
pub(crate) struct Front {
    /// Recipes or anything they provide, or TARGET:TASK
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Read every recipe, and stop
    #[arg(short = 'p', long)]
    parse_only: bool,
    /// Show the variables of the configuration, or of one target, and every line that set them
    #[arg(short = 'e', long)]
    environment: bool,
    /// Write pn-buildlist and task-depends.dot
    #[arg(short = 'g', long = "graphviz")]
    graphviz: bool,
    /// Show the tasks in the order they would run in
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Show the versions of all recipes
    #[arg(short = 's', long)]
    show_versions: bool,
    /// Write the signature data of all tasks beside their stamps: `none` is the handler there is
    #[arg(short = 'S', long, value_name = "HANDLER", value_parser = ["none"])]
    dump_signatures: Option<String>,
    /// The task of targets that name none
    #[arg(short = 'c', long = "cmd", value_name = "TASK")]
    command: Option<String>,
    /// Go on where recipes cannot be read
    #[arg(short = 'k', long = "continue")]
    keep_going: bool,
    /// Only this recipe, by its file
    #[arg(short = 'b', long = "buildfile", value_name = "FILE")]
    buildfile: Option<PathBuf>,
    /// The tasks to run for every recipe that the targets need
    #[arg(long = "runall", value_name = "TASK")]
    run_all: Vec<String>,
    /// Of the tasks that the targets need, only these and what they need
    #[arg(long = "runonly", value_name = "TASK")]
    run_only: Vec<String>,
    /// Tell more
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
    /// Tell errors alone
    #[arg(short = 'q', long, action = ArgAction::Count)]
    quiet: u8,
    /// The Python interpreter, 3.9 or newer
    #[arg(long, env = "BUILDNET_PYTHON", default_value = "auto", hide = true)]
    python: PathBuf,
    /// Seconds that Python code may compute without a word
    #[arg(long, env = "BUILDNET_PYTHON_SECONDS", default_value_t = 120, hide = true)]
    python_seconds: u64,
}

/// What comes from the environment alone here.
#[derive(Clone, Debug, Parser)]
struct Shared {
    #[command(flatten)]
    global: GlobalArgs,
}

/// Whether the program was called as `bitbake`.
pub(crate) fn is_wanted() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.is_some_and(|name| name.file_name().is_some_and(|name| name == "bitbake"))
}

/// The arguments, with the `-v VAR` of `bitbake env` written out: everywhere else `-v` asks for more words.
pub(crate) fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.collect();
    let at = given
        .windows(2)
        .position(|two| two[0] == "bitbake")
        .and_then(|at| given[at..].iter().position(|argument| argument == "env").map(|env| at + env));
    let at = at.unwrap_or(given.len());
    for argument in &mut given[at..] {
        match argument.to_str().and_then(|text| text.strip_prefix("-v")) {
            Some("") => *argument = "--variable".into(),
            Some(name) if name.starts_with(|c: char| c.is_ascii_uppercase()) => {
                *argument = format!("--variable={name}").into();
            }
            _ => {}
        }
    }
    given
}

/// The whole program under that name.
pub(crate) fn main() -> ExitCode {
    let front = Front::parse();
    let directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return told(&ErrorReport::environment("cannot tell the current directory").because(&error)),
    };
    // The same variables as for all commands say whether there is a daemon, and where.
    let context = Context::resolve(Shared::parse_from(["bitbake"]).global).ok();
    let daemon = context.filter(|context| context.use_daemon).map(|context| context.daemon);
    let place = Place {
        build_dir: find_build_dir(&directory),
        python: interpreter(front.python.clone()),
        time_limit: std::time::Duration::from_secs(front.python_seconds),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        verbosity: match (front.quiet, front.verbose) {
            (0, 0) => Verbosity::Normal,
            (0, _) => Verbosity::Verbose,
            _ => Verbosity::Quiet,
        },
        bitbake: true,
        cache: true,
        machine: false,
        daemon,
    };
    match front.run(&place, &directory) {
        Ok(code) => code,
        Err(Stop::Report(report)) => told(&report),
        Err(Stop::Told) => {
            eprintln!("\nSummary: There were errors, returning a non-zero exit code.");
            ExitCode::from(FAILED)
        }
    }
}

/// BitBake's exit code of any error is 1.
fn told(report: &ErrorReport) -> ExitCode {
    eprintln!("ERROR: {}", report.message);
    for line in report.causes.iter().chain(&report.hint) {
        eprintln!("  {line}");
    }
    ExitCode::from(FAILED)
}

impl Front {
    fn run(&self, place: &Place, directory: &Path) -> Result<ExitCode, Stop> {
        if self.environment {
            if self.targets.len() > 1 {
                return Err(ErrorReport::user("-e shows one target at most").into());
            }
            let by_file = self.buildfile.as_ref().map(|file| directory.join(file).display().to_string());
            let recipe = by_file.or_else(|| self.targets.first().cloned());
            let answer = place.ask(&Question::Env(Variables { recipe, variable: None, history: true }))?;
            print(&answer.text)?;
            return if answer.failed { Err(Stop::Told) } else { Ok(ExitCode::SUCCESS) };
        }
        if self.targets.is_empty() && !self.parse_only && !self.show_versions && self.buildfile.is_none() {
            return Err(ErrorReport::user("nothing to do: name a target, or see --help").into());
        }
        let mode = match self {
            Self { parse_only: true, .. } => FrontMode::Parse,
            Self { show_versions: true, .. } => FrontMode::Versions,
            Self { graphviz: true, .. } => FrontMode::Graph,
            Self { dump_signatures: Some(_), .. } => FrontMode::Signatures,
            Self { dry_run: true, .. } => FrontMode::DryRun,
            _ => {
                let report = ErrorReport::user("running tasks of recipes is not there yet")
                    .with_hint("-n shows what would run; -S none, -g, -e, -s and -p work.");
                return Err(report.into());
            }
        };
        let alone = self.buildfile.as_ref().map(|file| (file.to_string_lossy().into_owned(), directory.to_owned()));
        if alone.is_some() && !matches!(mode, FrontMode::Parse | FrontMode::Versions) {
            eprintln!("WARNING: Buildfile specified, dependencies will not be handled");
        }
        let start = std::time::Instant::now();
        let answer = place.ask(&Question::Bitbake(Asked {
            mode,
            targets: self.targets.clone(),
            command: self.command.clone(),
            run_all: self.run_all.clone(),
            run_only: self.run_only.clone(),
            keep_going: self.keep_going,
            alone,
        }))?;
        // Without a summary the configuration could not be read.
        let summary = answer.summary.ok_or(Stop::Told)?;
        if !matches!(place.verbosity, Verbosity::Quiet) {
            tell_reading(&answer, &summary, start.elapsed())?;
        }
        if summary.stopped {
            if summary.failed > 0 && !self.keep_going {
                eprintln!("ERROR: Parsing halted due to errors, see error messages above");
            }
            return Err(Stop::Told);
        }
        print(&answer.text)?;
        for (name, text) in &answer.written {
            write_file(&directory.join(name), text)?;
            let what = if name == "pn-buildlist" { "PN build list" } else { "Task dependencies" };
            note(&format!("{what} saved to '{name}'"));
        }
        if mode == FrontMode::Signatures {
            note("Writing task signature files");
        }
        Ok(ExitCode::from(u8::from(answer.failed)))
    }
}

fn tell_reading(answer: &Answer, summary: &FrontSummary, time: std::time::Duration) -> Result<(), ErrorReport> {
    let bar = if std::io::stdout().is_terminal() { "##########" } else { "" };
    let seconds = time.as_secs();
    let time = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let FrontSummary { targets, skipped, failed, .. } = summary;
    let (files, parsed) = (answer.files, answer.parsed);
    print(&format!(
        "Parsing recipes: 100% |{bar}| Time: {time}\nParsing of {files} .bb files complete ({} cached, {} parsed). \
         {targets} targets, {skipped} skipped, 0 masked, {failed} errors.\n",
        files - parsed,
        parsed - failed,
    ))
}

fn note(text: &str) {
    eprintln!("NOTE: {text}");
}
