//! `buildnet start`.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::client::Daemon;
use buildnet_daemon::process::{Lock, detach};
use buildnet_daemon::server::routes::status::Health;
use buildnet_daemon::server::{Access, App, router, serve};
use buildnet_daemon::service::{LocalOptions, LocalWorkbench, Service, ServiceOptions};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::context::{Context, environment};
use crate::output::{print, print_json};

/// Events that the daemon holds for clients that are slow or come back.
const EVENTS: usize = 65_536;

/// Start the daemon
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet start --detach      in the background\n  \
                        BUILDNET_TOKEN=$(openssl rand -hex 32) buildnet start --listen 0.0.0.0:9876")]
pub(crate) struct StartArgs {
    /// Where to listen; anything but a loopback address needs BUILDNET_TOKEN [default: --daemon-address]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Run in the background, and return when it answers
    #[arg(short, long)]
    detach: bool,
    /// Leave the session of the terminal; how --detach starts it
    #[arg(long, hide = true)]
    background: bool,
}

pub(crate) fn run(args: &StartArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let listen = args.listen.unwrap_or_else(|| context.daemon.address());
    let access = Access::new(listen, context.token.clone()).map_err(|error| ErrorReport::of(&error))?;
    if args.detach { in_background(listen, context) } else { in_foreground(args, access, context) }
}

fn in_background(listen: SocketAddr, context: &Context) -> Result<ExitCode, ErrorReport> {
    let daemon = Daemon::at(listen, context.token.clone());
    if let Some(health) = daemon.get::<Health>("/health").map_err(|error| error.report())? {
        return tell(&format!("A daemon already listens on {listen} (process {}).\n", health.pid), &health, context);
    }
    let program =
        env::current_exe().map_err(|error| ErrorReport::internal("cannot find this program").because(&error))?;
    let arguments: Vec<OsString> = [
        "-C".into(),
        context.directory.clone().into_os_string(),
        "--cache-dir".into(),
        context.cache_dir.clone().into_os_string(),
        "start".into(),
        "--background".into(),
        "--listen".into(),
        listen.to_string().into(),
    ]
    .into();
    let log = context.daemon_dir().join(format!("{}.log", listen.port()));
    let health = detach(&program, &arguments, &log, &daemon).map_err(|error| ErrorReport::of(&error))?;
    let text = format!("The daemon listens on {listen} (process {}).\nIts log is {}.\n", health.pid, log.display());
    tell(&text, &health, context)
}

fn tell(text: &str, health: &Health, context: &Context) -> Result<ExitCode, ErrorReport> {
    if context.json {
        print_json(health)?;
    } else {
        print(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn in_foreground(args: &StartArgs, access: Access, context: &Context) -> Result<ExitCode, ErrorReport> {
    if args.background {
        // Fails only for a leader of a process group, which has a session or a shell that minds it.
        let _ = rustix::process::setsid();
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .init();
    let _lock = Lock::take(&context.daemon_dir(), access.listen()).map_err(|error| ErrorReport::of(&error))?;
    let runtime = crate::run::runtime()?;
    runtime.block_on(serve_until_stopped(args, access, context))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_until_stopped(args: &StartArgs, access: Access, context: &Context) -> Result<(), ErrorReport> {
    let address = access.listen();
    let listener = TcpListener::bind(address).await.map_err(|error| {
        ErrorReport::environment(format!("cannot listen on {address}"))
            .because(&error)
            .with_hint("Choose another address with --listen, and tell commands with --daemon-address.")
    })?;
    let address = listener.local_addr().unwrap_or(address);
    let (cache_dir, environment) = (context.cache_dir.clone(), environment());
    let workbench = LocalWorkbench::new(LocalOptions { cache_dir, watch: true, environment });
    let options = ServiceOptions { event_capacity: EVENTS, default_workspace: Some(context.directory.clone()) };
    let service = Service::new(workbench, options);
    let stop = CancellationToken::new();
    let app = App::new(service.clone(), access, stop.clone());
    tokio::spawn(app.metrics().clone().follow(service.bus().clone()));
    tokio::spawn(stop_on_signals(service, stop.clone()));
    if !args.background {
        print(&format!("BuildNet {} listens on http://{address}; Ctrl-C stops it.\n", buildnet_daemon::VERSION))?;
    }
    serve(listener, router(app), stop)
        .await
        .map_err(|error| ErrorReport::environment("the daemon broke off").because(&error))
}

/// The first signal cancels builds and stops; the second ends the process at once.
async fn stop_on_signals(service: Service, stop: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let mut first = true;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if !first {
            std::process::exit(1);
        }
        first = false;
        let (service, stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            service.shut_down(false).await;
            stop.cancel();
        });
    }
}
