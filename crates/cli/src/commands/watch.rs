//! `buildnet watch`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::client::Daemon;
use buildnet_daemon::service::{Line, Service};
use clap::Args;

use super::build::{TaskOptions, request};
use crate::context::Context;
use crate::terminal::input::{Input, QUEUE, Signals};
use crate::terminal::messages::Verbosity;
use crate::terminal::session::Show;
use crate::{local, run};

/// Editors and version control write several files at a time: a build waits until it has been quiet this long.
const QUIET: Duration = Duration::from_millis(100);

/// How long to wait before a daemon that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(5);

/// Build again whenever a file changes
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet watch               build on each change, until Ctrl-C\n  \
                        buildnet watch --task test api")]
pub(crate) struct WatchArgs {
    /// Packages [default: all]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// The task
    #[arg(short, long, default_value = "build")]
    task: String,
    #[command(flatten)]
    options: TaskOptions,
}

pub(crate) fn run(args: WatchArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let (sender, inputs) = mpsc::sync_channel(QUEUE);
    Signals::take()
        .map_err(|error| ErrorReport::internal("cannot take signals").because(&error))?
        .forward(sender.clone());
    if context.use_daemon {
        let (daemon, sender) = (context.daemon.clone(), sender.clone());
        std::thread::spawn(move || follow_daemon(&daemon, &sender));
    }
    let runtime = run::runtime()?;
    let service = local::service(context, true);
    let mut request = request(args.task, args.packages, &args.options, context);
    let mut context = context.clone();
    loop {
        let mut told = true;
        match run::build_here(&service, &runtime, request.clone(), &sender, &inputs, &context) {
            Ok(progress) if progress.cancelling => break,
            Ok(progress) => told = context.teller.tell_idle || !progress.is_idle(),
            // A mistake in the configuration is mended while we watch, but only what was loaded once can be followed.
            Err(error) if service.workbench().watched_directories() > 0 && !context.json => {
                eprint!("{}", context.teller.error(&error));
            }
            Err(error) => return Err(error),
        }
        request.force = false;
        // What is written again with the same content is no news, nor is the look at what was not followed before the first build.
        context.teller.tell_idle = false;
        if told && context.show() != Show::Json && context.teller.verbosity > Verbosity::Quiet {
            eprintln!("Waiting for changes; Ctrl-C ends.");
        }
        let (changes, waiting) = (sender.clone(), service.clone());
        let wanted = request.clone();
        let waiter = runtime.spawn(async move {
            let input = match wait(&waiting, &wanted).await {
                Ok(()) => Input::Changed,
                Err(error) => Input::Ended(Err(error)),
            };
            let _ = tokio::task::block_in_place(|| changes.send(input));
        });
        let next = inputs.iter().find(|input| {
            if let Input::Line(line) = input {
                tell(line, &context);
            }
            matches!(input, Input::Changed | Input::Interrupt | Input::Ended(Err(_)))
        });
        waiter.abort();
        match next {
            Some(Input::Changed) => {}
            Some(Input::Ended(Err(error))) => return Err(error),
            _ => break,
        }
    }
    runtime.block_on(service.shut_down(false));
    Ok(ExitCode::SUCCESS)
}

/// Tells what came while nothing was built: warnings of a daemon.
fn tell(line: &Line, context: &Context) {
    if context.show() == Show::Json {
        let _ = crate::output::print_json(line);
    } else {
        eprint!("{}", context.teller.tell(line));
    }
}

/// Passes on what a daemon warns of, from when it is there, for as long as somebody listens.
fn follow_daemon(daemon: &Daemon, sender: &SyncSender<Input>) {
    loop {
        match daemon.notices() {
            Ok(Some(notices)) => {
                for event in notices.map_while(Result::ok) {
                    if sender.send(Input::Line(Line::Event(Arc::new(event)))).is_err() {
                        return;
                    }
                }
            }
            Ok(None) => {}
            // It lets us build here, but does not talk to us.
            Err(_) => return,
        }
        std::thread::sleep(AGAIN);
    }
}

/// Waits for a change, and until it has been quiet for a while.
async fn wait(service: &Service, request: &buildnet_daemon::service::BuildRequest) -> Result<(), ErrorReport> {
    service.changed(request).await?;
    tokio::time::sleep(QUIET).await;
    Ok(())
}
