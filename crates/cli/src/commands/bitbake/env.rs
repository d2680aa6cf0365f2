//! `buildnet bitbake env`.

use std::process::ExitCode;

use buildnet_bitbake::Sym;
use buildnet_bitbake::workbench::{Workbench, dump, recipe_of, variable};
use buildnet_daemon::ErrorReport;
use clap::Args;

use super::place::{Place, Stop, ended};
use crate::output::print;

/// Show variables, and every line that set them
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  buildnet bitbake env -v MACHINE --history        the configuration's value, and who set it\n  \
                        buildnet bitbake env zlib -v SRC_URI              a recipe's value"
)]
pub(crate) struct EnvArgs {
    /// A recipe, by anything it provides or by its path [default: the configuration]
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: Option<String>,
    /// This variable alone
    #[arg(short = 'v', long = "variable", value_name = "VAR")]
    pub(crate) variable: Option<String>,
    /// Also every line that set it
    #[arg(long)]
    pub(crate) history: bool,
}

pub(crate) fn run(args: &EnvArgs, place: &Place) -> Result<ExitCode, ErrorReport> {
    ended(show(args, place))
}

pub(super) fn show(args: &EnvArgs, place: &Place) -> Result<ExitCode, Stop> {
    let bench = place.open(args.history)?;
    let mut session = bench.dir.session(false);
    let mut store = match &args.recipe {
        Some(name) => recipe_store(name, place, &bench)?,
        None => {
            let mut store = bench.dir.store.copy();
            store.expand_keys(&mut session).map_err(|error| place.failed(&error))?;
            store
        }
    };
    let text = match &args.variable {
        None => dump(&mut session, &mut store),
        Some(name) if args.history => variable(&mut session, &mut store, Sym::new(name), true),
        Some(name) => match store.get_text(&mut session, name) {
            Ok(Some(value)) => Ok(format!("{value}\n")),
            Ok(None) => {
                return Err(ErrorReport::user(format!("{name} is not set"))
                    .with_hint("`buildnet bitbake env` without -v shows everything that is.")
                    .into());
            }
            Err(error) => Err(error),
        },
    };
    print(&text.map_err(|error| place.failed(&error))?)?;
    Ok(ExitCode::SUCCESS)
}

fn recipe_store(name: &str, place: &Place, bench: &Workbench) -> Result<buildnet_bitbake::data::Store, Stop> {
    let mut session = bench.dir.session(false);
    let by_path = bench.dir.recipes().iter().find(|file| file.path == name);
    let (file, variant) = match by_path {
        Some(file) => (file, String::new()),
        None => {
            let (mut universe, _) = place.universe(bench)?;
            recipe_of(bench, &mut universe, name).map_err(|error| place.failed(&error))?
        }
    };
    let variants = bench.dir.read_recipe(&mut session, file, Some(&variant)).map_err(|error| place.failed(&error))?;
    let found = variants.into_iter().next();
    found.map(|variant| variant.store).ok_or_else(|| ErrorReport::user(format!("{name} has no such variant")).into())
}
