//! A Python interpreter: RustPython with its standard library in the program. It takes the arguments that `python3` takes.

use std::process::ExitCode;

use rustpython::{InterpreterBuilder, InterpreterBuilderExt as _};

fn main() -> ExitCode {
    rustpython::run(InterpreterBuilder::new().init_stdlib())
}
