//! `buildnet bitbake layers`.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use clap::Args;
use serde_json::json;

use super::place::{Place, ended};
use crate::context::Context;
use crate::output::{print, print_json};

/// Show the layers with their priorities and how many recipes each has
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  buildnet bitbake layers")]
pub(crate) struct LayersArgs {}

pub(crate) fn run(place: &Place, context: &Context) -> Result<ExitCode, ErrorReport> {
    ended((|| {
        let bench = place.open(false)?;
        let count = |name: &str| bench.dir.recipes().iter().filter(|file| file.layer.as_deref() == Some(name)).count();
        let layers = &bench.dir.layers;
        if context.json {
            let row = |layer: &buildnet_bitbake::config::Layer| {
                json!({
                    "name": layer.name, "priority": layer.priority, "pattern": layer.pattern,
                    "recipes": count(&layer.name),
                })
            };
            print_json(&layers.iter().map(row).collect::<Vec<_>>())?;
        } else {
            let mut out = format!("{:<24} {:>8} {:>8}  files\n", "layer", "priority", "recipes");
            for layer in layers {
                out +=
                    &format!("{:<24} {:>8} {:>8}  {}\n", layer.name, layer.priority, count(&layer.name), layer.pattern);
            }
            print(&out)?;
        }
        Ok(ExitCode::SUCCESS)
    })())
}
