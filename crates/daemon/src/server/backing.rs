//! The tier behind the daemon's cache.

use std::collections::BTreeMap;
use std::path::Path;

use buildnet_cas::Store;
use buildnet_reapi::TlsOptions;
use buildnet_tiers::{Credentials, Tier, TierOptions, Trouble};

use crate::error::ErrorReport;

/// Variable with the token of a REAPI cache behind this one.
const TOKEN: &str = "BUILDNET_BACKING_TOKEN";
/// File of what was not written behind yet when the daemon ended, in the directory that the protocols keep beside the store.
const JOURNAL: &str = "write-back.jsonl";

/// A tier at an address, with the credentials that the environment holds, and TLS as `tls` says. What happens to it is told in the log. Needs a tokio runtime.
pub fn backing(address: &str, tls: TlsOptions, environment: &BTreeMap<String, String>) -> Result<Tier, ErrorReport> {
    let credentials = Credentials::from_environment(environment, TOKEN).with_tls(tls);
    let backend = buildnet_tiers::open(address, &credentials).map_err(|error| ErrorReport::of(&error))?;
    let name = backend.name();
    let report = move |trouble| match trouble {
        Trouble::Failed(error) => tracing::warn!("behind the cache: {error}"),
        Trouble::Suspended(error) => {
            let hint = error.hint.as_deref().unwrap_or("it is tried again after a while");
            tracing::warn!("{name} is left alone, and the cache goes on without it: {error}; {hint}");
        }
        Trouble::Resumed => tracing::info!("{name} answers again"),
        Trouble::ReadOnly(error) => tracing::warn!("nothing is written to {name} any more: {error}"),
        Trouble::Full => tracing::warn!("{name} is too slow: what comes now is kept here alone"),
        Trouble::GivenUp(error) => tracing::warn!("a result was not written to {name}: {error}"),
    };
    Ok(Tier::new(backend, TierOptions::default(), report))
}

/// File of what was purged and could not be removed behind, in the same directory.
const FORGOTTEN: &str = "purged-behind";

/// Takes up what an earlier process left to be written, and what it purged.
pub(super) fn resume(tier: &Tier, store: &Store, directory: &Path) -> Result<(), ErrorReport> {
    std::fs::create_dir_all(directory)
        .and_then(|()| tier.keep_forgotten(&directory.join(FORGOTTEN)))
        .map_err(|error| ErrorReport::environment("cannot keep what was purged behind the cache").because(&error))?;
    let count = tier.keep_journal(&directory.join(JOURNAL), store);
    if count > 0 {
        tracing::info!("{count} results of an earlier run are still to be written behind the cache");
    }
    Ok(())
}
