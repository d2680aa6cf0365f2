//! A disk in memory that loses, tears and reorders what was not synced, and fails when it is told to.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, Open};

const SECTOR: usize = 512;

/// Numbers that depend on the seed alone (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Fails the operation that brings the count to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A write or sync fails with EIO.
    Io(u64),
    /// Writes fail with ENOSPC from then on, until healed.
    Full(u64),
    /// The process dies: every later operation fails.
    Kill(u64),
}

#[derive(Debug)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors whose sync failed: Linux counts their pages as clean, so that a later sync succeeds without them.
    lost: HashSet<usize>,
}

#[derive(Debug)]
struct State {
    random: Random,
    inodes: BTreeMap<u64, Content>,
    /// What a process sees.
    names: BTreeMap<PathBuf, u64>,
    /// What is there after power loss, at least.
    durable_names: BTreeMap<PathBuf, u64>,
    dirs: HashSet<PathBuf>,
    versions: BTreeMap<PathBuf, u64>,
    locks: BTreeMap<u64, Vec<(u64, bool)>>,
    next: u64,
    boot: u64,
    fault: Option<Fault>,
    full: bool,
    /// Openings of processes before this one are dead.
    process: u64,
    now: Duration,
    pub(crate) syncs: u64,
}

/// The simulated disk. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
    process: u64,
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            random: Random(seed),
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            dirs: HashSet::new(),
            versions: BTreeMap::new(),
            locks: BTreeMap::new(),
            next: 1,
            boot: 1,
            fault: None,
            full: false,
            process: 1,
            now: Duration::from_secs(1_000_000),
            syncs: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), process: 1 }
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state.lock();
        state.fault = fault;
        state.full = false;
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.state.lock().now += time;
    }

    /// All processes die; the page cache stays. Returns the disk for the next process.
    pub(crate) fn kill(&self) -> Self {
        let mut state = self.state.lock();
        state.process += 1;
        state.locks.clear();
        state.fault = None;
        state.full = false;
        Self { state: Arc::clone(&self.state), process: state.process }
    }

    /// Power loss: of what was not synced, any sectors and any names may have reached the disk.
    pub(crate) fn crash(&self) -> Self {
        let next = self.kill();
        let mut state = self.state.lock();
        let state = &mut *state;
        state.boot += 1;
        for content in state.inodes.values_mut() {
            let length = content.now.len().max(content.durable.len());
            // The size is metadata of its own; unwritten sectors of a grown file read as zeros.
            let size = if state.random.below(2) == 0 { content.now.len() } else { content.durable.len() };
            let mut left = content.durable.clone();
            left.resize(length, 0);
            let lossy = state.random.below(3);
            for start in (0..content.now.len()).step_by(SECTOR) {
                let end = (start + SECTOR).min(content.now.len());
                let reached = match lossy {
                    _ if content.lost.contains(&(start / SECTOR)) => false,
                    0 => false,
                    1 => true,
                    _ => state.random.below(2) == 0,
                };
                if reached {
                    left[start..end].copy_from_slice(&content.now[start..end]);
                }
            }
            left.truncate(size.max(content.durable.len().min(content.now.len())));
            content.now.clone_from(&left);
            content.durable = left;
            content.lost.clear();
        }
        let all: HashSet<PathBuf> = state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        let mut all: Vec<PathBuf> = all.into_iter().collect();
        all.sort();
        for name in all {
            let (now, durable) = (state.names.get(&name).copied(), state.durable_names.get(&name).copied());
            let after = if now == durable || state.random.below(2) == 0 { durable } else { now };
            match after {
                Some(inode) => {
                    state.names.insert(name.clone(), inode);
                }
                None => {
                    state.names.remove(&name);
                }
            }
        }
        state.durable_names = state.names.clone();
        for version in state.versions.values_mut() {
            *version += 1;
        }
        next.clone()
    }

    /// Flips a bit of some file whose name ends so.
    pub(crate) fn rot(&self, suffix: &str) -> Option<PathBuf> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let files: Vec<(PathBuf, u64)> = state
            .names
            .iter()
            .filter(|(name, _)| name.to_string_lossy().ends_with(suffix))
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        let at = state.random.below(files.len().max(1) as u64);
        let (name, inode) = files.get(usize::try_from(at).unwrap())?;
        let content = state.inodes.get_mut(inode)?;
        let bit = state.random.below((content.now.len() as u64 * 8).max(1));
        let byte = usize::try_from(bit / 8).unwrap();
        *content.now.get_mut(byte)? ^= 1 << (bit % 8);
        if let Some(durable) = content.durable.get_mut(byte) {
            *durable = content.now[byte];
        }
        Some(name.clone())
    }

    /// Counts an operation that changes the disk, and fails it when its time has come.
    fn operate(&self, state: &mut State, writes: bool) -> io::Result<()> {
        if state.process != self.process {
            return Err(io::Error::other("the process is dead"));
        }
        match &mut state.fault {
            Some(Fault::Io(left) | Fault::Full(left) | Fault::Kill(left)) if *left > 0 => *left -= 1,
            Some(Fault::Io(_)) => {
                state.fault = None;
                return Err(io::Error::from_raw_os_error(5));
            }
            Some(Fault::Full(_)) => state.full = true,
            Some(Fault::Kill(_)) => {
                state.process += 1;
                return Err(io::Error::other("killed"));
            }
            None => {}
        }
        if state.full && writes { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn alive(&self, state: &State) -> io::Result<()> {
        if state.process == self.process { Ok(()) } else { Err(io::Error::other("the process is dead")) }
    }
}

fn changed(state: &mut State, path: &Path) {
    if let Some(dir) = path.parent() {
        *state.versions.entry(dir.to_owned()).or_default() += 1;
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.operate(&mut state, true)?;
        // Directories are few and made once: they count as durable.
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        self.alive(&state)?;
        let found = state.names.get(path).copied();
        let inode = match (found, how) {
            (Some(_), Open::CreateNew | Open::CreateProtected) => {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            (Some(inode), _) => inode,
            (None, Open::Read | Open::Write) => return Err(missing()),
            (None, _) => {
                self.operate(&mut state, true)?;
                if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
                    return Err(missing());
                }
                state.next += 1;
                let inode = state.next;
                state.inodes.insert(inode, Content { now: Vec::new(), durable: Vec::new(), lost: HashSet::new() });
                state.names.insert(path.to_owned(), inode);
                changed(&mut state, path);
                inode
            }
        };
        state.next += 1;
        let handle = state.next;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, handle }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        self.alive(&state)?;
        if !state.dirs.contains(dir) {
            return Err(missing());
        }
        let inside = state.names.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        self.alive(&state)?;
        let inode = state.names.get(path).ok_or_else(missing)?;
        Ok(state.inodes[inode].now.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.operate(&mut state, false)?;
        if !to.parent().is_some_and(|dir| state.dirs.contains(dir)) {
            return Err(missing());
        }
        let inode = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), inode);
        changed(&mut state, from);
        changed(&mut state, to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.operate(&mut state, false)?;
        state.names.remove(path).ok_or_else(missing)?;
        changed(&mut state, path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        self.operate(&mut state, false)?;
        let state = &mut *state;
        state.durable_names.retain(|name, _| name.parent() != Some(dir));
        let inside = state.names.iter().filter(|(name, _)| name.parent() == Some(dir));
        state.durable_names.extend(inside.map(|(name, inode)| (name.clone(), *inode)));
        Ok(())
    }

    fn dir_version(&self, dir: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        self.alive(&state)?;
        Ok(state.versions.get(dir).copied().unwrap_or_default() + 1)
    }

    fn boot(&self) -> u64 {
        self.state.lock().boot
    }

    fn random(&self) -> u64 {
        self.state.lock().random.next()
    }

    fn now(&self) -> Duration {
        let mut state = self.state.lock();
        state.now += Duration::from_micros(1);
        state.now
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    handle: u64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if let Some(holders) = state.locks.get_mut(&self.inode) {
            holders.retain(|(handle, _)| *handle != self.handle);
        }
    }
}

impl SimFile {
    fn take(&self, exclusive: bool) -> io::Result<bool> {
        let mut state = self.disk.state.lock();
        self.disk.alive(&state)?;
        let holders = state.locks.entry(self.inode).or_default();
        let others = holders.iter().any(|(handle, alone)| *handle != self.handle && (*alone || exclusive));
        if !others {
            holders.retain(|(handle, _)| *handle != self.handle);
            holders.push((self.handle, exclusive));
        }
        Ok(!others)
    }

    /// Everything runs in one thread, so that whoever would wait would wait for ever.
    fn must_take(&self, exclusive: bool) -> io::Result<()> {
        if self.take(exclusive)? { Ok(()) } else { Err(io::Error::other("deadlock")) }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state.lock();
        self.disk.alive(&state)?;
        let content = &state.inodes[&self.inode].now;
        let start = usize::try_from(offset).unwrap().min(content.len());
        let length = buffer.len().min(content.len() - start);
        buffer[..length].copy_from_slice(&content[start..start + length]);
        Ok(length)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // Now and then the disk would have to be waited for.
        if self.disk.random().is_multiple_of(4) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.read_at(buffer, offset)? {
            length if length == buffer.len() => Ok(length),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let outcome = self.disk.operate(&mut state, true);
        // A write that fails, or whose process dies, may be half done.
        let length = match &outcome {
            Ok(()) => bytes.len(),
            Err(_) if state.process <= self.disk.process + 1 => {
                usize::try_from(state.random.below(bytes.len() as u64 + 1)).unwrap()
            }
            Err(_) => 0,
        };
        let dead = state.process > self.disk.process + 1;
        if !dead && length > 0 {
            let start = usize::try_from(offset).unwrap();
            let content = state.inodes.get_mut(&self.inode).unwrap();
            content.lost.retain(|sector| *sector < start / SECTOR || *sector > (start + length - 1) / SECTOR);
            let content = &mut content.now;
            if content.len() < start + length {
                content.resize(start + length, 0);
            }
            content[start..start + length].copy_from_slice(&bytes[..length]);
        }
        outcome
    }

    fn size(&self) -> io::Result<u64> {
        let state = self.disk.state.lock();
        self.disk.alive(&state)?;
        Ok(state.inodes[&self.inode].now.len() as u64)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.disk.operate(&mut state, false)?;
        let size = usize::try_from(size).unwrap();
        let content = state.inodes.get_mut(&self.inode).unwrap();
        content.now.resize(size, 0);
        content.lost.retain(|sector| sector * SECTOR < size);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.syncs += 1;
        let outcome = self.disk.operate(&mut state, false);
        let state = &mut *state;
        let content = state.inodes.get_mut(&self.inode).unwrap();
        let differs = |sector: &usize| {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(content.now.len());
            content.durable.get(range.clone()) != content.now.get(range)
        };
        if outcome.is_ok() {
            let kept: Vec<usize> = content.lost.iter().copied().collect();
            let old = std::mem::replace(&mut content.durable, content.now.clone());
            for byte in kept.iter().flat_map(|sector| sector * SECTOR..(sector + 1) * SECTOR) {
                if let Some(place) = content.durable.get_mut(byte) {
                    *place = old.get(byte).copied().unwrap_or(0);
                }
            }
        } else if state.process == self.disk.process {
            content.lost = (0..content.now.len().div_ceil(SECTOR)).filter(differs).collect();
        }
        outcome
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.take(true)
    }

    fn lock(&self) -> io::Result<()> {
        self.must_take(true)
    }

    fn lock_shared(&self) -> io::Result<()> {
        self.must_take(false)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        self.disk.alive(&state)?;
        if let Some(holders) = state.locks.get_mut(&self.inode) {
            holders.retain(|(handle, _)| *handle != self.handle);
        }
        Ok(())
    }
}
