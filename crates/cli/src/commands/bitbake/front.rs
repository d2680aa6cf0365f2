//! The program under the name `bitbake`: the flags and the words that BitBake's users know.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use buildnet_bitbake::graph::Selection;
use buildnet_bitbake::recipe::{RecipeInfo, in_multiconfig};
use buildnet_bitbake::workbench::{
    Plan, Planned, Reading, Severity, Wanted, Workbench, find_build_dir, graph_dot, versions,
};
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
    version = concat!("BitBake Build Tool version 2.19.0 (BuildNet ", env!("CARGO_PKG_VERSION"), ")"),
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
    /// Write the signature data of all tasks beside their stamps; `printdiff` also says which tasks shared state does not have, and
    /// why; `lockedsigs` also writes locked-sigs.inc
    #[arg(short = 'S', long, value_name = "HANDLER", value_parser = ["none", "printdiff", "lockedsigs"])]
    dump_signatures: Vec<String>,
    /// Make the targets' tasks run again: their hashes are others from now on
    #[arg(short = 'f', long)]
    force: bool,
    /// Make these tasks of the targets run again, separated by commas
    #[arg(short = 'C', long = "clear-stamp", value_name = "TASK", value_delimiter = ',')]
    invalidate: Vec<String>,
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
    /// Taken, and without effect
    #[arg(short = 'D', long = "debug", hide = true, action = ArgAction::Count)]
    _debug: u8,
    /// Taken, and without effect: there is one user interface
    #[arg(short = 'u', long = "ui", hide = true, value_name = "UI")]
    _ui: Option<String>,
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
        told: Rc::default(),
    };
    match front.run(&place, &directory) {
        Ok(code) => {
            summary(&place);
            code
        }
        Err(Stop::Report(report)) => told(&report),
        Err(Stop::Told) => {
            summary(&place);
            ExitCode::from(FAILED)
        }
    }
}

/// What BitBake says last.
fn summary(place: &Place) {
    let count = |number: usize, kind: &str| match number {
        1 => format!("was 1 {kind} message"),
        number => format!("were {number} {kind} messages"),
    };
    let (warnings, errors) = (place.told.warnings.get(), place.told.errors.get());
    let mut text = String::new();
    if warnings > 0 {
        text.extend(["\nSummary: There ", &count(warnings, "WARNING"), "."]);
    }
    if errors > 0 {
        text.extend(["\nSummary: There ", &count(errors, "ERROR"), ", returning a non-zero exit code."]);
    }
    if !text.is_empty() && !matches!(place.verbosity, Verbosity::Quiet) {
        // Nobody reads it any more where this fails.
        let _ = print(&format!("{text}\n"));
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
                return Err(ErrorReport::user("Only one target can be used with the --environment option.").into());
            }
            let by_file = self.buildfile.as_ref().map(|file| absolute(directory, file));
            let recipe = by_file.or_else(|| self.targets.first().cloned());
            return show(&EnvArgs { recipe, variable: None, history: true }, place);
        }
        if self.targets.is_empty() && !self.parse_only && !self.show_versions && self.buildfile.is_none() {
            if self.graphviz {
                let text = "Please specify a package name for dependency graph generation.";
                return Err(ErrorReport::user(text).into());
            }
            print(
                "Nothing to do.  Use 'bitbake world' to build everything, or run 'bitbake --help' for usage information.\n",
            )?;
            return Ok(ExitCode::from(FAILED));
        }
        if self.buildfile.is_some() {
            let text = "Buildfile specified, dependencies will not be handled. If this is not what you want, do not use -b / --buildfile.";
            place.say(Severity::Warning, &format!("WARNING: {text}"));
        }
        let bench = place.open(false)?;
        let wants_hashes = !self.dump_signatures.is_empty();
        let alone = match &self.buildfile {
            Some(file) => Some(bench.recipe_matching(&file.to_string_lossy(), directory).map_err(ErrorReport::user)?),
            None => None,
        };
        let recipes = alone.as_ref().map(|(recipe, _)| vec![*recipe]);
        let mut reading = self.read(place, &bench, &Wanted { recipes, sign: wants_hashes, rows: false })?;
        if self.parse_only {
            return Ok(ExitCode::from(u8::from(has_errors(&reading.findings))));
        }
        let mut failed = has_errors(&reading.findings);
        if self.show_versions {
            Self::versions(place, &bench, reading)?;
            return Ok(ExitCode::from(u8::from(failed)));
        }
        let targets = match &alone {
            Some((_, variant)) => {
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
        if alone.is_none() {
            place.note("Resolving any missing task queue dependencies");
        }
        // Of what is missing, the targets are errors; the rest is what the recipes recommend.
        let is_target = |problem: &&String| {
            let item = problem.lines().next().and_then(|line| line.strip_prefix("nothing provides "));
            let item = item.map(|item| item.trim_end_matches(". Close matches:"));
            let names = |target: &str, item: &str| {
                target == item || target.rsplit_once(':').is_some_and(|(name, _)| name == item)
            };
            item.is_some_and(|item| targets.iter().any(|target| names(target, item)))
        };
        for problem in planned.closure.problems.iter().filter(is_target) {
            place.say(Severity::Error, &format!("ERROR: {}", as_bitbake(problem)));
            failed = true;
        }
        if self.graphviz {
            write_file(&directory.join("pn-buildlist"), &(planned.recipe_names().join("\n") + "\n"))?;
            place.note("PN build list saved to 'pn-buildlist'");
            write_file(&directory.join("task-depends.dot"), &graph_dot(&planned))?;
            place.note("Task dependencies saved to 'task-depends.dot'");
            return Ok(ExitCode::from(u8::from(failed)));
        }
        if !wants_hashes && !self.dry_run {
            let report = ErrorReport::user("running tasks of recipes is not there yet")
                .with_hint("-n shows what would run; -S none, -g, -e, -s and -p work.");
            return Err(report.into());
        }
        print("Initialising tasks...")?;
        self.taint(place, &bench, &planned)?;
        if wants_hashes {
            self.signatures(place, &bench, &mut planned, directory)?;
        } else {
            dry_run(place, &planned)?;
        }
        Ok(ExitCode::from(u8::from(failed)))
    }

    /// Forces tasks, as `-f` and `-C` say.
    fn taint(&self, place: &Place, bench: &Workbench, planned: &Planned) -> Result<(), Stop> {
        let invalid: Vec<String> = self.invalidate.iter().map(|task| full_task_name(task)).collect();
        let lists = [self.force.then_some(None), (!invalid.is_empty()).then_some(Some(invalid.as_slice()))];
        for tasks in lists.into_iter().flatten() {
            for tainted in bench.taint(planned, tasks).map_err(|error| place.failed(&error))? {
                place.note(&format!("Tainting hash to force rebuild of task {tainted}"));
            }
        }
        Ok(())
    }

    /// Writes signature data, and what else the handlers of `-S` make of it.
    fn signatures(
        &self,
        place: &Place,
        bench: &Workbench,
        planned: &mut Planned,
        directory: &Path,
    ) -> Result<(), Stop> {
        let wants = |handler: &str| self.dump_signatures.iter().any(|own| own == handler);
        let hashed = place.hashes(bench, planned)?;
        print("done.\n")?;
        let written = bench.write_signatures(planned, &hashed).map_err(|error| place.failed(&error))?;
        let unusable = if wants("printdiff") {
            bench.unusable(planned, &hashed, &written).map_err(|error| place.failed(&error))?
        } else {
            Vec::new()
        };
        if !unusable.is_empty() {
            let ids: String = unusable.iter().flat_map(|task| [task.id.as_str(), "\n"]).collect();
            let head = "The differences between the current build and any cached tasks start at the following tasks:";
            print(&format!("{head}\n{ids}"))?;
        }
        place.note("Writing task signature files");
        if wants("lockedsigs") {
            let path = directory.join(&place.build_dir).join("locked-sigs.inc");
            let text = bench.locked_signatures(planned, &hashed, &written).map_err(|error| place.failed(&error))?;
            print(&format!("Writing locked sigs to {}\n", path.display()))?;
            write_file(&path, &text)?;
        }
        for task in &unusable {
            let Some((path, differences)) = &task.before else { continue };
            let before = path.extension().and_then(|hash| hash.to_str()).unwrap_or_default();
            let mut text = format!(
                "\nTask {} couldn't be used from the cache because:\n  We need hash {}, most recent matching task was {before}\n",
                task.name, task.hash
            );
            for difference in differences {
                text.extend(["  ", &difference.to_string().replace('\n', "\n  "), "\n"]);
            }
            print(&text)?;
        }
        place.note("Tasks Summary: Attempted 0 tasks of which 0 didn't need to be rerun and all succeeded.");
        Ok(())
    }

    fn read(&self, place: &Place, bench: &Workbench, wanted: &Wanted) -> Result<Reading, Stop> {
        let start = std::time::Instant::now();
        let reading = place.read(bench, wanted);
        let done = || {
            if !std::io::stdout().is_terminal() {
                return "...done.".to_owned();
            }
            let seconds = start.elapsed().as_secs();
            format!(": 100% |##########| Time: {}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        };
        if !matches!(place.verbosity, Verbosity::Quiet) {
            let loaded = if reading.parsed == 0 { reading.recipes.len() } else { reading.cached() };
            print(&format!("Loading cache{}\nLoaded {loaded} entries from dependency cache.\n", done()))?;
            if reading.parsed > 0 {
                print(&format!(
                    "Parsing recipes{}\nParsing of {} .bb files complete ({} cached, {} parsed). {} targets, {} skipped, {} masked, {} errors.\n",
                    done(),
                    reading.files,
                    reading.cached(),
                    reading.parsed - reading.failed,
                    reading.recipes.len(),
                    reading.skipped(),
                    bench.dir.masked,
                    reading.failed,
                ))?;
            }
        }
        if reading.failed > 0 && !self.keep_going && !self.parse_only {
            place.say(Severity::Error, "ERROR: Parsing halted due to errors, see error messages above");
            return Err(Stop::Told);
        }
        Ok(reading)
    }

    fn versions(place: &Place, bench: &Workbench, reading: Reading) -> Result<(), Stop> {
        let mut universe = buildnet_bitbake::graph::Universe::new(&bench.dir, reading.recipes)
            .map_err(|error| place.failed(&error))?;
        let versions = versions(&mut universe).map_err(|error| place.failed(&error))?;
        let row = |name: &str, latest: &str, preferred: &str, required: &str| {
            format!("{name:<35} {latest:>25} {preferred:>25} {required:>25}\n")
        };
        let mut out = row("Recipe Name", "Latest Version", "Preferred Version", "Required Version");
        out += &row("===========", "==============", "=================", "================");
        out.push('\n');
        for version in &versions {
            out += &row(&version.name, &version.latest, &version.preferred, &version.required);
        }
        print(&out)?;
        Ok(())
    }
}

fn absolute(directory: &Path, file: &Path) -> String {
    directory.join(file).display().to_string()
}

/// A task's name with its `do_`.
fn full_task_name(task: &str) -> String {
    if task.starts_with("do_") { task.to_owned() } else { format!("do_{task}") }
}

/// Tells the tasks in an order they could run in.
fn dry_run(place: &Place, planned: &Planned) -> Result<(), Stop> {
    print("done.\n")?;
    if !planned.graph.nodes.iter().any(|node| node.setscene) {
        place.note("No setscene tasks");
    }
    place.note("Executing Tasks");
    let total = planned.graph.order.len();
    for (at, index) in planned.graph.order.iter().enumerate() {
        let node = &planned.graph.nodes[*index as usize];
        let flags = &planned.universe.recipes[node.recipe].tasks.flags;
        let noexec = flags.get("noexec").is_some_and(|tasks| tasks.contains_key(node.task.as_str()));
        let kind = if noexec { "noexec task" } else { "task" };
        let id = planned.graph.id(&planned.universe, *index);
        place.note(&format!("Running {kind} {} of {total} ({id})", at + 1));
    }
    let text = format!("Tasks Summary: Attempted {total} tasks of which 0 didn't need to be rerun and all succeeded.");
    place.note(&text);
    Ok(())
}

/// What is missing, in the words that BitBake's users search for.
pub(super) fn as_bitbake(text: &str) -> String {
    text.lines().map(line_as_bitbake).collect::<Vec<_>>().join("\n")
}

fn line_as_bitbake(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("nothing provides ") {
        let (item, needs) = rest.split_once(", which ").map_or((rest, None), |(item, needs)| (item, Some(needs)));
        let (item, matches) = item.split_once(". Close").map_or((item, ""), |(item, _)| (item, ". Close matches:"));
        let at_run_time = needs.and_then(|needs| needs.strip_suffix(" at run time needs"));
        let at_build_time = needs.and_then(|needs| needs.strip_suffix(" needs"));
        return match (at_run_time, at_build_time) {
            (Some(by), _) => format!("Nothing RPROVIDES '{item}' (but {by} RDEPENDS on or otherwise requires it)"),
            (None, Some(by)) => format!("Nothing PROVIDES '{item}' (but {by} DEPENDS on or otherwise requires it)"),
            (None, None) => format!("Nothing PROVIDES '{item}'{matches}"),
        };
    }
    if let Some(target) = line.strip_suffix(" cannot be built:") {
        return format!("Required build target '{target}' has no buildable providers.");
    }
    match line.split_once(" has no task ").and_then(|(target, rest)| Some((target, rest.split_once("; it has ")?))) {
        Some((target, (task, there))) => {
            format!("Task {task} does not exist for target {target}. It has:\n  {}", there.replace(", ", "\n  "))
        }
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::as_bitbake;

    #[test]
    fn what_is_missing_is_said_as_bitbake_says_it() {
        let cases = [
            ("nothing provides a", "Nothing PROVIDES 'a'"),
            ("nothing provides a. Close matches:\n  b", "Nothing PROVIDES 'a'. Close matches:\n  b"),
            (
                "nothing provides a, which b, c needs",
                "Nothing PROVIDES 'a' (but b, c DEPENDS on or otherwise requires it)",
            ),
            (
                "nothing provides a, which b at run time needs",
                "Nothing RPROVIDES 'a' (but b RDEPENDS on or otherwise requires it)",
            ),
            ("a cannot be built:", "Required build target 'a' has no buildable providers."),
            ("a has no task do_x; it has do_y, do_z", "Task do_x does not exist for target a. It has:\n  do_y\n  do_z"),
            ("something else", "something else"),
        ];
        for (own, expected) in cases {
            assert_eq!(as_bitbake(own), expected);
        }
    }
}
