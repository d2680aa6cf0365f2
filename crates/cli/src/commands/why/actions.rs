//! `buildnet why --action A --other B`: which part of two actions of a REAPI client differs.

use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::local::open_store;
use buildnet_reapi::RemoteCache;
use buildnet_reapi::explain::{Explanation, Side, Source, explain};
use clap::Args;

use crate::context::{Context, environment};
use crate::output::{print, print_json};
use crate::terminal::text::clean;
use crate::{run, workspace};

/// Differences that are told in words; `--json` has more.
const SHOWN: usize = 50;

/// The actions to compare, and where they are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Actions of other build tools")]
pub(super) struct ActionArgs {
    /// Digest of an action: HASH/SIZE, or HASH
    #[arg(long, value_name = "DIGEST", requires = "other")]
    pub(super) action: Option<String>,
    /// Digest of the action that it should be equal to
    #[arg(long, value_name = "DIGEST", requires = "action")]
    other: Option<String>,
    /// Instance that is asked for results of them [default: that of --remote, or the default instance]
    #[arg(long, value_name = "INSTANCE", requires = "action")]
    instance: Option<String>,
    /// Look there, at grpc://HOST:PORT[/INSTANCE] or grpcs://…, in place of the cache of this machine
    #[arg(long, value_name = "URL", requires = "action")]
    remote: Option<String>,
}

pub(super) fn run(args: &ActionArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let (action, other) = (args.action.as_deref().unwrap_or_default(), args.other.as_deref().unwrap_or_default());
    let runtime = run::runtime()?;
    let explanation = runtime.block_on(async {
        let (source, instance) = match &args.remote {
            None => {
                let (directory, max_bytes) = workspace::cache(context)?;
                (Source::Store(open_store(&directory, max_bytes)?), String::new())
            }
            Some(target) => {
                let (tls, token) = (context.tls.clone().unwrap_or_default(), token(context)?);
                let remote = RemoteCache::connect_with(target, token.as_deref(), &tls).await;
                let remote = remote.map_err(|error| ErrorReport::of(&error))?;
                let instance = remote.instance().to_owned();
                (Source::Remote(remote), instance)
            }
        };
        let instance = args.instance.clone().unwrap_or(instance);
        explain(&source, &instance, action, other).await.map_err(|error| ErrorReport::of(&error))
    })?;
    if context.json {
        print_json(&explanation)?;
    } else {
        print(&describe(&explanation))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The token of a remote cache, or else that of the daemon.
fn token(context: &Context) -> Result<Option<String>, ErrorReport> {
    let name = workspace::settings(context)?.remote_token_env;
    Ok(environment().remove(&name).or_else(|| context.token.clone()))
}

fn describe(explanation: &Explanation) -> String {
    let side = |side: &Side| {
        let cached = if side.cached { "its result is in the cache" } else { "no result in the cache" };
        format!("{}/{} ({cached})", side.digest.hex(), side.digest.size())
    };
    let mut text = format!("A is {}\nB is {}\n", side(&explanation.action), side(&explanation.other));
    if explanation.action.digest == explanation.other.digest {
        return text + "They are one and the same action.\n";
    }
    for difference in explanation.differences.iter().take(SHOWN) {
        text += &format!("  {}\n", clean(&difference.in_words(), false));
    }
    match explanation.differences.len().saturating_sub(SHOWN) {
        0 if explanation.truncated => text += "  and more\n",
        0 => {}
        more => text += &format!("  and {more}{} more\n", if explanation.truncated { " or" } else { "" }),
    }
    if !explanation.unknown.is_empty() {
        text += "Not in the cache, so that nothing can be said of it:\n";
        for unknown in explanation.unknown.iter().take(SHOWN) {
            text += &format!("  {}\n", clean(&unknown.in_words(), false));
        }
        text += "Clients that only use the cache, Bazel among them, do not upload their input directories.\n";
    }
    text
}
