//! The program under the name `bitbake`: the flags and the words that BitBake's users know.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use buildnet_bitbake::graph::Selection;
use buildnet_bitbake::recipe::{RecipeInfo, in_multiconfig};
use buildnet_bitbake::workbench::{Plan, Reading, Wanted, Workbench, find_build_dir, graph_dot, versions};
use buildnet_daemon::ErrorReport;
use clap::{ArgAction, Parser};

use super::env::{EnvArgs, show};
use super::place::{Place, Stop, Wants, has_errors, write_file};
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
    #[arg(long, env = "BUILDNET_PYTHON", default_value = "python3", hide = true)]
    python: PathBuf,
    /// Seconds that Python code may compute without a word
    #[arg(long, env = "BUILDNET_PYTHON_SECONDS", default_value_t = 120, hide = true)]
    python_seconds: u64,
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
    let place = Place {
        build_dir: find_build_dir(&directory),
        python: front.python.clone(),
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
        daemon: None,
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
            let by_file = self.buildfile.as_ref().map(|file| absolute(directory, file));
            let recipe = by_file.or_else(|| self.targets.first().cloned());
            return show(&EnvArgs { recipe, variable: None, history: true }, place);
        }
        if self.targets.is_empty() && !self.parse_only && !self.show_versions && self.buildfile.is_none() {
            return Err(ErrorReport::user("nothing to do: name a target, or see --help").into());
        }
        let bench = place.open(false)?;
        let wants_hashes = self.dump_signatures.is_some();
        let alone = match &self.buildfile {
            Some(file) => Some(bench.recipe_matching(&file.to_string_lossy(), directory).map_err(ErrorReport::user)?),
            None => None,
        };
        let recipes = alone.as_ref().map(|(recipe, _)| vec![*recipe]);
        let mut reading = self.read(place, &bench, &Wanted { recipes, sign: wants_hashes, rows: false })?;
        if self.parse_only {
            return Ok(ExitCode::from(u8::from(has_errors(&reading.findings))));
        }
        let failed = has_errors(&reading.findings);
        if self.show_versions {
            self.versions(place, &bench, reading)?;
            return Ok(ExitCode::from(u8::from(failed)));
        }
        let targets = match &alone {
            Some((_, variant)) => {
                warn("Buildfile specified, dependencies will not be handled");
                reading.recipes.retain(|recipe| recipe.variant == *variant);
                reading.recipes.iter_mut().for_each(|recipe| Arc::make_mut(recipe).stand_alone());
                let name = |recipe: &Arc<RecipeInfo>| in_multiconfig(&recipe.multiconfig, &recipe.name);
                reading.recipes.iter().map(name).collect()
            }
            None => self.targets.clone(),
        };
        let task = self.command.as_deref();
        let selection = Selection { run_all: self.run_all.clone(), run_only: self.run_only.clone() };
        let plan = Plan { targets: &targets, task, selection, keep_going: self.keep_going };
        let wants = Wants { plan, sign: wants_hashes };
        let mut planned = place.plan_of(&bench, reading.recipes, &wants)?;
        if self.graphviz {
            write_file(&directory.join("pn-buildlist"), &(planned.recipe_names().join("\n") + "\n"))?;
            note("PN build list saved to 'pn-buildlist'");
            write_file(&directory.join("task-depends.dot"), &graph_dot(&planned))?;
            note("Task dependencies saved to 'task-depends.dot'");
        } else if wants_hashes {
            let hashed = place.hashes(&bench, &mut planned)?;
            note("Writing task signature files");
            bench.write_signatures(&planned, &hashed).map_err(|error| place.failed(&error))?;
        } else if self.dry_run {
            let total = planned.graph.order.len();
            for (at, index) in planned.graph.order.iter().enumerate() {
                print(&format!(
                    "NOTE: Running task {} of {total} ({})\n",
                    at + 1,
                    planned.graph.id(&planned.universe, *index)
                ))?;
            }
        } else {
            let report = ErrorReport::user("running tasks of recipes is not there yet")
                .with_hint("-n shows what would run; -S none, -g, -e, -s and -p work.");
            return Err(report.into());
        }
        Ok(ExitCode::from(u8::from(failed)))
    }

    fn read(&self, place: &Place, bench: &Workbench, wanted: &Wanted) -> Result<Reading, Stop> {
        let start = std::time::Instant::now();
        let reading = place.read(bench, wanted);
        let quiet = matches!(place.verbosity, Verbosity::Quiet);
        if !quiet {
            let bar = if std::io::stdout().is_terminal() { "##########" } else { "" };
            let seconds = start.elapsed().as_secs();
            let time = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            print(&format!("Parsing recipes: 100% |{bar}| Time: {time}\n"))?;
            let errors = reading.failed;
            print(&format!(
                "Parsing of {} .bb files complete ({} cached, {} parsed). {} targets, {} skipped, 0 masked, {errors} errors.\n",
                reading.files,
                reading.cached(),
                reading.parsed - errors,
                reading.recipes.len() - reading.skipped(),
                reading.skipped(),
            ))?;
        }
        if reading.failed > 0 && !self.keep_going && !self.parse_only {
            eprintln!("ERROR: Parsing halted due to errors, see error messages above");
            return Err(Stop::Told);
        }
        Ok(reading)
    }

    fn versions(&self, place: &Place, bench: &Workbench, reading: Reading) -> Result<(), Stop> {
        let mut universe = buildnet_bitbake::graph::Universe::new(&bench.dir, reading.recipes)
            .map_err(|error| place.failed(&error))?;
        let versions = versions(&mut universe).map_err(|error| place.failed(&error))?;
        let row = |name: &str, latest: &str, preferred: &str, required: &str| {
            format!("{name:<35} {latest:>25} {preferred:>25} {required:>25}\n")
        };
        let mut out = row("Recipe Name", "Latest Version", "Preferred Version", "Required Version");
        out += &row("===========", "==============", "=================", "================");
        out.push('\n');
        for version in versions.iter().filter(|v| self.targets.is_empty() || self.targets.contains(&v.name)) {
            out += &row(&version.name, &version.latest, &version.preferred, &version.required);
        }
        print(&out)?;
        Ok(())
    }
}

fn absolute(directory: &Path, file: &Path) -> String {
    directory.join(file).display().to_string()
}

fn warn(text: &str) {
    eprintln!("WARNING: {text}");
}

fn note(text: &str) {
    eprintln!("NOTE: {text}");
}
