//! Results and errors on standard output and error.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::error::Category;
use serde::Serialize;

use crate::args::GlobalArgs;
use crate::context::{colors, speaks_unicode};
use crate::terminal::messages::{Teller, Verbosity};
use crate::terminal::style::Style;

/// The build failed.
pub(crate) const FAILED: u8 = 1;

/// The exit code of an error.
pub(crate) fn exit_code(error: &ErrorReport) -> ExitCode {
    ExitCode::from(match error.category {
        Category::User => 2,
        Category::Environment | Category::Internal => 3,
    })
}

/// Tells an error: the message, its causes, what to do; as JSON on standard output where a machine reads.
pub(crate) fn tell_error(args: &GlobalArgs, error: &ErrorReport) -> ExitCode {
    if args.json {
        #[derive(Serialize)]
        struct Told<'a> {
            error: &'a ErrorReport,
        }
        let _ = print_json(&Told { error });
    } else {
        let color = colors(args.color, io::stderr().is_terminal());
        let teller = Teller {
            style: Style { color, unicode: speaks_unicode() },
            verbosity: Verbosity::Normal,
            columns: None,
            tell_idle: true,
        };
        let _ = io::stderr().write_all(teller.error(error).as_bytes());
    }
    exit_code(error)
}

/// Writes a text to standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), ErrorReport> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ErrorReport::environment("cannot write to standard output").because(&error))
        }
        _ => Ok(()),
    }
}

/// Writes a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), ErrorReport> {
    let text =
        serde_json::to_string(value).map_err(|error| ErrorReport::internal("cannot write JSON").because(&error))?;
    print(&(text + "\n"))
}
