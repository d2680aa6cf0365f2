//! Tokens and certificates that change while the daemon runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use buildnet_event::{Bus, EventKind, Level};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::access::Access;
use super::tls::Tls;
use crate::error::ErrorReport;

/// How often the files are looked at. A file is read once it has looked the same twice, so that none is read half written.
const LOOK: Duration = Duration::from_millis(500);

/// What a file was when it was looked at. None: it was not there.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// Reads the token file and the certificates again when they changed, and on SIGHUP. What cannot be used is told on `bus` and in the
/// log, and what was in force stays. Never returns.
pub async fn refresh(access: Access, tls: Option<Tls>, bus: Bus) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let tokens: Vec<PathBuf> = access.file().map(Path::to_owned).into_iter().collect();
    let certificates: Vec<PathBuf> = tls
        .iter()
        .flat_map(|tls| {
            let files = tls.files();
            [Some(files.certificate.clone()), Some(files.key.clone()), files.client_ca.clone()].into_iter().flatten()
        })
        .collect();
    let (mut tokens, mut certificates) = (Watched::new(tokens), Watched::new(certificates));
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => false,
            _ = hangup.recv() => true,
        };
        if tokens.changed() || (asked && access.file().is_some()) {
            match access.reload() {
                Ok(count) => tracing::info!(count, "tokens read again"),
                Err(error) => tell(&bus, "the tokens stay as they were", &ErrorReport::of(&error)),
            }
        }
        if let Some(tls) = &tls
            && (certificates.changed() || asked)
        {
            match tls.reload() {
                Ok(()) => tracing::info!("certificates read again"),
                Err(error) => tell(&bus, "the certificates stay as they were", &ErrorReport::of(&error)),
            }
        }
    }
}

fn tell(bus: &Bus, what: &str, error: &ErrorReport) {
    let text = format!("{what}: {}", error.message);
    tracing::error!(hint = error.hint, "{text}");
    bus.publish(None, EventKind::Notice { level: Level::Warning, text, hint: error.hint.clone() });
}

struct Watched {
    files: Vec<PathBuf>,
    /// As they were when they were last read.
    read: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

impl Watched {
    fn new(files: Vec<PathBuf>) -> Self {
        let stamps: Vec<Stamp> = files.iter().map(|file| stamp(file)).collect();
        Self { files, read: stamps.clone(), seen: stamps }
    }

    /// Whether the files differ from those that were read last, and have come to rest.
    fn changed(&mut self) -> bool {
        let now: Vec<Stamp> = self.files.iter().map(|file| stamp(file)).collect();
        let rests = now == self.seen;
        self.seen = now;
        if !rests || self.seen == self.read {
            return false;
        }
        self.read.clone_from(&self.seen);
        true
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_it_rests() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "a").unwrap();
        let mut watched = Watched::new(vec![path.clone()]);
        assert!(!watched.changed());
        std::fs::write(&path, "half").unwrap();
        assert!(!watched.changed(), "it may be half written");
        assert!(watched.changed());
        assert!(!watched.changed(), "it was read");
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.changed());
        assert!(watched.changed(), "gone is a change");
    }
}
