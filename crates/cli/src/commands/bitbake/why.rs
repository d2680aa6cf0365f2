//! `buildnet bitbake why`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use buildnet_bitbake::signature::differences;
use buildnet_bitbake::workbench::{newest_signature, read_signature, signature_of};
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, Stop, Wants, ended};
use crate::output::print;

/// Tell in words why a task's hash is not the one it was
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  buildnet bitbake why zlib:do_compile       against what the last build left beside its stamps"
)]
pub(crate) struct WhyArgs {
    /// The task: RECIPE:TASK
    #[arg(value_name = "RECIPE:TASK")]
    task: String,
    /// A sigdata or siginfo file, or a directory of stamps [default: where the recipe keeps its stamps]
    #[arg(long, value_name = "STAMPS|SIGDATA")]
    against: Option<PathBuf>,
}

pub(crate) fn run(args: &WhyArgs, place: &Place) -> Result<ExitCode, ErrorReport> {
    ended(explain(args, place))
}

fn explain(args: &WhyArgs, place: &Place) -> Result<ExitCode, Stop> {
    if !args.task.contains(':') {
        return Err(ErrorReport::user(format!("{} names no task", args.task)).with_hint("Write RECIPE:TASK.").into());
    }
    let bench = place.open(false)?;
    let targets = [args.task.clone()];
    let mut planned = place.plan(&bench, &Wants::targets(&targets, true))?;
    let hashed = place.hashes(&bench, &mut planned)?;
    let Some(&at) = planned.graph.targets.first() else {
        return Err(ErrorReport::user(format!("{} is assumed to be provided by the host", args.task)).into());
    };
    let node = &planned.graph.nodes[at as usize];
    let recipe = &planned.universe.recipes[node.recipe];
    let file = bench.dir.recipe_file(recipe);
    let file = file.ok_or_else(|| ErrorReport::internal(format!("{} is gone", recipe.path)))?;
    let mut session = bench.dir.session(true);
    let variants = bench.dir.read_recipe(&mut session, file, Some(&recipe.variant));
    let variants = variants.map_err(|error| place.failed(&error))?;
    let signatures = variants.into_iter().next().and_then(|variant| variant.signatures);
    let signatures = signatures.ok_or_else(|| ErrorReport::internal(format!("{} was not signed", recipe.file)))?;
    let new = signature_of(&bench.dir, node.task, &hashed[at as usize], &signatures)
        .ok_or_else(|| ErrorReport::internal(format!("{} was not signed", args.task)))?;
    let stamp = Path::new(&recipe.stamp);
    let path = match &args.against {
        Some(path) if path.is_dir() => newest_signature(path, stamp, node.task.as_str(), true, None),
        Some(path) => Some(path.clone()),
        None => newest_signature(stamp.parent().unwrap_or(stamp), stamp, node.task.as_str(), false, None),
    };
    let Some(path) = path else {
        let at = args.against.as_deref().unwrap_or(stamp);
        return Err(ErrorReport::user(format!("there is no signature data of {} at {}", args.task, at.display()))
            .with_hint("`bitbake -S none TARGET` writes it, and so does every build.")
            .into());
    };
    let old = read_signature(&path).map_err(|error| ErrorReport::of(&error))?;
    let told = differences(&old, &new);
    let hash =
        |data: &buildnet_bitbake::signature::SigData| data.taskhash.clone().unwrap_or_else(|| "no hash".to_owned());
    let mut out = format!("{} is {}; {} has {}\n", args.task, hash(&new), path.display(), hash(&old));
    if told.is_empty() && old.taskhash == new.taskhash {
        out.push_str("nothing differs\n");
    } else if told.is_empty() {
        out.push_str("the hashes differ, though everything that is recorded to enter them is the same\n");
    }
    for line in &told {
        out += &format!("- {line}\n");
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}
