//! The daemon's life: from its lock to its last connection.

use std::net::SocketAddr;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::process::Lock;
use buildnet_daemon::server::{Access, App, CacheServing, backing, caches, refresh, router, serve};
use buildnet_daemon::service::{LocalOptions, LocalWorkbench, Service, ServiceOptions};
use buildnet_reapi::Backing;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::options::Serving;
use crate::context::{Context, environment};
use crate::output::print;

/// Events that the daemon holds for clients that are slow or come back.
const EVENTS: usize = 65_536;

/// Files that the daemon may want to have open. No more, since what it runs inherits the limit, and some programs go through all that
/// they could have open.
const FILES: u64 = 16_384;

/// Serves until it is stopped. `quietly` without a greeting.
pub(super) async fn until_stopped(
    serving: Serving,
    access: Access,
    quietly: bool,
    context: &Context,
) -> Result<(), ErrorReport> {
    raise_file_limit();
    let wanted = access.listen();
    // A port that the kernel chooses is nobody else's.
    let mut lock = if wanted.port() == 0 { None } else { Some(lock_of(wanted, context)?) };
    let listener =
        bind(wanted, "Choose another address with --listen, and tell commands with --daemon-address.").await?;
    let address = listener.local_addr().unwrap_or(wanted);
    if lock.is_none() {
        lock = Some(lock_of(address, context)?);
    }
    let equivalence = match serving.hash_equivalence {
        None => None,
        Some(address) if access.is_local() && !address.ip().is_loopback() => {
            let message = format!("refusing to serve hash equivalence on {address} without tokens");
            return Err(ErrorReport::user(message)
                .with_hint("Name a file of tokens with --tokens, or choose a loopback address."));
        }
        Some(address) => Some(bind(address, "Choose another address with --hash-equivalence.").await?),
    };
    let equivalence_address = equivalence.as_ref().and_then(|listener| listener.local_addr().ok());
    let (cache_dir, environment) = (context.cache_dir.clone(), environment());
    let backing =
        serving.backing.as_ref().map(|(address, tls)| backing(address, tls.clone(), &environment)).transpose()?;
    let workbench = LocalWorkbench::new(LocalOptions { cache_dir, watch: true, environment });
    let options = ServiceOptions { event_capacity: EVENTS, default_workspace: Some(context.directory.clone()) };
    let service = Service::new(workbench, options);
    let stop = CancellationToken::new();
    let app = App::new(service.clone(), access.clone().at(address), stop.clone());
    let Serving { connections, limits, overlays, origins, demand_actions, .. } = serving;
    let caches = caches(
        &app,
        CacheServing {
            limits,
            overlays,
            origins,
            hash_equivalence: equivalence,
            vanished: connections.vanished,
            demand_actions,
            backing: backing.clone(),
        },
    )?;
    tokio::spawn(app.metrics().clone().follow(service.bus().clone()));
    tokio::spawn(refresh(access.clone(), connections.tls.clone(), service.bus().clone()));
    tokio::spawn(stop_on_signals(service, stop.clone()));
    if !quietly {
        let scheme = if connections.tls.is_some() { "https" } else { "http" };
        let version = buildnet_daemon::VERSION;
        let mut text = format!("BuildNet {version} listens on {scheme}://{address}; Ctrl-C stops it.\n");
        if let Some(address) = equivalence_address {
            text += &format!("Hash equivalence is served on {address}.\n");
        }
        print(&text)?;
    }
    let served = serve(listener, router(app).merge(caches), connections, stop).await;
    if let Some(backing) = backing {
        Backing::close(&backing).await;
    }
    drop(lock);
    served.map_err(|error| ErrorReport::environment("the daemon broke off").because(&error))
}

/// Lets the daemon open as many files as its connections and the store need: many systems begin with 1024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if limit.current.is_some_and(|current| current < raised) {
        // Without it fewer connections are served, which is told when files run out.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum });
    }
}

fn lock_of(address: SocketAddr, context: &Context) -> Result<Lock, ErrorReport> {
    Lock::take(&context.daemon_dir(), address).map_err(|error| ErrorReport::of(&error))
}

async fn bind(address: SocketAddr, hint: &str) -> Result<TcpListener, ErrorReport> {
    TcpListener::bind(address).await.map_err(|error| {
        ErrorReport::environment(format!("cannot listen on {address}")).because(&error).with_hint(hint)
    })
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
