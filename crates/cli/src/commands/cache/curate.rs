//! `buildnet cache promote` and `buildnet cache purge`: what administrators have a daemon do.

use std::process::ExitCode;
use std::time::Duration;

use buildnet_daemon::ErrorReport;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::parse_age;
use super::stats::encoded;
use crate::context::Context;
use crate::output::{print, print_json};
use crate::terminal::text::{clean, count};
use crate::time::{ago, now_ms};

/// Entries that are shown; `--json` has more.
const SHOWN: usize = 20;

#[derive(Clone, Debug, Args)]
pub(super) struct PromoteArgs {
    /// The instance to take from, such as pr/123
    #[arg(long, value_name = "INSTANCE")]
    from: String,
    /// The instance to copy to, such as main
    #[arg(long, value_name = "INSTANCE")]
    to: String,
    /// One action, as HASH or HASH/SIZE, or the key of an entry of another protocol
    #[arg(long, value_name = "ACTION", required_unless_present = "all", conflicts_with = "all")]
    action: Option<String>,
    /// Everything that was written there
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PurgeArgs {
    /// Name of the token that wrote the entries
    #[arg(long, value_name = "NAME")]
    by_writer: String,
    /// Only what was written in this time until now, such as 2h or 7d
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    since: Option<Duration>,
    /// Only what was written to this instance
    #[arg(long, value_name = "INSTANCE")]
    instance: Option<String>,
    /// Forget nothing, only say what would be
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize, Deserialize)]
struct Promoted {
    promoted: u64,
}

#[derive(Serialize, Deserialize)]
struct Purged {
    #[serde(rename = "purged")]
    count: u64,
    entries: Vec<Entry>,
    dry_run: bool,
    hidden: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    behind: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    protocol: String,
    instance: String,
    name: String,
    time_ms: u64,
}

pub(super) fn promote(args: &PromoteArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let mut target = format!("/cache/promote?from={}&to={}", encoded(&args.from), encoded(&args.to));
    let action = if args.all { None } else { args.action.as_deref() };
    if let Some(action) = action {
        target += &format!("&name={}", encoded(action));
    }
    let promoted: Promoted = ask(&target, context)?;
    if context.json {
        print_json(&promoted)?;
    } else {
        let what = count(promoted.promoted, "result");
        print(&format!("Copied {what} from {} to {}.\n", args.from, args.to))?;
    }
    match action {
        Some(_) if promoted.promoted == 0 => {
            Err(ErrorReport::user(format!("nothing of that name is in {}", args.from))
                .with_hint("An action is found by its hash; what was evicted cannot be promoted."))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

pub(super) fn purge(args: &PurgeArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let mut target = format!("/cache/purge?writer={}&dry_run={}", encoded(&args.by_writer), args.dry_run);
    if let Some(age) = args.since {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        target += &format!("&since_ms={}", now_ms().saturating_sub(age));
    }
    if let Some(instance) = &args.instance {
        target += &format!("&instance={}", encoded(instance));
    }
    let purged: Purged = ask(&target, context)?;
    if context.json {
        return print_json(&purged).map(|()| ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for entry in purged.entries.iter().take(SHOWN) {
        let instance = if entry.instance.is_empty() { "(default)" } else { &entry.instance };
        let when = if entry.time_ms == 0 { "at an unknown time".to_owned() } else { ago(entry.time_ms, now_ms()) };
        text += &clean(&format!("  {} {instance} {}, written {when}", entry.protocol, entry.name), false);
        text.push('\n');
    }
    let more = purged.count.saturating_sub(purged.entries.len().min(SHOWN) as u64);
    if more > 0 {
        text += &format!("  and {more} more\n");
    }
    let did = if purged.dry_run { "Would forget" } else { "Forgot" };
    text += &format!("{did} {} of {}.\n", count(purged.count, "result"), args.by_writer);
    if let Some(behind) = &purged.behind {
        let (hidden, behind) = (count(purged.hidden, "result"), clean(behind, false));
        text += &format!(
            "{behind} cannot be told to forget, or not now: {hidden} may still be there. They are not read from there any\n\
             more until they are written anew; others who use it must purge it too, with `buildnet cache purge` where it runs.\n"
        );
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn ask<T: serde::de::DeserializeOwned>(target: &str, context: &Context) -> Result<T, ErrorReport> {
    let answer = context.daemon.post(target, &()).map_err(|error| error.report())?;
    answer.ok_or_else(|| {
        ErrorReport::user(format!("no daemon listens on {}", context.daemon.address()))
            .with_hint("`buildnet start` starts one; --daemon-address names another.")
    })
}
