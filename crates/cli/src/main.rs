//! The `buildnet` program.

#![expect(clippy::format_push_string, reason = "texts for people are short: plain to read before fast to make")]

mod args;
mod commands;
mod context;
mod local;
mod output;
mod run;
mod terminal;
mod time;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

/// A daemon lives long, and its threads need much memory for moments.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if commands::bitbake_front::is_wanted() {
        return commands::bitbake_front::main();
    }
    let arguments = commands::under_the_daemons_name(std::env::args_os());
    let args = args::Args::parse_from(commands::bitbake_front::arguments(arguments.into_iter()));
    let told = args.global.clone();
    match context::Context::resolve(args.global).and_then(|context| commands::run(args.command, &context)) {
        Ok(code) => code,
        Err(error) => output::tell_error(&told, &error),
    }
}
