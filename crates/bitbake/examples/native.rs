//! Reads recipes of a build directory and has Python run, too, whatever runs without it: `--example native -- BUILD_DIR [recipe.bb …]`.
//!
//! A conversation that differs is an error of its recipe.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use buildnet_bitbake::Result;
use buildnet_bitbake::config::{BuildDir, Options, ParseOptions};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((build_dir, wanted)) = arguments.split_first() else {
        eprintln!("usage: native BUILD_DIR [recipe.bb …]");
        return ExitCode::from(2);
    };
    match check(build_dir.into(), wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check(build_dir: PathBuf, wanted: &[String]) -> Result<bool> {
    let mut environment: Vec<(String, String)> = std::env::vars().filter(|(name, _)| name != "LC_ALL").collect();
    environment.push(("LC_ALL".into(), "C.UTF-8".into()));
    let mut dir = BuildDir::open(&Options {
        build_dir,
        environment,
        python: std::env::var_os("BUILDNET_PYTHON").map_or_else(|| "python3".into(), PathBuf::from),
        python_path: Vec::new(),
        temporary: std::env::temp_dir(),
        history: false,
        time_limit: Duration::from_mins(1),
    })?;
    dir.session.check_native();
    let is_wanted = |path: &str| wanted.is_empty() || wanted.iter().any(|end| path.ends_with(end.as_str()));
    let chosen: Vec<usize> = (0..dir.recipes().len()).filter(|index| is_wanted(&dir.recipes()[*index].path)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes = dir.each_recipe(Some(&chosen), ParseOptions { threads, sign: true }, |_, _, _| Ok(()));
    let mut wrong = 0;
    for outcome in &outcomes {
        if let Err(error) = &outcome.variants {
            wrong += 1;
            eprintln!("{}: {error}", dir.recipes()[outcome.recipe].path);
        }
    }
    println!("{} recipes read, {wrong} with errors", outcomes.len());
    Ok(wrong == 0)
}
