//! The remote cache of a build.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use buildnet_cas::Store;
use buildnet_digest::{Digest, reapi};
use buildnet_engine::build::{Pending, RemoteCache};
use buildnet_event::{BuildId, Bus, EventKind, Level};
use buildnet_reapi::{Backing, EntryKey, TlsOptions};
use buildnet_tiers::{Credentials, Tier, TierOptions, Trouble};
use buildnet_workspace::{ClientTls, Settings};

use crate::error::ErrorReport;

/// A tier for one build. Actions are looked up in the address's own instance.
#[derive(Debug)]
struct Remote(Tier);

impl RemoteCache for Remote {
    fn fetch<'a>(&'a self, store: &'a Store, action: &'a Digest) -> Pending<'a, bool> {
        Box::pin(async move { self.0.pull_result(store, &EntryKey::action("", action)).await })
    }

    fn publish(&self, store: &Store, action: &Digest, result: &reapi::ActionResult, further: Vec<Digest>) {
        self.0.publish_with(store, EntryKey::action("", action), result, further);
    }

    fn left(&self) -> (u64, u64) {
        let left = self.0.pending();
        (left.results, left.bytes)
    }

    fn settle(&self) -> Pending<'_, ()> {
        Box::pin(self.0.idle())
    }
}

/// What settings say of TLS towards other caches.
///
/// # Errors
/// A certificate without its key, or a key without its certificate.
pub fn tls_options(settings: &ClientTls) -> Result<TlsOptions, ErrorReport> {
    let identity = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => {
            return Err(ErrorReport::user("TLS needs a client's certificate and its key").with_hint(
                "Give both --tls-client-cert and --tls-client-key, or cache.tls_client_cert and cache.tls_client_key.",
            ));
        }
    };
    let ca = settings.ca.clone().filter(|ca| ca.as_os_str() != ClientTls::SYSTEM);
    Ok(TlsOptions { ca, identity, server_name: None })
}

/// The remote cache that the settings name. It is connected to when a task is not in the local cache. What goes wrong with it is told
/// once, as a warning of the build. Needs a tokio runtime.
pub(super) fn open(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    bus: &Bus,
    id: BuildId,
) -> Result<Option<Arc<dyn RemoteCache>>, ErrorReport> {
    let Some(address) = &settings.remote_cache else { return Ok(None) };
    let credentials = Credentials::from_environment(environment, &settings.remote_token_env);
    let credentials = credentials.with_tls(tls_options(&settings.tls)?);
    let backend = buildnet_tiers::open(address, &credentials).map_err(|error| ErrorReport::of(&error))?;
    let options = TierOptions {
        // A build waits for each of these.
        patience: Duration::from_secs(15),
        attempts: 2,
        // What waits holds keys only, and the build's lease its contents: nothing is to be lost for want of room.
        queue_entries: 1 << 20,
        queue_bytes: u64::MAX,
        writers: if settings.remote_upload { 4 } else { 0 },
        patient: false,
        ..TierOptions::default()
    };
    let (bus, told) = (bus.clone(), AtomicBool::new(false));
    let report = move |trouble: Trouble| {
        let (level, text, hint) = match trouble {
            Trouble::Failed(error) | Trouble::Suspended(error) | Trouble::GivenUp(error) => {
                let text = format!("the remote cache fails, and the build goes on without it: {error}");
                (Level::Warning, text, error.hint)
            }
            Trouble::ReadOnly(error) => {
                let hint = "use a token with the role `write`, or set `cache.remote_upload: false`";
                (Level::Info, format!("results are not sent to the remote cache: {error}"), Some(hint.to_owned()))
            }
            Trouble::Resumed | Trouble::Full => return,
        };
        if level == Level::Info || !told.swap(true, Ordering::Relaxed) {
            bus.publish(Some(id), EventKind::Notice { level, text, hint });
        }
    };
    Ok(Some(Arc::new(Remote(Tier::new(backend, options, report)))))
}
