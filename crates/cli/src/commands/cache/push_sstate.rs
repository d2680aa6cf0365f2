//! `buildnet cache push-sstate`.

use std::path::PathBuf;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_http_cache::push::{self, Address, Pushed};
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::output::{FAILED, print, print_json};
use crate::terminal::text::{bytes, count};

#[derive(Clone, Debug, Args)]
pub(super) struct PushSstateArgs {
    /// The directory: SSTATE_DIR of the build
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where to: the address of SSTATE_MIRRORS without PATH [default: the daemon of this machine]
    #[arg(long, value_name = "URL")]
    to: Option<Address>,
}

pub(super) fn run(args: &PushSstateArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let directory = context.directory.join(&args.directory);
    let address = match &args.to {
        Some(address) => address.clone(),
        None => format!("http://{}/sstate", context.daemon.address())
            .parse()
            .map_err(|error| ErrorReport::of::<push::AddressError>(&error))?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| ErrorReport::environment("cannot start threads").because(&error))?;
    let pushed = runtime.block_on(push::push(&directory, &address, context.token.as_deref()));
    let pushed = pushed.map_err(|error| ErrorReport::of(&error))?;
    if context.json {
        let failed = pushed.failed.iter().map(|(file, why)| json!({ "file": file, "why": why }));
        print_json(&json!({
            "sent": pushed.sent, "bytes": pushed.bytes, "present": pushed.present, "failed": failed.collect::<Vec<_>>(),
        }))?;
    } else {
        print(&told(&pushed, &address))?;
    }
    Ok(if pushed.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn told(pushed: &Pushed, address: &Address) -> String {
    let mut text = format!("Sent {} ({}) to {address}", count(pushed.sent, "file"), bytes(pushed.bytes));
    text += &format!(
        "; {} there already.\n",
        if pushed.present == 1 { "1 was".into() } else { format!("{} were", pushed.present) }
    );
    for (file, why) in &pushed.failed {
        text += &format!("not sent: {}: {why}\n", file.display());
    }
    text
}
