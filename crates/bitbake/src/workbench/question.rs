//! Questions that commands ask of a build directory, and their answers: the same in the program and in a daemon.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Finding, Plan, Planned, Severity, Wanted, Workbench, graph_dot, graph_json, lint, plan};
use crate::error::{Error, Place, Result};
use crate::graph::{Universe, task_row};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// What is wrong with recipes; with `rows`, also a row of each variant.
    Parse {
        /// Rows as well.
        rows: bool,
    },
    /// The layers.
    Layers,
    /// Every variant.
    Recipes,
    /// What provides an item.
    Providers {
        /// The item.
        item: String,
    },
    /// The task graph of targets.
    Graph {
        /// `NAME` or `NAME:TASK`.
        targets: Vec<String>,
        /// For Graphviz instead of JSON.
        dot: bool,
    },
    /// The hashes of the tasks of targets; with `rows`, a row of each.
    Sigs {
        /// `NAME` or `NAME:TASK`.
        targets: Vec<String>,
        /// Rows instead of the short list.
        rows: bool,
    },
    /// What is legal and probably not meant.
    Lint {
        /// Only what lies in these files, or below these directories; everywhere where there are none.
        paths: Vec<String>,
    },
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What was noticed.
    pub findings: Vec<Finding>,
    /// What is shown.
    pub text: String,
    /// Rows, one JSON object per line, when asked for.
    pub rows: Option<String>,
    /// Whether it is a failure.
    pub failed: bool,
    /// How many recipe files there are.
    pub files: usize,
    /// How many of them were read for this answer.
    pub parsed: usize,
}

impl Answer {
    fn error(mut self, error: &Error) -> Self {
        self.findings.extend(Finding::failed(error, None));
        self.failed = true;
        self
    }
}

/// Answers a question; `machine` is for programs: JSON. An error of the metadata is an answer, too.
pub fn answer(bench: &Workbench, question: &Question, machine: bool) -> Answer {
    let mut answer = Answer { findings: bench.findings.clone(), ..Answer::default() };
    match fill(bench, question, machine, &mut answer) {
        Ok(()) => {
            answer.failed |= answer.findings.iter().any(|finding| finding.severity == Severity::Error);
            answer
        }
        Err(error) => answer.error(&error),
    }
}

// Writing to a `String` cannot fail.
fn fill(bench: &Workbench, question: &Question, machine: bool, answer: &mut Answer) -> Result<()> {
    if *question == Question::Layers {
        answer.text = layers(bench, machine);
        return Ok(());
    }
    let rows = matches!(question, Question::Parse { rows: true });
    let mut reading = bench.read(&Wanted { recipes: None, sign: true, rows });
    answer.findings.append(&mut reading.findings);
    (answer.files, answer.parsed) = (reading.files, reading.parsed);
    match question {
        Question::Layers => {}
        Question::Parse { .. } => {
            let (files, variants, skipped) = (reading.files, reading.recipes.len(), reading.skipped());
            answer.text = if machine {
                let counts = json!({
                    "recipes": files, "variants": variants, "skipped": skipped, "failed": reading.failed,
                    "parsed": reading.parsed, "cached": reading.cached(),
                });
                format!("{counts}\n")
            } else {
                format!(
                    "{files} recipes read: {variants} variants, {skipped} skipped; {} with errors\n",
                    reading.failed
                )
            };
            answer.rows = rows.then(|| reading.rows.iter().flat_map(|row| [row.as_str(), "\n"]).collect());
        }
        Question::Recipes => {
            reading.recipes.sort_by(|a, b| (&a.name, &a.file).cmp(&(&b.name, &b.file)));
            for recipe in &reading.recipes {
                let (epoch, version, revision) = &recipe.version;
                if machine {
                    let row = json!({
                        "name": recipe.name, "epoch": epoch, "version": version, "revision": revision,
                        "file": recipe.path, "variant": recipe.variant, "skipped": recipe.skipped,
                    });
                    let _ = writeln!(answer.text, "{row}");
                } else if let Some(reason) = &recipe.skipped {
                    let _ = writeln!(answer.text, "{:<40} {}\n    skipped: {reason}", recipe.name, recipe.file);
                } else {
                    let shown = format!("{epoch}:{version}-{revision}");
                    let _ = writeln!(answer.text, "{:<40} {shown:<24} {}", recipe.name, recipe.file);
                }
            }
        }
        Question::Providers { item } => {
            providers(&mut Universe::new(&bench.dir, reading.recipes)?, item, machine, answer)?;
        }
        Question::Lint { paths } => {
            let told = lint(bench, &mut Universe::new(&bench.dir, reading.recipes)?, paths)?;
            // Reading warns of some of it, too.
            let same = |one: &Finding, other: &Finding| match (&one.place, &other.place) {
                (Some(one), Some(other)) => one.file == other.file && one.line == other.line && one.line > 0,
                _ => false,
            };
            answer.findings.retain(|noticed| !told.iter().any(|finding| same(finding, noticed)));
            if machine {
                answer.failed |= told.iter().any(|finding| finding.severity == Severity::Error);
                answer.text = told.iter().flat_map(|finding| [finding_json(finding).to_string(), "\n".to_owned()]).collect();
            } else {
                let word = if told.len() == 1 { "doubt" } else { "doubts" };
                answer.text = format!("{} {word} told\n", told.len());
                answer.findings.extend(told);
            }
        }
        Question::Graph { targets, dot } => {
            if let Some(planned) = planned(bench, reading.recipes, targets, answer)? {
                answer.text = if *dot { graph_dot(&planned) } else { format!("{}\n", graph_json(&planned)) };
            }
        }
        Question::Sigs { targets, rows } => {
            let Some(mut planned) = planned(bench, reading.recipes, targets, answer)? else { return Ok(()) };
            let (hashed, findings) = bench.hashes(&mut planned)?;
            answer.findings.extend(findings);
            if *rows {
                answer.rows =
                    Some(hashed.iter().flat_map(|task| [task_row(task).to_string(), "\n".to_owned()]).collect());
            } else {
                for task in &hashed {
                    for part in [&*task.basehash, " ", &task.taskhash, " ", &task.id, "\n"] {
                        answer.text.push_str(part);
                    }
                }
            }
        }
    }
    Ok(())
}

/// A finding for programs.
fn finding_json(finding: &Finding) -> serde_json::Value {
    let place = finding.place.as_ref();
    let number = |of: fn(&Place) -> u32| place.map(of).filter(|number| *number > 0);
    json!({
        "id": finding.id,
        "severity": match finding.severity { Severity::Error => "error", Severity::Warning => "warning", Severity::Note => "note" },
        "file": place.map(|place| &place.file),
        "line": number(|place| place.line),
        "column": number(|place| place.column),
        "width": number(|place| place.width),
        "message": finding.message,
    })
}

/// The graph of targets; `None` after an error that was told. A recipe that cannot be read is one, needed or not: nobody knows what it
/// would provide.
fn planned(
    bench: &Workbench,
    recipes: Vec<std::sync::Arc<crate::recipe::RecipeInfo>>,
    targets: &[String],
    answer: &mut Answer,
) -> Result<Option<Planned>> {
    if answer.findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Ok(None);
    }
    let mut planned = plan(bench, recipes, &Plan { targets, ..Plan::default() })?;
    let findings = planned.findings(bench)?;
    let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
    answer.findings.extend(findings);
    Ok((!broken).then_some(planned))
}

fn layers(bench: &Workbench, machine: bool) -> String {
    let count = |name: &str| bench.dir.recipes().iter().filter(|file| file.layer.as_deref() == Some(name)).count();
    let layers = &bench.dir.layers;
    if machine {
        let row = |layer: &crate::config::Layer| {
            json!({
                "name": layer.name, "priority": layer.priority, "pattern": layer.pattern,
                "recipes": count(&layer.name),
            })
        };
        return format!("{}\n", serde_json::Value::Array(layers.iter().map(row).collect()));
    }
    let mut text = format!("{:<24} {:>8} {:>8}  files\n", "layer", "priority", "recipes");
    for layer in layers {
        let _ = writeln!(text, "{:<24} {:>8} {:>8}  {}", layer.name, layer.priority, count(&layer.name), layer.pattern);
    }
    text
}

fn providers(universe: &mut Universe, item: &str, machine: bool, answer: &mut Answer) -> Result<()> {
    let build = universe.build_providers(item)?;
    let runtime = universe.runtime_providers(item)?.unwrap_or_default();
    let files = |indices: &[usize]| -> Vec<String> {
        indices.iter().map(|index| universe.recipes[*index].file.clone()).collect()
    };
    let (build, runtime) = (files(&build), files(&runtime));
    let (skipped, assumed) = (universe.skip_reasons(item), universe.is_assumed(item));
    answer.failed = build.is_empty() && runtime.is_empty() && !assumed;
    if machine {
        let row = json!({
            "item": item, "build": build, "runtime": runtime, "assumed": assumed, "skipped": skipped,
        });
        answer.text = format!("{row}\n");
        return Ok(());
    }
    if assumed {
        let _ = writeln!(answer.text, "{item} is assumed to be provided by the host (ASSUME_PROVIDED)");
    }
    for (when, list) in [("build time", &build), ("run time", &runtime)] {
        for (rank, file) in list.iter().enumerate() {
            let _ = writeln!(answer.text, "{when:<10} {} {file}", if rank == 0 { "chosen" } else { "other " });
        }
    }
    for reason in &skipped {
        let _ = writeln!(answer.text, "skipped    {reason}");
    }
    if answer.text.is_empty() {
        answer.text = format!("nothing provides {item}\n");
    }
    Ok(())
}
