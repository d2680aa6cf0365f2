//! Eviction: which entries go, and how their space comes back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::Core;
use crate::disk::Open;
use crate::error::CasError;
use crate::index::{Located, list};
use crate::large;
use crate::lock::Exclusive;
use crate::options::GcReport;
use crate::record::{Entry, Kind, Record};
use crate::segment::{DEAD, Segment};

/// Bytes of records that are moved with one commit.
const MOVE_BYTES: u64 = 4 << 20;
/// Temporary files older than this many seconds were left by a process that was killed.
const STALE_TEMPORARY: u32 = 24 * 3600;

/// What a collection is to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// Size on disk in bytes.
    pub(crate) target: u64,
    pub(crate) max_age: Option<Duration>,
    /// Ignores the grace period, and removes all that no lease holds.
    pub(crate) everything: bool,
    /// Asked for by a person: waits for another collection to end, and also sweeps what killed processes left.
    pub(crate) thorough: bool,
}

/// A segment, and which of its entries are to go.
struct Surveyed {
    segment: Arc<Segment>,
    entries: Vec<(Entry, u32)>,
    /// By position in `entries`.
    victim: Vec<bool>,
    /// Bytes of records that go or are dead.
    garbage: u64,
    rewritable: bool,
}

impl Core {
    /// Compares the size on disk with its bound, and evicts if need be: in the background, or at once when the store
    /// grows faster than that frees.
    pub(crate) fn check_size(&self) {
        let Ok(size) = self.estimate() else { return };
        let bound = self.options.max_bytes;
        if size <= bound || self.collecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let goal = Goal { target: bound - bound / 10, max_age: None, everything: false, thorough: false };
        let collect = move |core: &Self| {
            if let Err(error) = core.collect(goal) {
                tracing::warn!(%error, "eviction failed");
            }
            core.collecting.store(false, Ordering::Release);
        };
        if size > bound + bound / 10 { collect(self) } else { self.background(collect) }
    }

    /// Bytes on disk, as far as this process knows.
    pub(crate) fn estimate(&self) -> io::Result<u64> {
        let view = self.index.view()?;
        let segments: u64 = view.segments().map(|segment| segment.end()).sum();
        let entries = view.entries() as u64;
        drop(view);
        Ok(segments + entries * 2 * crate::record::ENTRY as u64 + self.large_usage(|bytes| bytes)?)
    }

    /// Evicts the least recently used entries until the goal is reached, or only what leases and grace hold is left.
    pub(crate) fn collect(&self, goal: Goal) -> Result<GcReport, CasError> {
        self.writable()?;
        let failed = |error| CasError::io("collect garbage in", &self.dir, error);
        let lock = self.disk.open(&self.dir.join("lock/collect"), Open::Create).map_err(failed)?;
        if !lock.try_lock().map_err(failed)? {
            if !goal.thorough {
                return Ok(GcReport::default());
            }
            lock.lock().map_err(failed)?;
        }
        self.retire()?;
        self.index.refresh().map_err(failed)?;
        self.collect_locked(goal).map_err(failed)?
    }

    fn collect_locked(&self, goal: Goal) -> io::Result<Result<GcReport, CasError>> {
        let now = self.now();
        let guard = self.eviction.exclusive()?;
        let limit = self.limit(goal, now, &guard)?;
        drop(guard);
        let (mut surveyed, mut report, large_before) = self.survey()?;
        mark_victims(&mut surveyed, &report, goal, now, limit);

        let need = report.bytes_before.saturating_sub(goal.target);
        let mut freed = 0;
        let mut large_freed = 0;
        for part in &mut surveyed {
            let guard = self.eviction.exclusive()?;
            let limit = self.limit(goal, now, &guard)?;
            let (count, bytes) = self.evict_large(part, limit)?;
            drop(guard);
            report.removed += count;
            freed += bytes;
            large_freed += bytes;
        }
        self.large_usage(|_| large_before - large_freed)?;

        // The emptiest first: they give most for the least moving.
        let emptiness = |part: &Surveyed| part.garbage.saturating_mul(1000) / part.segment.end().max(1);
        surveyed.sort_by_key(|part| std::cmp::Reverse(emptiness(part)));
        let all = goal.everything || goal.max_age.is_some();
        for part in &surveyed {
            let worth =
                part.rewritable && part.garbage > 0 && (freed < need && emptiness(part) >= 50 || goal.everything);
            if worth {
                match self.rewrite(part, goal, now)? {
                    Ok((removed, bytes)) => {
                        report.removed += removed;
                        freed += bytes;
                    }
                    Err(error) => return Ok(Err(error)),
                }
            } else if all {
                report.removed += self.bury(part, goal, now)?;
            }
        }
        self.drop_empty_tables()?;
        if goal.thorough {
            self.sweep(now)?;
        }
        self.counters.evicted.fetch_add(report.removed, Ordering::Relaxed);
        report.kept = report.kept.saturating_sub(report.removed);
        report.bytes_after = report.bytes_before.saturating_sub(freed);
        Ok(Ok(report))
    }

    /// Uses at or after this time, in seconds since 1970, protect from eviction.
    fn limit(&self, goal: Goal, now: u32, _alone: &Exclusive<'_>) -> io::Result<u32> {
        let grace = u32::try_from(self.options.grace.as_secs()).unwrap_or(u32::MAX);
        let graceful = if goal.everything { DEAD } else { (now + 1).saturating_sub(grace) };
        Ok(self.earliest_lease()?.map_or(graceful, |lease| lease.min(graceful)))
    }

    /// Reads every sidecar. Also returns the bytes of large blobs.
    fn survey(&self) -> io::Result<(Vec<Surveyed>, GcReport, u64)> {
        let view = self.index.view()?;
        let open: Vec<u64> = view.open().iter().map(|segment| segment.salt).collect();
        let segments: Vec<_> = view.segments().map(Arc::clone).collect();
        drop(view);
        let mut report = GcReport::default();
        let mut large = 0;
        let mut surveyed = Vec::with_capacity(segments.len());
        for segment in segments {
            let entries = match segment.all_entries(&*self.disk) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let mut garbage = 0;
            for (entry, used) in &entries {
                if *used == DEAD {
                    garbage += entry.length();
                    continue;
                }
                report.kept += 1;
                if entry.key.kind == Kind::Large {
                    large += self.large_size(&segment, entry);
                }
            }
            report.bytes_before += segment.end() + (entries.len() * crate::record::ENTRY * 2) as u64;
            let victim = vec![false; entries.len()];
            let rewritable = !open.contains(&segment.salt);
            surveyed.push(Surveyed { segment, entries, victim, garbage, rewritable });
        }
        report.bytes_before += large;
        Ok((surveyed, report, large))
    }

    fn large_size(&self, segment: &Arc<Segment>, entry: &Entry) -> u64 {
        let found = Located { segment: Arc::clone(segment), entry: *entry };
        self.disk.size(&large::path_of(self, &found)).unwrap_or(0)
    }

    /// Removes the files of large victims. The caller has the eviction lock alone.
    fn evict_large(&self, part: &Surveyed, limit: u32) -> io::Result<(u64, u64)> {
        let (mut count, mut bytes) = (0, 0);
        for ((entry, used), _) in part
            .entries
            .iter()
            .zip(&part.victim)
            .filter(|((entry, _), victim)| **victim && entry.key.kind == Kind::Large)
        {
            let current = part.segment.recorded_use(&*self.disk, entry.ordinal)?;
            if current != *used || current >= limit {
                continue;
            }
            let found = Located { segment: Arc::clone(&part.segment), entry: *entry };
            let path = large::path_of(self, &found);
            let size = self.disk.size(&path).unwrap_or(0);
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            part.segment.touch(&*self.disk, entry.ordinal, DEAD)?;
            count += 1;
            bytes += size;
        }
        Ok((count, bytes))
    }

    /// Moves what survives to the active segment, then removes the segment. Returns entries and bytes removed.
    fn rewrite(&self, part: &Surveyed, goal: Goal, now: u32) -> io::Result<Result<(u64, u64), CasError>> {
        let mut moved = vec![false; part.entries.len()];
        let first: Vec<usize> =
            (0..part.entries.len()).filter(|at| !part.victim[*at] && part.entries[*at].1 != DEAD).collect();
        let before = match self.move_records(part, &first, &part.entries, &mut moved)? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };

        // Once more alone: what was used meanwhile survives too.
        let guard = self.eviction.exclusive()?;
        let limit = self.limit(goal, now, &guard)?;
        let current = part.segment.all_entries(&*self.disk)?;
        let late: Vec<usize> = (0..part.entries.len().min(current.len()))
            .filter(|at| {
                let (used, decided) = (current[*at].1, part.entries[*at].1);
                !moved[*at] && used != DEAD && (used != decided || used >= limit)
            })
            .collect();
        let after = match self.move_records(part, &late, &current, &mut moved)? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        self.disk.remove(part.segment.path())?;
        self.index.forget_segment(part.segment.salt);
        drop(guard);
        let _ = self.disk.remove(part.segment.sidecar_path());
        let dropped = part
            .entries
            .iter()
            .zip(&moved)
            .filter(|((entry, used), moved)| !**moved && *used != DEAD && entry.key.kind != Kind::Large);
        Ok(Ok((dropped.count() as u64, part.segment.end().saturating_sub(before + after))))
    }

    /// Appends copies of records with their ages. Damaged ones stay behind.
    fn move_records(
        &self,
        part: &Surveyed,
        positions: &[usize],
        entries: &[(Entry, u32)],
        moved: &mut [bool],
    ) -> io::Result<Result<u64, CasError>> {
        let (mut records, mut bytes, mut total) = (Vec::new(), 0, 0);
        for at in positions {
            let (entry, used) = entries[*at];
            let found = Located { segment: Arc::clone(&part.segment), entry };
            moved[*at] = true;
            let Some((header, payload)) = self.record(&found, None)? else {
                self.count_corrupted();
                continue;
            };
            let record = Record {
                digest: header.digest,
                kind: entry.key.kind,
                codec: entry.codec,
                flags: entry.flags,
                payload,
                check: header.check,
                used,
                time: header.time,
            };
            bytes += record.length();
            records.push(record);
            if bytes >= MOVE_BYTES {
                if let Err(error) = self.commit(&records) {
                    return Ok(Err(error));
                }
                records.clear();
                total += std::mem::take(&mut bytes);
            }
        }
        Ok(self.commit(&records).map(|_| total + bytes))
    }

    /// Marks victims as removed where their segment stays.
    fn bury(&self, part: &Surveyed, goal: Goal, now: u32) -> io::Result<u64> {
        if !part.victim.contains(&true) {
            return Ok(0);
        }
        let guard = self.eviction.exclusive()?;
        let limit = self.limit(goal, now, &guard)?;
        let mut count = 0;
        for ((entry, used), _) in part.entries.iter().zip(&part.victim).filter(|(_, victim)| **victim) {
            let current = part.segment.recorded_use(&*self.disk, entry.ordinal)?;
            if current == *used && current < limit && current != DEAD {
                part.segment.touch(&*self.disk, entry.ordinal, DEAD)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Removes tables whose segments are all gone.
    fn drop_empty_tables(&self) -> io::Result<()> {
        let lock = self.disk.open(&self.dir.join("lock/tables"), Open::Create)?;
        lock.lock()?;
        for name in self.index.forget_empty_tables() {
            match self.disk.remove(&self.index.tables_dir().join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what killed processes left: temporary files, files of large blobs that nothing names, sidecars alone.
    fn sweep(&self, now: u32) -> io::Result<()> {
        let tmp = self.dir.join("tmp");
        for name in list(&*self.disk, &tmp)? {
            let made = name.split('-').next().and_then(|time| time.parse::<u32>().ok());
            if made.is_some_and(|made| made.saturating_add(STALE_TEMPORARY) < now) {
                let _ = self.disk.remove(&tmp.join(name));
            }
        }
        let guard = self.eviction.exclusive()?;
        self.index.refresh()?;
        let named = self.large_paths()?;
        let large = self.dir.join("large");
        for shard in list(&*self.disk, &large)? {
            let shard = large.join(shard);
            for name in list(&*self.disk, &shard)? {
                let path = shard.join(name);
                if !named.contains(&path) {
                    let _ = self.disk.remove(&path);
                }
            }
        }
        let dir = self.index.segments_dir();
        let files = list(&*self.disk, dir)?;
        for (name, stem) in files.iter().filter_map(|name| Some((name, name.strip_suffix(".use")?))) {
            if !files.contains(&format!("{stem}.seg")) {
                let _ = self.disk.remove(&dir.join(name));
            }
        }
        drop(guard);
        Ok(())
    }

    fn large_paths(&self) -> io::Result<std::collections::HashSet<std::path::PathBuf>> {
        let view = self.index.view()?;
        let segments: Vec<_> = view.segments().map(Arc::clone).collect();
        drop(view);
        let mut paths = std::collections::HashSet::new();
        for segment in segments {
            for (entry, used) in segment.all_entries(&*self.disk)? {
                if entry.key.kind == Kind::Large && used != DEAD {
                    paths.insert(large::path_of(self, &Located { segment: Arc::clone(&segment), entry }));
                }
            }
        }
        Ok(paths)
    }
}

/// Marks the least recently used entries, as many as the goal needs, of those not used at or after `limit`.
fn mark_victims(surveyed: &mut [Surveyed], report: &GcReport, goal: Goal, now: u32, limit: u32) {
    let weigh = |entry: &Entry| {
        entry.length() + if entry.key.kind == Kind::Large { entry.key.size } else { 2 * crate::record::ENTRY as u64 }
    };
    let mut by_time: BTreeMap<u32, u64> = BTreeMap::new();
    let mut garbage = 0;
    for (entry, used) in surveyed.iter().flat_map(|part| &part.entries) {
        if *used == DEAD {
            garbage += entry.length();
        } else {
            *by_time.entry(*used).or_default() += weigh(entry);
        }
    }
    let mut need = report.bytes_before.saturating_sub(goal.target).saturating_sub(garbage);
    // All before `cutoff` go, and of those at `cutoff` so many bytes.
    let mut cutoff = 0;
    for (time, bytes) in by_time {
        cutoff = time;
        if need <= bytes {
            break;
        }
        need -= bytes;
        cutoff = time.saturating_add(1);
    }
    if goal.everything {
        cutoff = DEAD;
    }
    let oldest = goal.max_age.map_or(0, |age| now.saturating_sub(u32::try_from(age.as_secs()).unwrap_or(u32::MAX)));
    for part in surveyed {
        for ((entry, used), victim) in part.entries.iter().zip(&mut part.victim) {
            if *used == DEAD || *used >= limit {
                continue;
            }
            let at_cutoff = *used == cutoff && need > 0;
            if *used < cutoff || *used < oldest || at_cutoff {
                if at_cutoff {
                    need = need.saturating_sub(weigh(entry));
                }
                *victim = true;
                part.garbage += entry.length();
            }
        }
    }
}
