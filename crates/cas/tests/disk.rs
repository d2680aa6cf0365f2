//! A real disk that is full, and one that damages what it holds.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use buildnet_cas::{CasError, Durability, Store, StoreOptions};
use buildnet_digest::{Digest, DigestFunction};
use bytes::Bytes;

const FUNCTION: DigestFunction = DigestFunction::Sha256;

fn open(dir: &Path) -> Store {
    let options = StoreOptions { durability: Durability::Synced, ..StoreOptions::default() };
    Store::open(dir, options).unwrap()
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Bytes {
    let blocks = (0..length.div_ceil(32) as u64)
        .flat_map(|block| DigestFunction::Blake3.digest(&[seed, block].map(u64::to_le_bytes).concat()).hash().to_vec());
    blocks.take(length).collect()
}

/// A small file system of its own, until it is dropped.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a store that a failed test still holds must not keep it.
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

fn check(store: &Store, acknowledged: &[(Digest, Bytes)]) {
    for (digest, bytes) in acknowledged {
        assert_eq!(store.read(digest).unwrap().as_ref(), Some(bytes), "acknowledged {digest}");
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let Some(disk) = SmallDisk::mount(10) else {
        eprintln!("SKIPPED: a_full_disk_refuses_and_recovers needs the right to mount (run it as root)");
        return;
    };
    let dir = disk.dir.path().join("store");
    let ballast = disk.dir.path().join("ballast");
    std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let store = open(&dir);
    let mut acknowledged = Vec::new();
    // A large blob stops in the middle, and leaves nothing.
    let large = noise(0, 16 << 20);
    let mut writer = store.writer(FUNCTION.digest(&large)).unwrap();
    assert!(writer.write_all(&large).is_err(), "16 MiB do not fit into 10");
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.join("tmp")).unwrap().count(), 0, "half a blob was left behind");
    // Batches until nothing fits any more; then single ones, of which none may be half there.
    let mut refused = Vec::new();
    for number in 1..2000 {
        let bytes = noise(number, 3000 + usize::try_from(number).unwrap());
        let item = (FUNCTION.digest(&bytes), bytes);
        match store.put_batch(std::slice::from_ref(&item)).pop().unwrap() {
            Ok(()) => acknowledged.push(item),
            Err(error) => {
                assert!(matches!(error, CasError::DiskFull { .. }), "{error}");
                refused.push(item);
            }
        }
        if refused.len() == 20 {
            break;
        }
    }
    assert_eq!(refused.len(), 20, "the disk never filled");
    check(&store, &acknowledged);
    for (digest, _) in &refused {
        assert_eq!(store.read(digest).unwrap(), None);
    }
    // Space comes back: the same store goes on, and so does one that is opened anew.
    std::fs::remove_file(&ballast).unwrap();
    for (digest, bytes) in &refused {
        store.put_expected(digest, bytes).unwrap();
    }
    acknowledged.append(&mut refused);
    check(&store, &acknowledged);
    drop(store);
    let store = open(&dir);
    check(&store, &acknowledged);
    assert!(store.verify(&mut |_, _| {}).unwrap().corrupted.is_empty());
    assert_eq!(store.stats().unwrap().corrupted, 0, "a full disk is no corruption");
}

#[test]
fn a_damaged_segment_loses_what_was_damaged_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let blobs: Vec<(Digest, Bytes)> = (0..200)
        .map(|number| {
            let bytes = noise(number, 2000);
            (FUNCTION.digest(&bytes), bytes)
        })
        .collect();
    let store = open(dir.path());
    assert!(store.put_batch(&blobs).iter().all(Result::is_ok));
    drop(store);
    // A stretch of zeros, as a disk gives for a sector that it lost, over some twenty records.
    let segments = std::fs::read_dir(dir.path().join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let segment = segments.into_iter().find(|path| path.extension().is_some_and(|name| name == "seg")).unwrap();
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&vec![0; 40_960], 100_000).unwrap();
    drop(file);
    let store = open(dir.path());
    let (mut lost, mut kept) = (Vec::new(), 0);
    for (digest, bytes) in &blobs {
        match store.read(digest).unwrap() {
            Some(read) => {
                assert_eq!(read, bytes);
                kept += 1;
            }
            None => lost.push((*digest, bytes.clone())),
        }
    }
    assert!((18..=24).contains(&lost.len()), "{} lost", lost.len());
    assert_eq!(
        store.find_missing(&blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>()).unwrap().len(),
        lost.len()
    );
    assert_eq!(store.stats().unwrap().corrupted, lost.len() as u64);
    // Stored again, everything is there, also for the next process.
    assert!(store.put_batch(&lost).iter().all(Result::is_ok));
    drop(store);
    let store = open(dir.path());
    check(&store, &blobs);
    assert_eq!((kept + lost.len(), store.stats().unwrap().blobs), (200, 200));
}

#[test]
fn a_damaged_large_blob_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = noise(7, 3 << 20);
    let digest = store.put_bytes(FUNCTION, &bytes).unwrap();
    let hash = digest.hex();
    let path = dir.path().join("large").join(&hash[..2]).join(format!("sha256-{hash}-{}", bytes.len()));
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    std::fs::set_permissions(&path, permissions).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"rot", 2 << 20).unwrap();
    let mut reader = store.open_blob(&digest).unwrap().unwrap();
    // Ranges before the damage are whole, and are served: each block has its own checksum.
    assert_eq!(reader.read_range(1 << 20, 1000).unwrap(), bytes[1 << 20..(1 << 20) + 1000]);
    assert!(reader.read_range_cached(2 << 20, 1000).is_none());
    assert!(reader.read_range(2 << 20, 1000).is_err());
    let mut whole = Vec::new();
    assert!(reader.read_to_end(&mut whole).is_err());
    assert!(store.open_blob(&digest).unwrap().is_none(), "known to be damaged");
    store.put_expected(&digest, &bytes).unwrap();
    assert_eq!(store.read(&digest).unwrap().unwrap(), bytes);
}
