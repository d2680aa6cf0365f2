//! `buildnet stop`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use buildnet_daemon::ErrorReport;
use buildnet_daemon::process::{Lock, LockError};
use buildnet_daemon::server::routes::status::Health;
use clap::Args;

use crate::context::Context;
use crate::output::{print, print_json};

/// How long builds may take to end, once cancelled.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stop the daemon
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  buildnet stop --finish       let builds in flight end first")]
pub(crate) struct StopArgs {
    /// Finish builds in flight instead of cancelling them
    #[arg(long)]
    finish: bool,
}

pub(crate) fn run(args: StopArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let daemon = &context.daemon;
    let Some(health) = daemon.stop(args.finish).map_err(|error| error.report())? else {
        print(&format!("No daemon listens on {}.\n", daemon.address()))?;
        return Ok(ExitCode::SUCCESS);
    };
    let asked = Instant::now();
    while is_there(&health, context) {
        if !args.finish && asked.elapsed() > PATIENCE {
            let message = format!("the daemon (process {}) does not end", health.pid);
            return Err(ErrorReport::environment(message).with_hint(format!("`kill {}` ends it.", health.pid)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if context.json {
        print_json(&health)?;
    } else {
        print(&format!("Stopped the daemon on {} (process {}).\n", daemon.address(), health.pid))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the daemon answers, or has not given its address free yet.
fn is_there(health: &Health, context: &Context) -> bool {
    let answers =
        context.daemon.get::<Health>("/health").is_ok_and(|there| there.is_some_and(|it| it.pid == health.pid));
    let lock = Lock::take(&context.daemon_dir(), context.daemon.address());
    answers || matches!(lock, Err(LockError::Taken { owner: Some(owner), .. }) if owner.pid == health.pid)
}
