//! What the command line shows of a build directory: errors with their excerpts, graphs, hashes.
//!
//! A [`Workbench`] holds an opened build directory; the other files are one question each: `finding` (what went wrong, for people),
//! `targets` (task graphs and hashes),
//! `hashing` (hashes, and files of them), `stamps` (signature files), `survey` (layers, versions, providers, lint).

mod finding;
mod hashing;
mod stamps;
mod survey;
mod targets;

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

pub use finding::{Finding, Severity};
pub use stamps::{read_signature, signature_of, write_signature};
pub use survey::{Version, lint, versions};
pub use targets::{Plan, Planned, graph_dot, graph_json, plan};

use crate::Result;
use crate::config::{BuildDir, Options, ParseOptions, Pattern};
use crate::metadata::normal;
use crate::recipe::{RecipeInfo, recipe_row, split_multiconfig};

/// An opened build directory.
pub struct Workbench {
    /// The build directory.
    pub dir: BuildDir,
    /// What was noticed while its configuration was read.
    pub findings: Vec<Finding>,
    threads: usize,
}

/// How to read recipes.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The recipes, by index; `None` for all.
    pub recipes: Option<Vec<usize>>,
    /// Make the signatures of their tasks.
    pub sign: bool,
    /// Make a row of each variant.
    pub rows: bool,
}

/// What came of reading recipes.
#[derive(Debug, Default)]
pub struct Reading {
    /// The variants that could be read, skipped ones among them.
    pub recipes: Vec<RecipeInfo>,
    /// One row per variant, when asked for.
    pub rows: Vec<Json>,
    /// All that was noticed, in the order of the recipes.
    pub findings: Vec<Finding>,
    /// How many recipe files were read.
    pub files: usize,
    /// How many of them could not be.
    pub failed: usize,
}

impl Reading {
    /// How many variants are skipped.
    pub fn skipped(&self) -> usize {
        self.recipes.iter().filter(|recipe| recipe.skipped.is_some()).count()
    }
}

/// The build directory that a directory lies in: the nearest one upward with `conf/bblayers.conf`, or else itself.
pub fn find_build_dir(start: &Path) -> PathBuf {
    let found = start.ancestors().find(|directory| directory.join("conf/bblayers.conf").exists());
    found.unwrap_or(start).to_owned()
}

impl Workbench {
    /// Reads the configuration of a build directory; recipes will be read by that many threads.
    pub fn open(options: &Options, threads: usize) -> Result<Self> {
        let mut dir = BuildDir::open(options)?;
        let messages = std::mem::take(&mut dir.session.messages);
        let findings = messages.iter().map(|message| Finding::logged(message, None)).collect();
        Ok(Self { dir, findings, threads: threads.max(1) })
    }

    /// The recipe file, and its variant, that a text of BitBake's `-b` means: `[mc:NAME:][virtual:VARIANT:]FILE`, where FILE may be
    /// a regular expression that one file alone matches.
    ///
    /// # Errors
    ///
    /// Where it matches none or several, in words.
    pub fn recipe_matching(&self, text: &str, directory: &Path) -> std::result::Result<(usize, String), String> {
        let (multiconfig, name) = split_multiconfig(text);
        let (variant, name) = match name.strip_prefix("virtual:").and_then(|rest| rest.rsplit_once(':')) {
            Some((variant, name)) => (variant, name),
            None => ("", name),
        };
        let own: Vec<(usize, &str)> = self
            .dir
            .recipes()
            .iter()
            .enumerate()
            .filter(|(_, file)| file.multiconfig == multiconfig)
            .map(|(index, file)| (index, file.path.as_str()))
            .collect();
        let path = normal(&directory.join(name));
        let mut found: Vec<(usize, &str)> = own.iter().filter(|(_, file)| *file == path).copied().collect();
        if found.is_empty()
            && let Some(pattern) = Pattern::anywhere(name)
        {
            found = own.into_iter().filter(|(_, file)| pattern.matches(file)).collect();
        }
        match found.as_slice() {
            [(index, _)] => Ok((*index, variant.to_owned())),
            [] => Err(format!("no recipe file matches {text}")),
            several => {
                let files: Vec<&str> = several.iter().map(|(_, file)| *file).collect();
                Err(format!("{text} matches {} recipe files:\n  {}", files.len(), files.join("\n  ")))
            }
        }
    }

    /// Reads recipes. Errors of single recipes are among the findings.
    pub fn read(&self, wanted: &Wanted) -> Reading {
        let options = ParseOptions { threads: self.threads, sign: wanted.sign };
        let outcomes = self.dir.each_recipe(wanted.recipes.as_deref(), options, |session, file, variant| {
            let row = if wanted.rows { Some(recipe_row(session, file, variant)?) } else { None };
            Ok((RecipeInfo::of(session, file, variant)?, row))
        });
        let mut reading = Reading::default();
        for outcome in outcomes {
            let file = &self.dir.recipes()[outcome.recipe];
            reading.files += 1;
            reading.findings.extend(outcome.messages.iter().map(|message| Finding::logged(message, Some(&file.path))));
            match outcome.variants {
                Ok(variants) => {
                    for (info, row) in variants {
                        reading.recipes.push(info);
                        reading.rows.extend(row);
                    }
                }
                Err(error) => {
                    reading.failed += 1;
                    reading.findings.extend(Finding::failed(&error, Some(file)));
                }
            }
        }
        reading
    }
}
