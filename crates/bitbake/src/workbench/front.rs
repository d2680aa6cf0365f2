//! What the program says under the name `bitbake`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::question::{Answer, Refusal, has_errors};
use super::targets::plan_in;
use super::{Plan, Planned, Reading, Wanted, Workbench, graph_dot, versions};
use crate::error::Result;
use crate::graph::{Selection, Universe};
use crate::recipe::{RecipeInfo, in_multiconfig};

/// What BitBake's flags ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrontMode {
    /// `-p`: what is wrong with recipes.
    Parse,
    /// `-s`: the versions of recipes.
    Versions,
    /// `-g`: the files `pn-buildlist` and `task-depends.dot`.
    Graph,
    /// `-S none`: signature data beside the stamps.
    Signatures,
    /// `-n`: the tasks in an order they could run in.
    DryRun,
}

/// BitBake's command line, as far as it is about metadata.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Front {
    /// What is asked for.
    pub mode: FrontMode,
    /// The targets.
    pub targets: Vec<String>,
    /// `-c`.
    pub command: Option<String>,
    /// `--runall`.
    pub run_all: Vec<String>,
    /// `--runonly`.
    pub run_only: Vec<String>,
    /// `-k`.
    pub keep_going: bool,
    /// `-b`: a recipe's file alone, and the directory that its path is meant from.
    pub alone: Option<(String, PathBuf)>,
}

/// What came of reading recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FrontSummary {
    /// How many variants are not skipped.
    pub targets: usize,
    /// How many are.
    pub skipped: usize,
    /// How many recipe files could not be read.
    pub failed: usize,
    /// Whether an error ended it before it was done.
    pub stopped: bool,
}

/// Answers a command line. What is noticed is in the answer also where it ends in an error.
pub(super) fn front(bench: &Workbench, asked: &Front, answer: &mut Answer) -> Result<()> {
    let mut summary = FrontSummary { stopped: true, ..FrontSummary::default() };
    let result = fill(bench, asked, answer, &mut summary);
    answer.summary = Some(summary);
    result
}

fn fill(bench: &Workbench, asked: &Front, answer: &mut Answer, summary: &mut FrontSummary) -> Result<()> {
    let alone = match &asked.alone {
        Some((file, directory)) => match bench.recipe_matching(file, directory) {
            Ok(found) => Some(found),
            Err(message) => {
                answer.refusal = Some(Refusal { message, hint: None });
                return Ok(());
            }
        },
        None => None,
    };
    let recipes = alone.as_ref().map(|(recipe, _)| vec![*recipe]);
    let sign = asked.mode == FrontMode::Signatures;
    let mut reading = bench.read(&Wanted { recipes, sign, rows: false });
    answer.findings.append(&mut reading.findings);
    (answer.files, answer.parsed) = (reading.files, reading.parsed);
    summary.skipped = reading.skipped();
    (summary.targets, summary.failed) = (reading.recipes.len() - summary.skipped, reading.failed);
    if asked.mode == FrontMode::Parse {
        summary.stopped = false;
        return Ok(());
    }
    if reading.failed > 0 && !asked.keep_going {
        return Ok(());
    }
    if asked.mode == FrontMode::Versions {
        answer.text = versions_of(bench, reading, &asked.targets)?;
        summary.stopped = false;
        return Ok(());
    }
    let targets = match &alone {
        Some((_, variant)) => stand_alone(&mut reading, variant),
        None => asked.targets.clone(),
    };
    let selection = Selection { run_all: asked.run_all.clone(), run_only: asked.run_only.clone() };
    let plan = Plan { targets: &targets, task: asked.command.as_deref(), selection, keep_going: asked.keep_going };
    let mut planned = plan_in(Universe::new(&bench.dir, reading.recipes)?, &plan)?;
    let findings = planned.findings(bench)?;
    let broken = has_errors(&findings);
    answer.findings.extend(findings);
    if broken {
        return Ok(());
    }
    show(bench, asked.mode, &mut planned, answer)?;
    summary.stopped = false;
    Ok(())
}

fn show(bench: &Workbench, mode: FrontMode, planned: &mut Planned, answer: &mut Answer) -> Result<()> {
    match mode {
        FrontMode::Graph => {
            let names = planned.recipe_names().join("\n") + "\n";
            answer.written.push(("pn-buildlist".to_owned(), names));
            answer.written.push(("task-depends.dot".to_owned(), graph_dot(planned)));
        }
        FrontMode::Signatures => {
            let (hashed, findings) = bench.hashes(planned)?;
            answer.findings.extend(findings);
            bench.write_signatures(planned, &hashed)?;
        }
        _ => {
            let total = planned.graph.order.len();
            for (at, index) in planned.graph.order.iter().enumerate() {
                let id = planned.graph.id(&planned.universe, *index);
                let _ = writeln!(answer.text, "NOTE: Running task {} of {total} ({id})", at + 1);
            }
        }
    }
    Ok(())
}

/// Takes from one variant of a recipe what it needs of others. Returns the target that is left.
fn stand_alone(reading: &mut Reading, variant: &str) -> Vec<String> {
    reading.recipes.retain(|recipe| recipe.variant == variant);
    reading.recipes.iter_mut().for_each(|recipe| Arc::make_mut(recipe).stand_alone());
    let name = |recipe: &Arc<RecipeInfo>| in_multiconfig(&recipe.multiconfig, &recipe.name);
    reading.recipes.iter().map(name).collect()
}

fn versions_of(bench: &Workbench, reading: Reading, targets: &[String]) -> Result<String> {
    let versions = versions(&mut Universe::new(&bench.dir, reading.recipes)?)?;
    let row = |name: &str, latest: &str, preferred: &str, required: &str| {
        format!("{name:<35} {latest:>25} {preferred:>25} {required:>25}\n")
    };
    let mut out = row("Recipe Name", "Latest Version", "Preferred Version", "Required Version");
    out += &row("===========", "==============", "=================", "================");
    out.push('\n');
    for version in versions.iter().filter(|version| targets.is_empty() || targets.contains(&version.name)) {
        out += &row(&version.name, &version.latest, &version.preferred, &version.required);
    }
    Ok(out)
}
