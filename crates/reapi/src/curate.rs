//! What administrators do with entries: promote them from one instance to another, and purge those of a bad writer.

use buildnet_digest::Digest;
use serde::Serialize;

use crate::access::{Identity, Role};
use crate::backing::{EntryKey, Removal};
use crate::namespace;
use crate::provenance::{Written, now_ms};
use crate::service::{CacheError, CacheService};

/// Entries that a purge names; it counts all.
const MAX_NAMED: usize = 1000;

/// Which entries to forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Who wrote them, or wrote what was promoted to them: the name of a token.
    pub writer: String,
    /// Only those that were written at this time or later, in milliseconds since 1970. Where it was not recorded when an entry was
    /// written, it counts as late enough.
    pub since_ms: Option<u64>,
    /// Only those of this instance.
    pub instance: Option<String>,
    /// Forget nothing, only say what would be.
    pub dry_run: bool,
}

/// What a purge forgot, or would forget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// How many entries.
    pub purged: u64,
    /// The first thousand of them.
    pub entries: Vec<PurgedEntry>,
    /// Whether nothing was forgotten.
    pub dry_run: bool,
    /// How many may still be in the cache behind, from which they are not read any more: among them such as were not here.
    pub hidden: u64,
    /// That cache, where there are such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

/// An entry that was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurgedEntry {
    /// The protocol (`reapi`, `gradle`, …).
    pub protocol: String,
    /// Its instance.
    pub instance: String,
    /// Its key as the protocol writes it.
    pub name: String,
    /// When it was written, in milliseconds since 1970; 0 where that is not known.
    pub time_ms: u64,
}

impl CacheService {
    /// Copies what was written to instance `from` into instance `to`: one entry (its key as the protocol writes it; for actions
    /// `HASH/SIZE` or the hash alone), or all. Returns how many were copied; entries that are gone or incomplete are left out.
    pub fn promote(&self, admin: &Identity, from: &str, to: &str, name: Option<&str>) -> Result<u64, CacheError> {
        for instance in [from, to] {
            self.authorize(Some(admin), instance, Role::Admin)?;
        }
        let mut copied = 0;
        let asked = |written: &Written| written.instance == from && name.is_none_or(|name| is_named(written, name));
        for written in self.provenance().written(self.store(), asked)? {
            let Some(result) = self.store().action_result(&written.key)? else { continue };
            let entry = match written.name.parse() {
                Ok(action) if written.protocol == "reapi" => EntryKey::action(to, &action),
                _ => {
                    let (function, protocol) = (written.key.function(), &written.protocol);
                    EntryKey::derived(namespace::named_key(function, protocol, to, &written.name))
                }
            };
            // Whoever made it is remembered, so that a purge finds it here, too.
            let author = written.author.unwrap_or(written.writer);
            let written = Written {
                instance: to.to_owned(),
                key: entry.key,
                writer: admin.name.to_string(),
                author: Some(author),
                time_ms: now_ms(),
                ..written
            };
            self.store_entry(entry, &written, &result)?;
            copied += 1;
        }
        Ok(copied)
    }

    /// Forgets every entry that `writer` was the last to write, or to write before it was promoted. Returns how many there were.
    pub fn purge_by_writer(&self, writer: &str) -> Result<u64, CacheError> {
        let purged = self.forget(&Purge { writer: writer.to_owned(), ..Purge::default() })?;
        Ok(purged.purged)
    }

    /// As [`CacheService::purge_by_writer`] of what is asked for, if `admin` may: in one instance that they may use, or anywhere if they
    /// may use all.
    pub fn purge(&self, admin: &Identity, purge: &Purge) -> Result<Purged, CacheError> {
        match &purge.instance {
            Some(instance) => self.authorize(Some(admin), instance, Role::Admin).map(drop)?,
            None if admin.role == Role::Admin && admin.covers_all() => {}
            None => {
                let (name, action, instance) = (admin.name.to_string(), "administrate", "*".to_owned());
                return Err(CacheError::Denied { name, action, instance });
            }
        }
        self.forget(purge)
    }

    fn forget(&self, purge: &Purge) -> Result<Purged, CacheError> {
        let mut purged = Purged { dry_run: purge.dry_run, ..Purged::default() };
        let asked = |written: &Written| {
            let theirs = written.writer == purge.writer || written.author.as_ref() == Some(&purge.writer);
            let recent = written.time_ms == 0 || purge.since_ms.is_none_or(|since| written.time_ms >= since);
            let here = purge.instance.as_ref().is_none_or(|instance| written.instance == *instance);
            theirs && recent && here
        };
        for written in self.provenance().written(self.store(), asked)? {
            let was_there = if purge.dry_run {
                self.store().action_result(&written.key)?.is_some()
            } else {
                let (removed, behind) = self.remove(&written.entry())?;
                if behind == Removal::Hidden {
                    purged.hidden += 1;
                    purged.behind = self.backing().map(|backing| backing.stats().name);
                }
                removed || behind == Removal::Removed
            };
            if !was_there {
                continue;
            }
            purged.purged += 1;
            if purged.entries.len() < MAX_NAMED {
                let Written { protocol, instance, name, time_ms, .. } = written;
                purged.entries.push(PurgedEntry { protocol, instance, name, time_ms });
            }
        }
        Ok(purged)
    }
}

/// Whether an entry is the one that somebody names.
fn is_named(written: &Written, name: &str) -> bool {
    if written.name == name {
        return true;
    }
    let Ok(action) = written.name.parse::<Digest>() else { return false };
    written.protocol == "reapi" && (action.hex() == name || format!("{}/{}", action.hex(), action.size()) == name)
}

#[cfg(test)]
mod tests {
    use buildnet_cas::{Store, StoreOptions};
    use buildnet_digest::{DigestFunction, reapi};

    use super::*;
    use crate::service::CacheOptions;

    fn service(dir: &std::path::Path) -> CacheService {
        let store = Store::open(&dir.join("store"), StoreOptions::default()).unwrap();
        CacheService::open(store, dir, CacheOptions::default()).unwrap()
    }

    #[test]
    fn what_was_promoted_from_a_bad_writer_is_purged_too() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path());
        let (mallory, boss) = (Identity::new("mallory", Role::Write), Identity::new("boss", Role::Admin));
        let action = |name: &str| DigestFunction::Sha256.digest(name.as_bytes());
        let result = reapi::ActionResult::default();
        for name in ["a", "b"] {
            service.put_action_result(&mallory, "pr/1", &action(name), &result).unwrap();
        }
        let (a, b) = (action("a"), action("b"));
        let there = |instance: &str, action: &Digest| service.action_result(instance, action).unwrap().is_some();
        assert_eq!(service.promote(&boss, "pr/1", "main", Some(&a.hex())).unwrap(), 1);
        assert_eq!((there("main", &a), there("main", &b)), (true, false));
        assert_eq!(service.promote(&boss, "pr/1", "main", Some(&format!("{}/{}", b.hex(), b.size()))).unwrap(), 1);
        // Promoted once more, it is still mallory's.
        assert_eq!(service.promote(&boss, "main", "release", None).unwrap(), 2);

        let purge = Purge { writer: "mallory".into(), dry_run: true, ..Purge::default() };
        assert!(matches!(service.purge(&mallory, &purge), Err(CacheError::Denied { .. })));
        assert_eq!(service.purge(&boss, &purge).unwrap().purged, 6);
        assert!(there("release", &a), "nothing was forgotten");
        let limited = Identity { instances: ["main".to_owned()].into(), ..boss.clone() };
        assert!(matches!(service.purge(&limited, &purge), Err(CacheError::Denied { .. })));
        let main = Purge { instance: Some("main".into()), dry_run: false, ..purge.clone() };
        assert_eq!(service.purge(&limited, &main).unwrap().purged, 2);
        assert_eq!((there("main", &a), there("pr/1", &a), there("release", &a)), (false, true, true));
        let later = Purge { since_ms: Some(now_ms() + 60_000), dry_run: false, ..purge.clone() };
        assert_eq!(service.purge(&boss, &later).unwrap().purged, 0);
        let purged = service.purge(&boss, &Purge { dry_run: false, ..purge }).unwrap();
        assert_eq!((purged.purged, purged.entries[0].protocol.as_str()), (4, "reapi"));
        assert_eq!(service.purge_by_writer("mallory").unwrap(), 0);
    }
}
