//! Where the metadata is, and what goes wrong with it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buildnet_bitbake::config::Options;
use buildnet_bitbake::graph::HashedTask;
use buildnet_bitbake::recipe::RecipeInfo;
use buildnet_bitbake::workbench::{
    Answer, Finding, Plan, Planned, Question, Reading, Severity, Wanted, Workbench, answer, find_build_dir, plan,
};
use buildnet_daemon::ErrorReport;
use buildnet_daemon::client::{ClientError, Daemon};
use buildnet_daemon::service::BitbakeRequest;
use clap::Args;

use super::front::as_bitbake;
use crate::context::{Context, environment};
use crate::output::{FAILED, print};
use crate::terminal::messages::Verbosity;
use crate::terminal::text::clean;

/// Where the metadata is, and how to read it.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The build directory, which holds conf/ [default: where you stand, or above]
    #[arg(long, value_name = "DIR", global = true)]
    build_dir: Option<PathBuf>,
    /// The Python interpreter: `cpython` (python3, 3.9 or newer), `rustpython` (buildnet-python, which comes with BuildNet), `auto`
    /// (the first of them that is there), or a program
    #[arg(long, value_name = "PYTHON", env = "BUILDNET_PYTHON", default_value = "auto", global = true)]
    python: PathBuf,
    /// How many threads read recipes [default: one per core]
    #[arg(long, value_name = "COUNT", global = true)]
    threads: Option<usize>,
    /// Seconds that Python code may compute without a word
    #[arg(long, value_name = "SECONDS", env = "BUILDNET_PYTHON_SECONDS", default_value_t = 120, global = true)]
    python_seconds: u64,
    /// Read every recipe, whatever is known of it, and keep nothing
    #[arg(long, alias = "force", global = true)]
    no_cache: bool,
}

impl PlaceArgs {
    pub(crate) fn resolve(self, context: &Context) -> Place {
        let build_dir = match self.build_dir {
            Some(chosen) => context.directory.join(chosen),
            None => find_build_dir(&context.directory),
        };
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
        Place {
            build_dir,
            python: interpreter(self.python),
            time_limit: Duration::from_secs(self.python_seconds),
            threads: threads.unwrap_or(1),
            verbosity: context.teller.verbosity,
            bitbake: false,
            cache: !self.no_cache,
            machine: context.json,
            daemon: (context.use_daemon && !self.no_cache).then(|| context.daemon.clone()),
            told: Rc::default(),
        }
    }
}

/// The host's Python.
const CPYTHON: &str = "python3";
/// Our own: RustPython, in a program beside this one.
const RUSTPYTHON: &str = "buildnet-python";

/// The program that a name stands for. One that is nowhere is named all the same: starting it fails with the reason.
fn interpreter(wanted: PathBuf) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let own = || {
        let beside = std::env::current_exe().ok().map(|program| program.with_file_name(RUSTPYTHON));
        beside.filter(|file| file.is_file()).or_else(|| on_path(RUSTPYTHON))
    };
    match wanted.to_str() {
        Some("auto") => on_path(CPYTHON).or_else(own).unwrap_or_else(|| CPYTHON.into()),
        Some("cpython") => CPYTHON.into(),
        Some("rustpython") => own().unwrap_or_else(|| RUSTPYTHON.into()),
        _ => wanted,
    }
}

/// A build directory, and how to tell what is wrong in it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) build_dir: PathBuf,
    pub(crate) python: PathBuf,
    /// How long Python code may compute without a word.
    pub(crate) time_limit: Duration,
    pub(crate) threads: usize,
    pub(crate) verbosity: Verbosity,
    /// Speak as BitBake does: capital words.
    pub(crate) bitbake: bool,
    /// Whether what is known of recipes may be used, and kept.
    pub(crate) cache: bool,
    /// Write for machines.
    pub(crate) machine: bool,
    /// The daemon to ask first, if any.
    pub(crate) daemon: Option<Daemon>,
    /// How many warnings and errors were told.
    pub(crate) told: Rc<Told>,
}

/// Counts of what was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) warnings: Cell<usize>,
    pub(crate) errors: Cell<usize>,
}

/// An error that has been told, or one that has not.
pub(crate) enum Stop {
    Told,
    Report(ErrorReport),
}

impl From<ErrorReport> for Stop {
    fn from(report: ErrorReport) -> Self {
        Self::Report(report)
    }
}

/// A command's end: an error that was told is a failure.
pub(crate) fn ended(result: Result<ExitCode, Stop>) -> Result<ExitCode, ErrorReport> {
    match result {
        Ok(code) => Ok(code),
        Err(Stop::Told) => Ok(ExitCode::from(FAILED)),
        Err(Stop::Report(report)) => Err(report),
    }
}

impl Place {
    /// Reads the configuration, and tells what is wrong with it. With `history`, who set what is recorded, and nothing is kept.
    pub(crate) fn open(&self, history: bool) -> Result<Workbench, Stop> {
        let bench = self.bench(history)?;
        self.tell_all(&bench.findings);
        Ok(bench)
    }

    fn bench(&self, history: bool) -> Result<Workbench, Stop> {
        let request = self.request(Question::Layers)?;
        let options = Options { history, ..request.options(std::env::temp_dir()) };
        let bench = if self.cache && !history {
            Workbench::open_with_cache(&options, self.threads, &request.cache())
        } else {
            Workbench::open(&options, self.threads)
        };
        bench.map_err(|error| self.failed(&error))
    }

    /// A question as the daemon is asked.
    fn request(&self, question: Question) -> Result<BitbakeRequest, ErrorReport> {
        let build_dir = self.build_dir.canonicalize().map_err(|error| {
            ErrorReport::user(format!("cannot enter the build directory {}", self.build_dir.display())).because(&error)
        })?;
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| ErrorReport::user(format!("{} is not UTF-8", path.display())))
        };
        let mut environment = environment();
        // Python code of the metadata reads and writes UTF-8, whatever the user's terminal does.
        environment.insert("LC_ALL".to_owned(), "C.UTF-8".to_owned());
        Ok(BitbakeRequest {
            build_dir: text(&build_dir)?,
            environment,
            python: text(&self.python)?,
            python_seconds: self.time_limit.as_secs(),
            threads: self.threads,
            program: buildnet_daemon::process::program(),
            question,
            machine: self.machine,
        })
    }

    /// Asks the daemon if there is one, or finds out here; and tells what was noticed.
    pub(crate) fn ask(&self, question: &Question) -> Result<Answer, Stop> {
        let answer = match self.ask_daemon(question)? {
            Some(answer) => answer,
            None => answer(&self.bench(false)?, question, self.machine),
        };
        self.tell_all(&answer.findings);
        if self.cache && answer.files > 0 && !self.machine && !matches!(self.verbosity, Verbosity::Quiet) {
            let known = answer.files - answer.parsed;
            eprintln!("Parsed {} of {} recipes; {known} were known.", answer.parsed, answer.files);
        }
        Ok(answer)
    }

    fn ask_daemon(&self, question: &Question) -> Result<Option<Answer>, Stop> {
        let Some(daemon) = &self.daemon else { return Ok(None) };
        match daemon.post("/bitbake", &self.request(question.clone())?) {
            Ok(answer) => Ok(answer),
            Err(error @ (ClientError::Refused(_) | ClientError::Connection { .. })) => Err(error.report().into()),
            Err(error) => {
                if !self.machine && !matches!(self.verbosity, Verbosity::Quiet) {
                    eprintln!("note: the daemon is not asked: {}", error.report().message);
                }
                Ok(None)
            }
        }
    }

    /// Tells an error of the metadata.
    pub(crate) fn failed(&self, error: &buildnet_bitbake::Error) -> Stop {
        self.tell_all(&Finding::failed(error, None));
        Stop::Told
    }

    /// Reads recipes, and tells what is wrong with them.
    pub(crate) fn read(&self, bench: &Workbench, wanted: &Wanted) -> Reading {
        let reading = bench.read(wanted);
        self.tell_all(&reading.findings);
        reading
    }

    /// The task graph of targets. A recipe that cannot be read is an error, needed or not: nobody knows what it would provide.
    pub(crate) fn plan(&self, bench: &Workbench, wants: &Wants<'_>) -> Result<Planned, Stop> {
        let wanted = Wanted { sign: wants.sign, ..Wanted::default() };
        let reading = self.read(bench, &wanted);
        if has_errors(&reading.findings) {
            return Err(Stop::Told);
        }
        self.plan_of(bench, reading.recipes, wants)
    }

    /// The task graph of targets over recipes that are read.
    pub(crate) fn plan_of(
        &self,
        bench: &Workbench,
        recipes: Vec<Arc<RecipeInfo>>,
        wants: &Wants<'_>,
    ) -> Result<Planned, Stop> {
        let planned = plan(bench, recipes, &wants.plan);
        let mut planned = planned.map_err(|error| self.failed(&error))?;
        let findings = planned.findings(bench).map_err(|error| self.failed(&error))?;
        self.tell_all(&findings);
        if has_errors(&findings) { Err(Stop::Told) } else { Ok(planned) }
    }

    /// The hashes of planned tasks; what is noticed is told.
    pub(crate) fn hashes(&self, bench: &Workbench, planned: &mut Planned) -> Result<Vec<HashedTask>, Stop> {
        let (tasks, findings) = bench.hashes(planned).map_err(|error| self.failed(&error))?;
        self.tell_all(&findings);
        Ok(tasks)
    }

    pub(crate) fn tell_all(&self, findings: &[Finding]) {
        for finding in findings {
            self.tell(finding);
        }
    }

    fn tell(&self, finding: &Finding) {
        let quiet = match finding.severity {
            Severity::Error => false,
            Severity::Warning => matches!(self.verbosity, Verbosity::Quiet),
            Severity::Note => !matches!(self.verbosity, Verbosity::Verbose),
        };
        if quiet {
            return;
        }
        let word = match (finding.severity, self.bitbake) {
            (Severity::Error, true) => "ERROR",
            (Severity::Warning, true) => "WARNING",
            (Severity::Note, true) => "NOTE",
            (Severity::Error, false) => "error",
            (Severity::Warning, false) => "warning",
            (Severity::Note, false) => "note",
        };
        // What metadata says must not move the cursor.
        let text = finding.to_string();
        let text = if self.bitbake { as_bitbake(&text) } else { text };
        let text: Vec<String> = text.lines().map(|line| clean(line, false)).collect();
        self.say(finding.severity, &format!("{word}: {}", text.join("\n")));
    }

    /// Something that BitBake's users are told.
    pub(crate) fn note(&self, text: &str) {
        if !matches!(self.verbosity, Verbosity::Quiet) {
            self.say(Severity::Note, &format!("NOTE: {text}"));
        }
    }

    /// Writes a message. BitBake's errors go to standard error, and all else to standard output.
    pub(crate) fn say(&self, severity: Severity, text: &str) {
        let uncounted = Cell::new(0);
        let count = match severity {
            Severity::Error => &self.told.errors,
            Severity::Warning => &self.told.warnings,
            Severity::Note => &uncounted,
        };
        count.set(count.get() + 1);
        if self.bitbake && severity != Severity::Error {
            // A reader that has gone away needs no more of it.
            let _ = print(&format!("{text}\n"));
        } else {
            eprintln!("{text}");
        }
    }
}

/// What to plan.
pub(crate) struct Wants<'a> {
    pub(crate) plan: Plan<'a>,
    /// Whether the hashes are wanted.
    pub(crate) sign: bool,
}

impl<'a> Wants<'a> {
    /// Whole graphs of targets.
    pub(crate) fn targets(targets: &'a [String], sign: bool) -> Self {
        Self { plan: Plan { targets, ..Plan::default() }, sign }
    }
}

/// Whether anything is an error.
pub(crate) fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Writes an answer: its rows to a file, or to standard output for `-`, and its text otherwise.
pub(crate) fn show(answer: &Answer, rows: Option<&Path>, context: &Context) -> Result<ExitCode, ErrorReport> {
    match (rows, &answer.rows) {
        (Some(path), Some(lines)) if path.as_os_str() == "-" => print(lines)?,
        (Some(path), Some(lines)) => {
            write_file(&context.directory.join(path), lines)?;
            print(&answer.text)?;
        }
        _ => print(&answer.text)?,
    }
    Ok(if answer.failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

pub(crate) fn write_file(path: &std::path::Path, text: &str) -> Result<(), ErrorReport> {
    std::fs::write(path, text)
        .map_err(|error| ErrorReport::environment(format!("cannot write {}", path.display())).because(&error))
}
