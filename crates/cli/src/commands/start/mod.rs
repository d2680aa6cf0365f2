//! `buildnet start`.

mod options;
mod serve;

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::process::detach;
use buildnet_daemon::server::Access;
use buildnet_daemon::server::routes::status::Health;
use clap::Args;

use self::options::ServingArgs;
use crate::context::{Context, daemon_at, reachable};
use crate::output::{print, print_json};

/// Start the daemon
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  buildnet start --detach      in the background\n  \
                        BUILDNET_TOKEN=$(openssl rand -hex 32) buildnet start --listen 0.0.0.0:9876\n  \
                        buildnet start --listen 0.0.0.0:9876 --tokens tokens --tls-cert host.pem --tls-key host.key")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    serving: ServingArgs,
    /// Run in the background, and return when it answers
    #[arg(short, long)]
    detach: bool,
    /// Run in this process, until Ctrl-C; what `start` does without --detach, and `buildnetd` always
    #[arg(long, conflicts_with = "detach")]
    foreground: bool,
    /// Leave the session of the terminal; how --detach starts it
    #[arg(long, hide = true)]
    background: bool,
}

/// The arguments of this program under the name `buildnetd`: those of `buildnet start --foreground`.
pub(crate) fn under_its_name(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    if name.is_some_and(|name| name == "buildnetd") {
        arguments.splice(..1, ["buildnet", "start", "--foreground"].map(OsString::from));
    }
    arguments
}

pub(crate) fn run(args: &StartArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let serving = args.serving.resolve(context)?;
    let access = Access::new(serving.listen, serving.access.clone()).map_err(|error| ErrorReport::of(&error))?;
    if args.detach {
        let near = reachable(serving.listen).ip().is_loopback();
        if serving.connections.tls.is_some() && !near && context.tls.is_none() {
            return Err(ErrorReport::user("in the background nobody could see whether the daemon answers over TLS")
                .with_hint("Say with --tls-ca which authority made its certificate, or listen on 0.0.0.0."));
        }
        return in_background(&args.serving, serving.listen, context);
    }
    if args.background {
        // Fails only for a leader of a process group, which has a session or a shell that minds it.
        let _ = rustix::process::setsid();
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .init();
    let runtime = crate::run::runtime()?;
    runtime.block_on(serve::until_stopped(serving, access, args.background, context))?;
    Ok(ExitCode::SUCCESS)
}

fn in_background(serving: &ServingArgs, listen: SocketAddr, context: &Context) -> Result<ExitCode, ErrorReport> {
    if listen.port() == 0 {
        return Err(ErrorReport::user("in the background the daemon needs a port that commands can know"));
    }
    let daemon = daemon_at(reachable(listen), context.token.clone(), context.tls.as_ref());
    if let Some(health) = daemon.get::<Health>("/health").map_err(|error| error.report())? {
        return tell(&format!("A daemon already listens on {listen} (process {}).\n", health.pid), &health, context);
    }
    let program =
        env::current_exe().map_err(|error| ErrorReport::internal("cannot find this program").because(&error))?;
    let mut arguments: Vec<OsString> = [
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
    let tls = &context.client_tls;
    let tls =
        [("--tls-ca", &tls.ca), ("--tls-client-cert", &tls.certificate), ("--tls-client-key", &tls.key)].into_iter();
    for (flag, path) in tls {
        arguments.extend(path.iter().flat_map(|path| [flag.into(), path.clone().into_os_string()]));
    }
    arguments.extend(serving.arguments()?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_name_is_a_command() {
        let run = |words: &[&str]| -> Vec<String> {
            let words = under_its_name(words.iter().map(OsString::from));
            words.into_iter().map(|word| word.into_string().unwrap()).collect()
        };
        assert_eq!(
            run(&["/usr/bin/buildnetd", "--listen", "127.0.0.1:1"]),
            ["buildnet", "start", "--foreground", "--listen", "127.0.0.1:1"]
        );
        assert_eq!(run(&["buildnet", "status"]), ["buildnet", "status"]);
    }
}
