//! A build from request to exit code, by the daemon or in this process.

use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, SyncSender};

use buildnet_daemon::ErrorReport;
use buildnet_daemon::client::{ClientError, Daemon, Lines};
use buildnet_daemon::service::{BuildRequest, Cancelled, Line, Service};
use buildnet_event::{BuildId, BuildOutcome};
use tokio::runtime::Runtime;
use tokio::task::block_in_place;

use crate::context::Context;
use crate::local;
use crate::output::{FAILED, exit_code};
use crate::terminal::input::{Input, QUEUE, Signals};
use crate::terminal::progress::Progress;
use crate::terminal::session;

/// Builds, shows it, and says how it ended.
pub(crate) fn run(request: BuildRequest, context: &Context) -> Result<ExitCode, ErrorReport> {
    let progress = build(request, context)?;
    Ok(ending(&progress))
}

/// Builds and shows it. A daemon is asked first, unless it is of no use to this request.
pub(crate) fn build(request: BuildRequest, context: &Context) -> Result<Progress, ErrorReport> {
    let (sender, inputs) = mpsc::sync_channel(QUEUE);
    let signals = Signals::take().map_err(|error| ErrorReport::internal("cannot take signals").because(&error))?;
    if context.use_daemon {
        match context.daemon.build(&request) {
            Ok(Some(lines)) => {
                signals.forward(sender.clone());
                return by_daemon(lines, &context.daemon, sender, &inputs, context);
            }
            Ok(None) => {}
            Err(error @ (ClientError::Refused(_) | ClientError::Connection { .. })) => return Err(error.report()),
            Err(error) => note_unused(&error, context),
        }
    }
    signals.forward(sender.clone());
    in_process(request, &sender, &inputs, context)
}

/// Says why the daemon that runs is not asked.
fn note_unused(error: &ClientError, context: &Context) {
    if !context.json {
        let report = ErrorReport {
            message: format!("building without the daemon: {}", error.report().message),
            ..error.report()
        };
        eprint!("{}", context.teller.warning(&report));
    }
}

fn by_daemon(
    lines: Lines,
    daemon: &Daemon,
    sender: SyncSender<Input>,
    inputs: &Receiver<Input>,
    context: &Context,
) -> Result<Progress, ErrorReport> {
    let id = lines.id().to_owned();
    let interrupts = sender.clone();
    std::thread::spawn(move || {
        for line in lines {
            let input = match line {
                Ok(line) => Input::Line(line),
                Err(error) => Input::Ended(Err(error.report())),
            };
            if sender.send(input).is_err() {
                return;
            }
        }
        let _ = sender.send(Input::Ended(Ok(())));
    });
    session::run(inputs, context.show(), context.teller, |again| {
        if again {
            // Closing the connection is the last word: a build without listeners is cancelled.
            leave("killed");
        }
        let stop = daemon.post::<Cancelled>(&format!("/builds/{id}/cancel"), &());
        if let Ok(Some(Cancelled::StillWanted { others })) = stop {
            let message = format!("left the build; it goes on for {others} other client(s)");
            // Never waits: it is this thread that takes from the queue. When that is full the next Ctrl-C does it.
            let _ = interrupts.try_send(Input::Ended(Err(ErrorReport::user(message))));
        }
    })
}

fn in_process(
    request: BuildRequest,
    sender: &SyncSender<Input>,
    inputs: &Receiver<Input>,
    context: &Context,
) -> Result<Progress, ErrorReport> {
    let runtime = runtime()?;
    let service = local::service(context, false);
    let progress = build_here(&service, &runtime, request, sender, inputs, context);
    runtime.block_on(service.shut_down(false));
    progress
}

/// Builds with a service of this process, and shows it.
pub(crate) fn build_here(
    service: &Service,
    runtime: &Runtime,
    request: BuildRequest,
    sender: &SyncSender<Input>,
    inputs: &Receiver<Input>,
    context: &Context,
) -> Result<Progress, ErrorReport> {
    let mut stream = {
        let _inside = runtime.enter();
        service.build(request)?
    };
    let (id, sender) = (stream.id(), sender.clone());
    runtime.spawn(async move {
        while let Some(line) = stream.next().await {
            if block_in_place(|| sender.send(Input::Line(line))).is_err() {
                return;
            }
        }
        let _ = block_in_place(|| sender.send(Input::Ended(Ok(()))));
    });
    session::run(inputs, context.show(), context.teller, |again| interrupt(service, id, again))
}

/// Asks for a build that shows nothing, and returns all that it told.
pub(crate) fn gather(request: BuildRequest, context: &Context) -> Result<Vec<Line>, ErrorReport> {
    if context.use_daemon {
        match context.daemon.build(&request) {
            Ok(Some(lines)) => return lines.map(|line| line.map_err(|error| error.report())).collect(),
            Ok(None) => {}
            Err(error @ (ClientError::Refused(_) | ClientError::Connection { .. })) => return Err(error.report()),
            Err(error) => note_unused(&error, context),
        }
    }
    let runtime = runtime()?;
    let service = local::service(context, false);
    let mut stream = {
        let _inside = runtime.enter();
        service.build(request)?
    };
    Ok(runtime.block_on(async {
        let mut lines = Vec::new();
        while let Some(line) = stream.next().await {
            lines.push(line);
        }
        service.shut_down(false).await;
        lines
    }))
}

fn interrupt(service: &Service, id: BuildId, again: bool) {
    if again {
        leave("killed");
    }
    service.cancel(id, true);
}

/// The runtime that builds in this process.
pub(crate) fn runtime() -> Result<Runtime, ErrorReport> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // As many as can be of use: commands wait for a core before they take a thread. The default of 512 lets a wide graph
        // take as many threads for a moment, each with an arena of the allocator that it never gives back.
        .max_blocking_threads(32)
        .build()
        .map_err(|error| ErrorReport::environment("cannot start threads").because(&error))
}

/// Ends the program at once. What runs below it is killed with it: each command's process tree dies with its parent.
fn leave(why: &str) -> ! {
    // The session's cursor is hidden; nobody else will bring it back.
    eprintln!("\x1b[?25h\r\n{why}");
    std::process::exit(i32::from(FAILED))
}

/// The exit code of a build.
fn ending(progress: &Progress) -> ExitCode {
    if let Some(error) = &progress.error {
        return exit_code(error);
    }
    match progress.finish.as_ref().map(|finish| finish.outcome) {
        Some(BuildOutcome::Success) => ExitCode::SUCCESS,
        Some(BuildOutcome::Failed | BuildOutcome::Cancelled) => ExitCode::from(FAILED),
        Some(BuildOutcome::Error) | None => ExitCode::from(3),
    }
}
