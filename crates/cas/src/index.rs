//! Where every record is: tables of sealed segments, and a hash table over the open ones.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};

use crate::disk::Disk;
use crate::fresh::FreshRecords;
use crate::packed::Packed;
use crate::record::{Entry, HASH, Key};
use crate::segment::{DEAD, Segment, Trust};
use crate::table::{Merge, Table};

/// A record that was found.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) segment: Arc<Segment>,
    pub(crate) entry: Entry,
}

impl Located {
    fn live(segment: &Segment, entry: &Entry) -> bool {
        segment.used(entry.ordinal) != DEAD
    }
}

/// A table with the segments that it covers, `None` for those that were evicted.
#[derive(Debug)]
struct Covered {
    table: Arc<Table>,
    segments: Vec<Option<Arc<Segment>>>,
}

impl Covered {
    /// Entries of the table with their segments, without those of segments that were evicted.
    fn resolve(&self, entries: impl Iterator<Item = Entry>) -> impl Iterator<Item = (&Arc<Segment>, Entry)> {
        entries.filter_map(|entry| Some((self.segments.get(entry.segment as usize)?.as_ref()?, entry)))
    }
}

/// What this process knows.
#[derive(Debug, Default)]
pub(crate) struct View {
    loaded: bool,
    versions: (u64, u64),
    /// Records in segments that no table covers.
    fresh: FreshRecords,
    tables: Vec<Covered>,
    segments: HashMap<u64, Arc<Segment>>,
    /// Segments that no table covers.
    open: Vec<Arc<Segment>>,
}

impl View {
    /// The record with this key.
    pub(crate) fn find(&self, key: &Key) -> Option<(&Arc<Segment>, Entry)> {
        self.find_all(key).next()
    }

    /// All records with this key, which matter for action results: the latest counts.
    pub(crate) fn find_all(&self, key: &Key) -> impl Iterator<Item = (&Arc<Segment>, Entry)> {
        let tables = self.tables.iter().rev().flat_map(move |covered| covered.resolve(covered.table.find(key)));
        self.fresh.find(key).chain(tables).filter(|(segment, entry)| Located::live(segment, entry))
    }

    /// The sizes of the blobs with this hash: one, unless somebody knows how to make the function's hashes collide.
    pub(crate) fn sizes(&self, function: u8, hash: &[u8; HASH]) -> Vec<u64> {
        let tables = self.tables.iter().rev();
        let tables = tables.flat_map(|covered| covered.resolve(covered.table.find_hash(function, hash)));
        let live =
            self.fresh.find_hash(function, hash).chain(tables).filter(|(segment, entry)| Located::live(segment, entry));
        live.map(|(_, entry)| entry.key.size).collect()
    }

    /// The records of action results, in order of hash.
    pub(crate) fn actions(&self) -> Vec<(Arc<Segment>, Packed)> {
        let tables = self.tables.iter().flat_map(|covered| {
            let entries = covered.table.all();
            entries.filter_map(|packed| Some((covered.segments.get(packed.segment() as usize)?.as_ref()?, packed)))
        });
        let live =
            |(segment, packed): &(&Arc<Segment>, Packed)| packed.is_action() && segment.used(packed.ordinal()) != DEAD;
        let all = self.fresh.all().chain(tables).filter(live);
        let mut actions: Vec<_> = all.map(|(segment, packed)| (Arc::clone(segment), packed)).collect();
        actions.sort_unstable_by_key(|(_, packed)| *packed.start());
        actions
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.values()
    }

    /// Entries in memory, those of evicted segments included.
    pub(crate) fn entries(&self) -> usize {
        self.fresh.len() + self.tables.iter().map(|covered| covered.table.len()).sum::<usize>()
    }

    pub(crate) fn open(&self) -> &[Arc<Segment>] {
        &self.open
    }

    /// Whether another process has added records to a segment.
    fn has_grown(&self, disk: &dyn Disk) -> bool {
        self.open.iter().any(|segment| !segment.own.load(Ordering::Acquire) && segment.has_new(disk))
    }

    fn insert(&mut self, segment: &Arc<Segment>, entries: impl IntoIterator<Item = Entry>) {
        // A removed record must not hide a copy in another segment.
        self.fresh.insert(segment, entries.into_iter().filter(|entry| segment.used(entry.ordinal) != DEAD));
    }

    /// Takes the listed tables and segments, and forgets what is no more.
    fn arrange(&mut self, tables: Vec<Arc<Table>>) {
        let covered = |table: Arc<Table>| {
            let find = |(salt, _): &(u64, u64)| self.segments.get(salt).map(Arc::clone);
            Covered { segments: table.segments.iter().map(find).collect(), table }
        };
        self.tables = tables.into_iter().map(covered).collect();
        // The newest last: it is asked first, and in a busy store it is the smallest.
        self.tables.sort_by_key(|covered| std::cmp::Reverse(covered.table.len()));
        let sealed: std::collections::HashSet<u64> =
            self.tables.iter().flat_map(|covered| &covered.table.segments).map(|(salt, _)| *salt).collect();
        for covered in &self.tables {
            for (segment, (_, end)) in covered.segments.iter().zip(&covered.table.segments) {
                if let Some(segment) = segment {
                    segment.advance(*end, 0);
                    segment.durable.store(u64::MAX, Ordering::Release);
                }
            }
        }
        let segments = &self.segments;
        self.fresh.retain(|segment| segments.contains_key(&segment.salt) && !sealed.contains(&segment.salt));
        self.open = segments.values().filter(|segment| !sealed.contains(&segment.salt)).map(Arc::clone).collect();
    }
}

/// The index of a store's directory.
#[derive(Debug)]
pub(crate) struct Index {
    disk: Arc<dyn Disk>,
    segments_dir: PathBuf,
    tables_dir: PathBuf,
    writable: bool,
    view: RwLock<View>,
    /// Damage found: tables, and stretches of segments.
    pub(crate) damaged: AtomicU64,
}

impl Index {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, writable: bool) -> Self {
        Self {
            disk,
            segments_dir: dir.join("segments"),
            tables_dir: dir.join("tables"),
            writable,
            view: RwLock::default(),
            damaged: AtomicU64::new(0),
        }
    }

    pub(crate) fn segments_dir(&self) -> &Path {
        &self.segments_dir
    }

    pub(crate) fn tables_dir(&self) -> &Path {
        &self.tables_dir
    }

    /// What is known; loads it first if that was not done yet.
    pub(crate) fn view(&self) -> io::Result<RwLockReadGuard<'_, View>> {
        let view = self.view.read();
        if view.loaded {
            return Ok(view);
        }
        drop(view);
        self.refresh()?;
        Ok(self.view.read())
    }

    /// What is known, if it was loaded.
    pub(crate) fn loaded(&self) -> Option<RwLockReadGuard<'_, View>> {
        Some(self.view.read()).filter(|view| view.loaded)
    }

    /// Whether other processes have done nothing that is not known here.
    pub(crate) fn is_current(&self) -> bool {
        let Ok(versions) = self.versions() else { return false };
        let view = self.view.read();
        view.loaded && view.versions == versions && !view.has_grown(&*self.disk)
    }

    /// Adds records that were just written.
    pub(crate) fn insert(&self, segment: &Arc<Segment>, entries: impl IntoIterator<Item = Entry>) {
        self.view.write().insert(segment, entries);
    }

    /// Adds a segment that this process just created.
    pub(crate) fn add_segment(&self, segment: &Arc<Segment>) {
        let mut view = self.view.write();
        view.segments.insert(segment.salt, Arc::clone(segment));
        view.open.push(Arc::clone(segment));
    }

    /// Forgets a segment that is no more.
    pub(crate) fn forget_segment(&self, salt: u64) {
        let mut view = self.view.write();
        view.segments.remove(&salt);
        let tables = view.tables.drain(..).map(|covered| covered.table).collect();
        view.arrange(tables);
    }

    /// Forgets tables without segments, and returns their names.
    pub(crate) fn forget_empty_tables(&self) -> Vec<String> {
        let mut view = self.view.write();
        let empty = |covered: &Covered| covered.segments.iter().all(Option::is_none);
        let names =
            view.tables.iter().filter(|covered| empty(covered)).map(|covered| covered.table.name.clone()).collect();
        view.tables.retain(|covered| !empty(covered));
        names
    }

    /// Learns what other processes have done. Cheap when they did nothing.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        // A segment may vanish while it is read, because its records moved to another: look again.
        for _ in 0..8 {
            if self.try_refresh()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn versions(&self) -> io::Result<(u64, u64)> {
        let version = |dir| match self.disk.dir_version(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            other => other,
        };
        Ok((version(&self.tables_dir)?, version(&self.segments_dir)?))
    }

    fn try_refresh(&self) -> io::Result<bool> {
        let versions = self.versions()?;
        let view = self.view.read();
        if view.loaded && view.versions == versions && !view.has_grown(&*self.disk) {
            return Ok(true);
        }
        let relist = !view.loaded || view.versions != versions;
        drop(view);
        let mut view = self.view.write();
        let mut whole = true;
        if relist {
            let tables = self.list_tables(&view)?;
            let names = list(&*self.disk, &self.segments_dir)?;
            let mut segments = HashMap::new();
            for segment in names.iter().filter_map(|name| Segment::named(&self.segments_dir, name, self.writable)) {
                let known = view.segments.remove(&segment.salt);
                segments.insert(segment.salt, known.unwrap_or_else(|| Arc::new(segment)));
            }
            view.segments = segments;
            view.arrange(tables);
        }
        let open = view.open.clone();
        for segment in open.iter().filter(|segment| !segment.own.load(Ordering::Acquire)) {
            match self.catch_up(segment, !view.loaded || segment.count() == 0) {
                Ok(entries) => view.insert(segment, entries),
                Err(error) if error.kind() == io::ErrorKind::NotFound => whole = false,
                Err(error) => return Err(error),
            }
        }
        // If a segment vanished, the next call must list again.
        view.versions = if whole { versions } else { (0, 0) };
        view.loaded |= whole;
        Ok(whole)
    }

    /// The tables in the directory; those known are not read again, and damaged ones are left out.
    fn list_tables(&self, view: &View) -> io::Result<Vec<Arc<Table>>> {
        let mut tables = Vec::new();
        for name in list(&*self.disk, &self.tables_dir)?.iter().filter(|name| name.strip_suffix(".table").is_some()) {
            if let Some(known) = view.tables.iter().find(|covered| covered.table.name == *name) {
                tables.push(Arc::clone(&known.table));
                continue;
            }
            match Table::load(&*self.disk, &self.tables_dir, name) {
                Ok(Some(table)) => tables.push(Arc::new(table)),
                Ok(None) => {
                    tracing::warn!(table = %name, "a damaged index table is rebuilt from the segments' sidecars");
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                }
                // Merged into another table just now, which this or the next listing shows.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tables)
    }

    /// Records of an open segment that were not known. `thorough` also reads the segment itself where its sidecar ends
    /// or cannot be believed.
    fn catch_up(&self, segment: &Arc<Segment>, thorough: bool) -> io::Result<Vec<Entry>> {
        let disk = &*self.disk;
        let trust = segment.sidecar_trust(disk);
        let mut entries = Vec::new();
        if trust != Trust::None {
            entries = segment.read_new(disk)?;
        }
        let complete = matches!(trust, Trust::Sealed { count } if count == segment.count());
        // Where an entry could not be written, those after it are behind a hole.
        let stuck = entries.is_empty() && segment.has_new(disk);
        if (thorough || stuck) && !complete {
            // What a living process is writing lies at the end, and is known when it is whole.
            let scan = segment.scan(disk)?;
            for (entry, time) in &scan.entries {
                segment.remember_used(entry.ordinal, *time);
            }
            entries.extend(scan.entries.into_iter().map(|(entry, _)| entry));
        }
        Ok(entries)
    }

    /// Brings an open segment, whose lock the caller holds, into order: every whole record is in the sidecar. Returns
    /// the segment as this process knows it from now on.
    pub(crate) fn recover(&self, segment: &Segment) -> io::Result<Arc<Segment>> {
        let disk = &*self.disk;
        // Known afresh: what was learned without the lock may be in memory only.
        let segment = Arc::new(Segment::new(&self.segments_dir, segment.salt, true));
        segment.own.store(true, Ordering::Release);
        let trust = segment.sidecar_trust(disk);
        segment.create_sidecar(disk)?;
        let mut entries = Vec::new();
        if trust == Trust::None {
            // It may have entries of records that power loss took.
            segment.sidecar(disk)?.truncate(0)?;
        } else {
            entries = segment.read_new(disk)?;
        }
        if !matches!(trust, Trust::Sealed { count } if count == segment.count()) {
            let scan = segment.scan(disk)?;
            if scan.damaged > 0 {
                tracing::warn!(segment = %segment.path().display(), "cut the unfinished or damaged part of a segment");
            }
            for (entry, time) in &scan.entries {
                segment.write_entries(disk, &[(*entry, *time)])?;
            }
            segment.write_sidecar_header(disk, false)?;
            entries.extend(scan.entries.into_iter().map(|(entry, _)| entry));
        }
        let mut view = self.view.write();
        view.segments.insert(segment.salt, Arc::clone(&segment));
        view.open.retain(|known| known.salt != segment.salt);
        view.open.push(Arc::clone(&segment));
        view.insert(&segment, entries);
        drop(view);
        Ok(segment)
    }

    /// Writes the table of a sealed segment, whose content is durable, and merges tables that have become many. The
    /// caller holds the lock of the tables.
    pub(crate) fn write_table(&self, segment: &Arc<Segment>, temporary: &Path) -> io::Result<()> {
        let disk = &*self.disk;
        let mut entries = Vec::with_capacity(segment.count() as usize);
        segment.each_entry(disk, &mut |entry, _| entries.push(Packed::new(&entry)))?;
        entries.sort_unstable_by_key(|packed| *packed.start());
        let cover = [(segment.salt, segment.end())];
        let count = entries.len();
        let table = Table::write(disk, &self.tables_dir, temporary, &cover, entries.into_iter(), count)?;
        self.take_table(table);
        self.merge(temporary)?;
        self.remove_damaged()
    }

    /// Removes tables that cannot be read. The caller holds the lock of the tables and has looked at all since: what it does not know is
    /// damaged, and what it said is known from the sidecars.
    fn remove_damaged(&self) -> io::Result<()> {
        let view = self.view.read();
        let known = |name: &String| view.tables.iter().any(|covered| covered.table.name == *name);
        for name in list(&*self.disk, &self.tables_dir)?.iter().filter(|name| name.strip_suffix(".table").is_some()) {
            if !known(name) {
                self.disk.remove(&self.tables_dir.join(name))?;
            }
        }
        Ok(())
    }

    fn take_table(&self, table: Table) {
        let mut view = self.view.write();
        let mut tables: Vec<_> = view.tables.drain(..).map(|covered| covered.table).collect();
        tables.push(Arc::new(table));
        view.arrange(tables);
    }

    /// Merges tables until each is at least twice as long as the next shorter one.
    fn merge(&self, temporary: &Path) -> io::Result<()> {
        let view = self.view.read();
        let mut tables: Vec<_> = view.tables.iter().map(|covered| Arc::clone(&covered.table)).collect();
        let live = |salt: u64| view.segments.contains_key(&salt);
        let mut chosen = tables.split_off(tables.len().saturating_sub(1));
        while let Some(longer) = tables.pop() {
            let length: usize = chosen.iter().map(|table| table.len()).sum();
            if longer.len() >= length * 2 {
                break;
            }
            chosen.push(longer);
        }
        if chosen.len() < 2 {
            return Ok(());
        }
        let mut covers: Vec<(u64, u64)> = Vec::new();
        for cover in chosen.iter().flat_map(|table| &table.segments).filter(|(salt, _)| live(*salt)) {
            if !covers.contains(cover) {
                covers.push(*cover);
            }
        }
        drop(view);
        if covers.len() > usize::from(u16::MAX) {
            return Ok(());
        }
        let place = |salt| covers.iter().position(|(cover, _)| *cover == salt).and_then(|at| u16::try_from(at).ok());
        let sources: Vec<&Table> = chosen.iter().map(|table| &**table).collect();
        let length = sources.iter().map(|table| table.len()).sum();
        let merge = Merge::new(&sources, &place);
        let merged = Table::write(&*self.disk, &self.tables_dir, temporary, &covers, merge, length)?;
        let mut view = self.view.write();
        let kept = view.tables.drain(..).map(|covered| covered.table);
        let mut tables: Vec<_> = kept.filter(|table| !chosen.iter().any(|old| old.name == table.name)).collect();
        tables.push(Arc::new(merged));
        view.arrange(tables);
        drop(view);
        for old in &chosen {
            match self.disk.remove(&self.tables_dir.join(&old.name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Names in a directory, which may be missing.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}
