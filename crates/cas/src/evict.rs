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
use crate::options::{Durability, GcReport};
use crate::packed::PACKED;
use crate::record::{ENTRY, Entry, Kind, Record};
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

/// Bytes on disk per record, besides the record: its entries in the sidecar and in a table.
const PER_RECORD: u64 = (ENTRY + PACKED) as u64;

/// A segment, and which of its records are to go, by their number. Of each no more than that is kept: there are millions.
struct Surveyed {
    segment: Arc<Segment>,
    /// When each was used last; [`DEAD`] where there is none.
    used: Vec<u32>,
    victim: Vec<bool>,
    /// Bytes of records that go or are dead.
    garbage: u64,
    rewritable: bool,
}

/// What all segments hold.
#[derive(Default)]
struct Survey {
    parts: Vec<Surveyed>,
    report: GcReport,
    /// Bytes of large blobs.
    large: u64,
    /// Bytes by time of last use.
    by_time: BTreeMap<u32, u64>,
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
        Ok(segments + entries * PER_RECORD + self.large_usage(|bytes| bytes)?)
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
        let mut survey = self.survey()?;
        self.mark_victims(&mut survey, goal, now, limit)?;
        let Survey { parts: mut surveyed, mut report, large: large_before, .. } = survey;

        let need = report.bytes_before.saturating_sub(goal.target);
        let mut freed = 0;
        let mut large_freed = 0;
        for part in &surveyed {
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

    /// Reads every sidecar.
    fn survey(&self) -> io::Result<Survey> {
        let view = self.index.view()?;
        let open: Vec<u64> = view.open().iter().map(|segment| segment.salt).collect();
        let segments: Vec<_> = view.segments().map(Arc::clone).collect();
        drop(view);
        let mut survey = Survey::default();
        for segment in segments {
            let (mut used, mut garbage, mut kept) = (Vec::new(), 0, 0);
            let read = segment.each_entry(&*self.disk, &mut |entry, time| {
                // Where an entry is damaged there is a hole.
                used.resize(entry.ordinal as usize, DEAD);
                used.push(time);
                if time == DEAD {
                    garbage += entry.length();
                    return;
                }
                kept += 1;
                *survey.by_time.entry(time).or_default() += weigh(&entry);
                if entry.key.kind == Kind::Large {
                    survey.large += self.large_size(&segment, &entry);
                }
            });
            match read {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            }
            survey.report.kept += kept;
            survey.report.bytes_before += segment.end() + used.len() as u64 * PER_RECORD;
            let (victim, rewritable) = (vec![false; used.len()], !open.contains(&segment.salt));
            survey.parts.push(Surveyed { segment, used, victim, garbage, rewritable });
        }
        survey.report.bytes_before += survey.large;
        Ok(survey)
    }

    /// Marks the least recently used records, as many as the goal needs, of those not used at or after `limit`.
    fn mark_victims(&self, survey: &mut Survey, goal: Goal, now: u32, limit: u32) -> io::Result<()> {
        let garbage: u64 = survey.parts.iter().map(|part| part.garbage).sum();
        let mut need = survey.report.bytes_before.saturating_sub(goal.target).saturating_sub(garbage);
        // All before `cutoff` go, and of those at `cutoff` so many bytes.
        let mut cutoff = 0;
        for (time, bytes) in &survey.by_time {
            cutoff = *time;
            if need <= *bytes {
                break;
            }
            need -= bytes;
            cutoff = time.saturating_add(1);
        }
        if goal.everything {
            cutoff = DEAD;
        }
        let age = |age: Duration| now.saturating_sub(u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        let oldest = goal.max_age.map_or(0, age);
        for part in &mut survey.parts {
            let Surveyed { segment, used, victim, garbage, .. } = part;
            if used.iter().all(|used| *used == DEAD || *used >= limit) {
                continue;
            }
            segment.each_entry(&*self.disk, &mut |entry, _| {
                let at = entry.ordinal as usize;
                let Some(used) = used.get(at).copied().filter(|used| *used != DEAD && *used < limit) else { return };
                let at_cutoff = used == cutoff && need > 0;
                if used < cutoff || used < oldest || at_cutoff {
                    if at_cutoff {
                        need = need.saturating_sub(weigh(&entry));
                    }
                    victim[at] = true;
                    *garbage += entry.length();
                }
            })?;
        }
        Ok(())
    }

    fn large_size(&self, segment: &Arc<Segment>, entry: &Entry) -> u64 {
        let found = Located { segment: Arc::clone(segment), entry: *entry };
        self.disk.size(&large::path_of(self, &found)).unwrap_or(0)
    }

    /// Removes the files of large victims. The caller has the eviction lock alone.
    fn evict_large(&self, part: &Surveyed, limit: u32) -> io::Result<(u64, u64)> {
        if !part.victim.contains(&true) {
            return Ok((0, 0));
        }
        let mut victims = Vec::new();
        part.segment.each_entry(&*self.disk, &mut |entry, used| {
            if entry.key.kind == Kind::Large && part.goes(&entry) && used == part.used[entry.ordinal as usize] {
                victims.push((entry, used));
            }
        })?;
        let (mut count, mut bytes) = (0, 0);
        for (entry, used) in victims {
            if used >= limit {
                continue;
            }
            let found = Located { segment: Arc::clone(&part.segment), entry };
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
        let mut moved = vec![false; part.used.len()];
        let mut first = part.segment.all_entries(&*self.disk)?;
        first.retain(|(entry, used)| *used != DEAD && part.decided(entry) != DEAD && !part.goes(entry));
        let before = match self.move_records(part, &first, &mut moved)? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };

        // Once more alone: what was used meanwhile survives too.
        let guard = self.eviction.exclusive()?;
        let limit = self.limit(goal, now, &guard)?;
        let mut dropped = 0;
        let mut late = part.segment.all_entries(&*self.disk)?;
        late.retain(|(entry, used)| {
            let decided = part.decided(entry);
            let rest = moved.get(entry.ordinal as usize) == Some(&false);
            let stays = rest && *used != DEAD && (*used != decided || *used >= limit);
            dropped += u64::from(rest && !stays && decided != DEAD && entry.key.kind != Kind::Large);
            stays
        });
        let after = match self.move_records(part, &late, &mut moved)? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        self.disk.remove(part.segment.path())?;
        self.index.forget_segment(part.segment.salt);
        drop(guard);
        let _ = self.disk.remove(part.segment.sidecar_path());
        Ok(Ok((dropped, part.segment.end().saturating_sub(before + after))))
    }

    /// Appends copies of records with their ages. Damaged ones stay behind. The copies are synced, whoever evicts: somebody was told that
    /// the records are durable.
    fn move_records(
        &self,
        part: &Surveyed,
        entries: &[(Entry, u32)],
        moved: &mut [bool],
    ) -> io::Result<Result<u64, CasError>> {
        let (mut records, mut bytes, mut total) = (Vec::new(), 0, 0);
        for (entry, used) in entries {
            let found = Located { segment: Arc::clone(&part.segment), entry: *entry };
            moved[entry.ordinal as usize] = true;
            let Some((header, payload)) = self.record(&found)? else {
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
                used: *used,
                time: header.time,
            };
            bytes += record.length();
            records.push(record);
            if bytes >= MOVE_BYTES {
                if let Err(error) = self.commit(&records, Durability::Synced) {
                    return Ok(Err(error));
                }
                records.clear();
                total += std::mem::take(&mut bytes);
            }
        }
        Ok(self.commit(&records, Durability::Synced).map(|()| total + bytes))
    }

    /// Marks victims as removed where their segment stays.
    fn bury(&self, part: &Surveyed, goal: Goal, now: u32) -> io::Result<u64> {
        if !part.victim.contains(&true) {
            return Ok(0);
        }
        let guard = self.eviction.exclusive()?;
        let limit = self.limit(goal, now, &guard)?;
        let mut count = 0;
        for ((ordinal, used), _) in (0..).zip(&part.used).zip(&part.victim).filter(|(_, victim)| **victim) {
            let current = part.segment.recorded_use(&*self.disk, ordinal)?;
            if current == *used && current < limit && current != DEAD {
                part.segment.touch(&*self.disk, ordinal, DEAD)?;
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
            segment.each_entry(&*self.disk, &mut |entry, used| {
                if entry.key.kind == Kind::Large && used != DEAD {
                    paths.insert(large::path_of(self, &Located { segment: Arc::clone(&segment), entry }));
                }
            })?;
        }
        Ok(paths)
    }
}

impl Surveyed {
    /// When the record was used last as of the survey.
    fn decided(&self, entry: &Entry) -> u32 {
        self.used.get(entry.ordinal as usize).copied().unwrap_or(DEAD)
    }

    fn goes(&self, entry: &Entry) -> bool {
        self.victim.get(entry.ordinal as usize) == Some(&true)
    }
}

/// Bytes that a record, and what it stands for, take on disk.
fn weigh(entry: &Entry) -> u64 {
    entry.length() + if entry.key.kind == Kind::Large { entry.key.size } else { PER_RECORD }
}
