//! `buildnet doctor`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::server::routes::status::Health;
use buildnet_sandbox::{Availability, probe};
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::output::{FAILED, print, print_json};
use crate::terminal::style::{Ink, Style};
use crate::terminal::text::bytes;
use crate::workspace;

/// Watches that a workspace of a thousand packages needs.
const ENOUGH_WATCHES: u64 = 65_536;

/// Free bytes below which the disk of the cache is called nearly full.
const LITTLE_SPACE: u64 = 1 << 30;

/// Check what BuildNet needs of this machine
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  buildnet doctor              exit code 1 if something is missing that builds need")]
pub(crate) struct DoctorArgs {}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Good,
    /// BuildNet works without, less well.
    Missing,
    /// Builds with default settings fail.
    Broken,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    verdict: Verdict,
    detail: String,
    hint: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Good, detail: detail.into(), hint: None }
    }

    fn bad(what: impl Into<String>, verdict: Verdict, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, detail: detail.into(), hint: Some(hint.into()) }
    }
}

pub(crate) fn run(context: &Context) -> Result<ExitCode, ErrorReport> {
    let mut findings = sandbox();
    findings.push(watches());
    findings.push(cache(&context.cache_dir));
    findings.push(daemon(context));
    findings.extend(configuration(context));
    if context.json {
        print_json(&findings)?;
    } else {
        print(&findings.iter().map(|finding| describe(finding, context.style)).collect::<String>())?;
    }
    let broken = findings.iter().any(|finding| finding.verdict == Verdict::Broken);
    Ok(if broken { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn describe(finding: &Finding, style: Style) -> String {
    let (ink, mark) = match finding.verdict {
        Verdict::Good => (Ink::Good, style.check()),
        Verdict::Missing => (Ink::Warn, "!"),
        Verdict::Broken => (Ink::Bad, style.cross()),
    };
    let mut text = format!("{} {:<34} {}", style.paint(ink, mark), finding.what, finding.detail).trim_end().to_owned();
    if let Some(hint) = &finding.hint {
        text += &format!("\n  {}: {hint}", style.paint(Ink::Info, "hint"));
    }
    text + "\n"
}

fn sandbox() -> Vec<Finding> {
    let finding = |(feature, availability): (buildnet_sandbox::Feature, Availability)| match availability {
        Availability::Available(detail) => Finding::good(feature.to_string(), detail),
        Availability::Refused(reason) => {
            let verdict = if feature.required() { Verdict::Broken } else { Verdict::Missing };
            Finding::bad(feature.to_string(), verdict, reason, feature.remedy())
        }
    };
    probe().features.into_iter().map(finding).collect()
}

fn watches() -> Finding {
    let what = "inotify watches";
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match limit {
        Some(limit) if limit >= ENOUGH_WATCHES => Finding::good(what, format!("{limit} per user")),
        Some(limit) => Finding::bad(
            what,
            Verdict::Missing,
            format!("{limit} per user"),
            format!("`sysctl fs.inotify.max_user_watches={ENOUGH_WATCHES}` lets the daemon follow large workspaces."),
        ),
        None => Finding::bad(
            what,
            Verdict::Missing,
            "not offered by this kernel",
            "The daemon looks at every file instead.",
        ),
    }
}

fn cache(directory: &Path) -> Finding {
    let what = "cache directory";
    let probe = directory.join(".doctor");
    let written =
        fs::create_dir_all(directory).and_then(|()| fs::write(&probe, b"")).and_then(|()| fs::remove_file(&probe));
    if let Err(error) = written {
        let detail = format!("{}: {error}", directory.display());
        return Finding::bad(what, Verdict::Broken, detail, "Name another with --cache-dir or BUILDNET_CACHE_DIR.");
    }
    let Ok(disk) = rustix::fs::statvfs(directory) else { return Finding::good(what, directory.display().to_string()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let detail = format!("{}, {} free", directory.display(), bytes(free));
    if free < LITTLE_SPACE {
        return Finding::bad(
            what,
            Verdict::Missing,
            detail,
            "Free some space, or run `buildnet cache gc --max-size 1GB`.",
        );
    }
    Finding::good(what, detail)
}

fn daemon(context: &Context) -> Finding {
    let what = "daemon";
    let address = context.daemon.address();
    match context.daemon.get::<Health>("/health") {
        Ok(Some(health)) => Finding::good(what, format!("{address}, process {}", health.pid)),
        Ok(None) => Finding::good(what, "not running; builds run without it"),
        Err(error) => {
            let report = error.report();
            Finding::bad(what, Verdict::Missing, report.message, report.hint.unwrap_or_default())
        }
    }
}

/// The workspace, if there is one here.
fn configuration(context: &Context) -> Option<Finding> {
    workspace::root(context).ok()?;
    let what = "workspace";
    Some(match workspace::load(context) {
        Ok(workspace) => {
            Finding::good(what, format!("{}, {} packages", workspace.root.display(), workspace.packages.len()))
        }
        Err(report) => Finding::bad(what, Verdict::Broken, report.message, report.hint.unwrap_or_default()),
    })
}
