//! `buildnet bitbake recipes`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Args;
use serde_json::json;

use super::place::{Place, ended, outcome};
use buildnet_bitbake::workbench::Wanted;

use crate::context::Context;
use crate::output::{print, print_json};

/// Show every recipe variant: name, version, file; and why it is skipped
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake recipes")]
pub(crate) struct RecipesArgs {}

pub(crate) fn run(place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let bench = place.open(false)?;
        let mut reading = place.read(&bench, &Wanted::default());
        reading.recipes.sort_by(|a, b| (&a.name, &a.file).cmp(&(&b.name, &b.file)));
        let mut out = String::new();
        for recipe in &reading.recipes {
            let (epoch, version, revision) = &recipe.version;
            if context.json {
                print_json(&json!({
                    "name": recipe.name, "epoch": epoch, "version": version, "revision": revision, "file": recipe.path,
                    "variant": recipe.variant, "skipped": recipe.skipped,
                }))?;
                continue;
            }
            if let Some(reason) = &recipe.skipped {
                out += &format!("{:<40} {}\n    skipped: {reason}\n", recipe.name, recipe.file);
            } else {
                let shown = format!("{epoch}:{version}-{revision}");
                out += &format!("{:<40} {shown:<24} {}\n", recipe.name, recipe.file);
            }
        }
        print(&out)?;
        Ok(outcome(&reading.findings))
    })())
}
