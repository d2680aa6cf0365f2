//! `buildnet cache stats`.

use std::process::ExitCode;

use buildnet_cas::Store;
use buildnet_daemon::ErrorReport;
use buildnet_daemon::facts::CacheReport;
use buildnet_reapi::metrics::{Share, Traffic};

use crate::context::Context;
use crate::output::{print, print_json};
use crate::terminal::text::{bytes, clean, duration, pad, shorten};
use crate::workspace;

/// Longest name that is shown whole, in columns.
const NAME: usize = 24;
/// Rows that are shown of one kind; `--json` has all.
const ROWS: usize = 12;

/// From the daemon if one runs, which knows what its clients did; else from the cache's files.
pub(super) fn run(
    open: impl FnOnce() -> Result<Store, ErrorReport>,
    context: &Context,
) -> Result<ExitCode, ErrorReport> {
    let report = if let Some(report) = asked(context)? {
        report
    } else {
        let store = open()?;
        let stats = store.stats().map_err(|error| ErrorReport::of(&error))?.into();
        CacheReport { directory: store.dir().display().to_string(), stats, traffic: None }
    };
    if context.json {
        return print_json(&report).map(|()| ExitCode::SUCCESS);
    }
    print(&describe(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn asked(context: &Context) -> Result<Option<CacheReport>, ErrorReport> {
    if !context.use_daemon {
        return Ok(None);
    }
    // A workspace may have a cache of its own. Another machine does not know ours.
    let near = context.daemon.address().ip().is_loopback();
    let root = if near { workspace::root(context).ok() } else { None };
    let query = root.and_then(|root| Some(format!("?workspace={}", encoded(root.to_str()?))));
    let target = format!("/cache/stats{}", query.unwrap_or_default());
    match context.daemon.get::<CacheReport>(&target) {
        Ok(report) => Ok(report.filter(|report| !near || is_ours(report, context))),
        // A daemon on another machine is what was asked for; one here is a shortcut to what lies in files.
        Err(error) if !near => Err(error.report()),
        Err(_) => Ok(None),
    }
}

/// Whether the daemon looked at the cache that this command is about.
fn is_ours(report: &CacheReport, context: &Context) -> bool {
    workspace::cache(context).is_ok_and(|(directory, _)| {
        let real = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        real(&directory) == real(std::path::Path::new(&report.directory))
    })
}

/// Encodes what a query cannot hold as it is (RFC 3986, section 3.4).
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(byte as char),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

fn describe(report: &CacheReport) -> String {
    let stats = &report.stats;
    let rows = [
        ("directory", report.directory.clone()),
        ("results", stats.action_results.to_string()),
        ("blobs", format!("{}, {} of content", stats.blobs, bytes(stats.logical_bytes))),
        ("on disk", format!("{} of at most {}", bytes(stats.disk_bytes), bytes(stats.max_bytes))),
    ];
    let mut text = rows.map(|(name, value)| format!("{name:<10} {value}\n")).concat();
    if let Some(traffic) = report.traffic.as_ref().filter(|traffic| traffic.total.requests > 0) {
        text += &table(traffic);
    }
    text
}

fn table(traffic: &Traffic) -> String {
    let head = ["", "requests", "hits", "misses", "rate", "in", "out", "p50", "p90", "p99"];
    let mut text = format!("\nSince the daemon started:\n{}", line(&head.map(str::to_owned)));
    text += &line(&cells("total", &traffic.total));
    for (kind, shares) in
        [("protocol", &traffic.protocols), ("client", &traffic.clients), ("instance", &traffic.instances)]
    {
        text += &format!("by {kind}\n");
        for share in shares.iter().take(ROWS) {
            let name = if share.name.is_empty() { "(default)" } else { &share.name };
            text += &line(&cells(&shorten(&clean(name, false), NAME, "…"), share));
        }
        if shares.len() > ROWS {
            text += &format!("  and {} more\n", shares.len() - ROWS);
        }
    }
    text
}

fn cells(name: &str, share: &Share) -> [String; 10] {
    let lookups = share.hits + share.misses;
    let rate = (share.hits * 100).checked_div(lookups).map_or_else(|| "-".to_owned(), |rate| format!("{rate} %"));
    let time = |micros: Option<u64>| match micros {
        None => "-".to_owned(),
        Some(micros @ ..1000) => format!("{micros} µs"),
        Some(micros) => duration(micros),
    };
    [
        name.to_owned(),
        share.requests.to_string(),
        share.hits.to_string(),
        share.misses.to_string(),
        rate,
        bytes(share.received),
        bytes(share.sent),
        time(share.p50_us),
        time(share.p90_us),
        time(share.p99_us),
    ]
}

fn line(cells: &[String; 10]) -> String {
    let mut text = format!("  {}", pad(&cells[0], NAME));
    for cell in &cells[1..] {
        text += &format!(" {cell:>9}");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use buildnet_daemon::facts::CacheStats;

    use super::*;

    #[test]
    fn a_report_in_words() {
        let share = |name: &str, requests: u64| Share {
            name: name.to_owned(),
            requests,
            hits: requests / 2,
            misses: requests / 4,
            received: 1_500_000,
            sent: 3_000_000_000,
            p50_us: Some(180),
            p90_us: Some(2500),
            p99_us: Some(1_300_000),
            ..Share::default()
        };
        let traffic = Traffic {
            total: share("", 1200),
            protocols: vec![share("grpc", 1000), share("gradle", 200)],
            clients: vec![share("a client\x1b[31m with a name that goes on and on", 1000), Share::default()],
            instances: vec![share("", 1000), share("pr/7", 200)],
        };
        let stats = CacheStats {
            blobs: 12,
            action_results: 3,
            logical_bytes: 5_000_000,
            disk_bytes: 2_000_000,
            max_bytes: 20_000_000_000,
            hits: 0,
            misses: 0,
            corrupted: 0,
            evicted: 0,
        };
        insta::assert_snapshot!(describe(&CacheReport { directory: "/cache".into(), stats, traffic: Some(traffic) }));
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encoded("/home/a b&c=d?ä"), "/home/a%20b%26c%3Dd%3F%C3%A4");
    }
}
