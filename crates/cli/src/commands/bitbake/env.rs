//! `buildnet bitbake env`.

use std::path::Path;
use std::process::ExitCode;

use buildnet_bitbake::config;
use buildnet_bitbake::data::Store;
use buildnet_bitbake::workbench::Workbench;
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
    /// This variable alone; -v for short
    #[arg(long = "variable", value_name = "VAR")]
    pub(crate) variable: Option<String>,
    /// Also every line that set it
    #[arg(long)]
    pub(crate) history: bool,
}

pub(crate) fn run(args: &EnvArgs, place: &Place) -> Result<ExitCode, ErrorReport> {
    ended(show(args, place))
}

pub(super) fn show(args: &EnvArgs, place: &Place) -> Result<ExitCode, Stop> {
    let bench = Place { cache: false, ..place.clone() }.open(args.history)?;
    let mut session = bench.dir.session(false);
    let configuration = args.recipe.as_deref().map_or(Some(""), |name| name.strip_prefix("mc:"));
    let mut store =
        if let Some(name) = args.recipe.as_ref().filter(|_| configuration.is_none_or(|own| own.contains(':'))) {
            recipe_store(name, place, &bench)?
        } else {
            let wanted = configuration.unwrap_or_default();
            let Some((_, store)) = bench.dir.configurations().find(|(name, _)| *name == wanted) else {
                return Err(ErrorReport::user(format!("there is no multiconfig {wanted} in BBMULTICONFIG")).into());
            };
            let mut store = store.copy();
            store.expand_keys(&mut session).map_err(|error| place.failed(&error))?;
            store
        };
    let Some(name) = &args.variable else {
        let mut text = Vec::new();
        let written = config::write_environment(&mut session, &mut store, &mut text);
        written
            .map_err(|error| place.failed(&error))?
            .map_err(|error| ErrorReport::internal("no text").because(&error))?;
        print(&String::from_utf8_lossy(&text))?;
        return Ok(ExitCode::SUCCESS);
    };
    let shown = config::show(&mut session, &mut store, name).map_err(|error| place.failed(&error))?;
    let set = shown.value.is_some() || !shown.history.is_empty() || !shown.flags.is_empty();
    if !set {
        return Err(ErrorReport::user(format!("{name} is not set"))
            .with_hint("`buildnet bitbake env` without -v shows everything that is.")
            .into());
    }
    let mut out = String::new();
    if args.history {
        for (variant, entries) in [(name, &shown.history)].into_iter().chain(shown.variants.iter().map(|(n, e)| (n, e)))
        {
            for entry in entries {
                let flag = entry.flag.map(|flag| format!("[{flag}]")).unwrap_or_default();
                let (file, line) = (entry.origin.file, entry.origin.line);
                out += &format!("{file}:{line}: {} {variant}{flag} {:?}\n", entry.operation, entry.detail.to_string());
            }
        }
        out += &format!("{name} = {:?}\n", shown.value.unwrap_or_default());
    } else {
        out += &format!("{}\n", shown.value.unwrap_or_default());
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn recipe_store(name: &str, place: &Place, bench: &Workbench) -> Result<Store, Stop> {
    let mut session = bench.dir.session(false);
    let by_file = Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "bb")
        .then(|| bench.recipe_matching(name, &place.build_dir).ok())
        .flatten();
    let found = match by_file {
        Some((index, variant)) => {
            let file = &bench.dir.recipes()[index];
            bench.dir.read_recipe(&mut session, file, Some(&variant)).map(|mut variants| variants.pop())
        }
        None => bench.dir.read_target(&mut session, name, place.threads),
    };
    match found.map_err(|error| place.failed(&error))? {
        Some(variant) => Ok(variant.store),
        None => Err(ErrorReport::user(format!("nothing provides {name}"))
            .with_hint("`buildnet bitbake recipes` shows all recipes, and why some are skipped.")
            .into()),
    }
}
