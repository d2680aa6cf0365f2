//! `buildnet bitbake providers`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Args;
use serde_json::json;

use super::place::{Place, ended, outcome};
use crate::context::Context;
use crate::output::{FAILED, print, print_json};

/// Show what provides an item, the chosen one first
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake providers virtual/kernel")]
pub(crate) struct ProvidersArgs {
    /// A recipe's name, something in PROVIDES, or a package
    #[arg(value_name = "ITEM")]
    item: String,
}

pub(crate) fn run(args: &ProvidersArgs, place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let bench = place.open(false)?;
        let (mut universe, reading) = place.universe(&bench)?;
        let item = args.item.as_str();
        let build = universe.build_providers(item).map_err(|error| place.failed(&error))?;
        let runtime = universe.runtime_providers(item).map_err(|error| place.failed(&error))?.unwrap_or_default();
        let files = |indices: &[usize]| -> Vec<String> {
            indices.iter().map(|index| universe.recipes[*index].file.clone()).collect()
        };
        let (build, runtime) = (files(&build), files(&runtime));
        let (skipped, assumed) = (universe.skip_reasons(item), universe.is_assumed(item));
        if context.json {
            print_json(&json!({
                "item": item, "build": build, "runtime": runtime, "assumed": assumed, "skipped": skipped,
            }))?;
        } else {
            let mut out = String::new();
            if assumed {
                out += &format!("{item} is assumed to be provided by the host (ASSUME_PROVIDED)\n");
            }
            for (when, list) in [("build time", &build), ("run time", &runtime)] {
                for (rank, file) in list.iter().enumerate() {
                    out += &format!("{when:<10} {} {file}\n", if rank == 0 { "chosen" } else { "other " });
                }
            }
            for reason in &skipped {
                out += &format!("skipped    {reason}\n");
            }
            if out.is_empty() {
                out = format!("nothing provides {item}\n");
            }
            print(&out)?;
        }
        if build.is_empty() && runtime.is_empty() && !assumed {
            return Ok(ExitCode::from(FAILED));
        }
        Ok(outcome(&reading.findings))
    })())
}
