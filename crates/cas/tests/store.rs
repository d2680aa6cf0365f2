//! What a store does for one process.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use buildnet_cas::{CasError, Durability, Sharing, Store, StoreOptions};
use buildnet_digest::{Diagnostic, Digest, DigestFunction, reapi};
use bytes::Bytes;
use prost::Message;

const FUNCTION: DigestFunction = DigestFunction::Blake3;

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn blobs_of_all_sizes_and_functions_come_back() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::Relaxed, Durability::Synced] {
        let store = Store::open(dir.path(), StoreOptions { durability, ..StoreOptions::default() }).unwrap();
        for function in DigestFunction::ALL {
            for size in [0, 1, 255, 4096, 65_536, 65_537, 262_144, 262_145, 1_000_000] {
                for bytes in [vec![b'a'; size], noise(size as u64, size)] {
                    let digest = store.put_bytes(function, &bytes).unwrap();
                    assert_eq!(digest, function.digest(&bytes));
                    assert!(store.contains(&digest).unwrap());
                    assert_eq!(store.read(&digest).unwrap().unwrap(), bytes);
                    let other = open(dir.path());
                    assert_eq!(other.read(&digest).unwrap().unwrap(), bytes, "{digest} in another process");
                }
            }
        }
    }
    assert_eq!(open(dir.path()).stats().unwrap().corrupted, 0);
}

#[test]
fn ranges_and_streams() {
    let dir = tempfile::tempdir().unwrap();
    for (index, compress_large) in [false, true].into_iter().enumerate() {
        let options = StoreOptions { compress_large, ..StoreOptions::default() };
        let store = Store::open(&dir.path().join(index.to_string()), options).unwrap();
        let content: Vec<u8> = (0..700_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let digest = FUNCTION.digest(&content);
        let mut writer = store.writer(digest).unwrap();
        for part in content.chunks(10_007) {
            writer.write_all(part).unwrap();
        }
        writer.commit().unwrap();
        let mut reader = store.open_blob(&digest).unwrap().unwrap();
        for (offset, limit) in
            [(0, 10), (262_140, 10), (262_144, 400_000), (2_799_999, 5), (2_800_000, 5), (9 << 40, 1)]
        {
            let mut bytes = Vec::new();
            while bytes.len() < limit {
                let part = reader.read_range(offset + bytes.len() as u64, limit - bytes.len()).unwrap();
                if part.is_empty() {
                    break;
                }
                bytes.extend_from_slice(&part);
            }
            let start = usize::try_from(offset).unwrap().min(content.len());
            assert_eq!(bytes, content[start..content.len().min(start + limit)], "{offset} {limit}");
        }
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, content);
        let disk = store.stats().unwrap().disk_bytes;
        assert_eq!(disk < 1_400_000, compress_large, "{disk} bytes on disk");
    }
}

#[test]
fn other_content_than_promised_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let promised = FUNCTION.digest(b"abc");
    assert!(matches!(store.put_expected(&promised, b"abd"), Err(CasError::Mismatch { .. })));
    let mut writer = store.writer(promised).unwrap();
    assert!(writer.write_all(b"abcd").is_err(), "too long");
    drop(writer);
    let mut writer = store.writer(promised).unwrap();
    writer.write_all(b"ab").unwrap();
    assert!(matches!(writer.commit(), Err(CasError::Mismatch { .. })), "too short");
    let results =
        store.put_batch(&[(promised, Bytes::from_static(b"xyz")), (FUNCTION.digest(b"d"), Bytes::from_static(b"d"))]);
    assert!(matches!(results[0], Err(CasError::Mismatch { .. })));
    assert!(results[1].is_ok());
    assert!(!store.contains(&promised).unwrap());
    // A hash that is right with a size that is not.
    let resized = Digest::new(FUNCTION, promised.hash(), 4);
    assert!(store.put_expected(&resized, b"abc").is_err());
    assert!(std::fs::read_dir(dir.path().join("tmp")).unwrap().next().is_none(), "nothing is left behind");
}

#[test]
fn placed_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("cache"));
    let target = dir.path().join("target");
    for content in [noise(1, 100), noise(2, 300_000)] {
        let digest = store.put_bytes(FUNCTION, &content).unwrap();
        for (sharing, executable, mode) in [
            (Sharing::Private, false, 0o644),
            (Sharing::Private, true, 0o755),
            (Sharing::ReadOnly, false, 0o444),
            (Sharing::ReadOnly, false, 0o444),
            (Sharing::ReadOnly, true, 0o555),
        ] {
            assert!(store.place(&digest, &target, executable, sharing).unwrap());
            assert_eq!(std::fs::read(&target).unwrap(), content);
            let metadata = std::fs::metadata(&target).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode);
            let linked = content.len() > 65_536 && sharing == Sharing::ReadOnly && !executable;
            assert_eq!(metadata.nlink(), 1 + u64::from(linked));
        }
    }
    assert!(!store.place(&FUNCTION.digest(b"elsewhere"), &target, false, Sharing::Private).unwrap());
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn files_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("cache"));
    for content in [Vec::new(), noise(1, 100), noise(2, 65_536), noise(3, 600_000)] {
        let path = dir.path().join("file");
        std::fs::write(&path, &content).unwrap();
        let digest = store.put_file(FUNCTION, &path).unwrap();
        assert_eq!(digest, FUNCTION.digest(&content));
        // The store has a copy of its own.
        std::fs::write(&path, b"changed").unwrap();
        assert_eq!(store.read(&digest).unwrap().unwrap(), content);
    }
    assert!(store.put_file(FUNCTION, dir.path()).is_err(), "a directory");
}

fn result_of(store: &Store) -> (reapi::ActionResult, Vec<Digest>) {
    let put = |text: &str| store.put_bytes(FUNCTION, text.as_bytes()).unwrap();
    let (file, stdout, nested, deep) = (put("file"), put("stdout"), put("nested"), put("deep"));
    let node = |name: &str, digest: &Digest| reapi::FileNode {
        name: name.into(),
        digest: Some(digest.to_reapi()),
        ..reapi::FileNode::default()
    };
    let child = reapi::Directory { files: vec![node("deep", &deep)], ..reapi::Directory::default() };
    let root = reapi::Directory { files: vec![node("nested", &nested)], ..reapi::Directory::default() };
    let tree = reapi::Tree { root: Some(root), children: vec![child] };
    let tree = store.put_bytes(FUNCTION, &tree.encode_to_vec()).unwrap();
    let result = reapi::ActionResult {
        output_files: vec![reapi::OutputFile {
            path: "out".into(),
            digest: Some(file.to_reapi()),
            ..reapi::OutputFile::default()
        }],
        output_directories: vec![reapi::OutputDirectory {
            path: "dir".into(),
            tree_digest: Some(tree.to_reapi()),
            ..reapi::OutputDirectory::default()
        }],
        stdout_digest: Some(stdout.to_reapi()),
        ..reapi::ActionResult::default()
    };
    (result, vec![file, stdout, nested, deep, tree])
}

#[test]
fn action_results_are_complete_or_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (result, named) = result_of(&open(&dir.path().join("all")));
    let action = FUNCTION.digest(b"action");
    let all = open(&dir.path().join("all"));
    all.put_action_result(&action, &result).unwrap();
    assert_eq!(all.action_result(&action).unwrap(), Some(result.clone()));
    for left_out in 0..named.len() {
        let store = open(&dir.path().join(left_out.to_string()));
        for (index, digest) in named.iter().enumerate() {
            if index != left_out {
                store.put_expected(digest, &all.read(digest).unwrap().unwrap()).unwrap();
            }
        }
        store.put_action_result(&action, &result).unwrap();
        assert_eq!(store.action_result(&action).unwrap(), None, "without {left_out}");
    }
}

#[test]
fn the_latest_action_result_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let action = FUNCTION.digest(b"action");
    let result = |exit_code| reapi::ActionResult { exit_code, ..reapi::ActionResult::default() };
    assert_eq!(store.action_result(&action).unwrap(), None);
    assert!(!store.remove_action_result(&action).unwrap());
    for code in 0..5 {
        store.put_action_result(&action, &result(code)).unwrap();
        assert_eq!(store.action_result(&action).unwrap(), Some(result(code)));
        assert_eq!(open(dir.path()).action_result(&action).unwrap(), Some(result(code)));
    }
    // A blob of the same name is something else.
    assert!(!store.contains(&action).unwrap());
    assert!(store.remove_action_result(&action).unwrap());
    assert_eq!(store.action_result(&action).unwrap(), None);
    assert_eq!(open(dir.path()).action_result(&action).unwrap(), None);
    store.put_action_result(&action, &result(9)).unwrap();
    assert_eq!(open(dir.path()).action_result(&action).unwrap(), Some(result(9)));
}

#[test]
fn a_read_only_store_reads() {
    let dir = tempfile::tempdir().unwrap();
    let digests: Vec<Digest> = {
        let store = open(dir.path());
        [noise(1, 10), noise(2, 100_000)].iter().map(|bytes| store.put_bytes(FUNCTION, bytes).unwrap()).collect()
    };
    let store = Store::open(dir.path(), StoreOptions { read_only: true, ..StoreOptions::default() }).unwrap();
    for digest in &digests {
        assert!(store.contains(digest).unwrap());
        assert_eq!(store.read(digest).unwrap().unwrap().len() as u64, digest.size());
    }
    let error = store.put_bytes(FUNCTION, b"new").unwrap_err();
    assert!(matches!(error, CasError::ReadOnly { .. }));
    assert!(error.hint().is_some());
    assert!(store.gc(None, None).is_err());
    let nowhere = Store::open(&dir.path().join("none"), StoreOptions { read_only: true, ..StoreOptions::default() });
    let nowhere = nowhere.unwrap();
    assert!(!nowhere.contains(&digests[0]).unwrap());
    assert_eq!(nowhere.stats().unwrap().blobs, 0);
    assert_eq!(store.stats().unwrap().blobs, 2);
    assert!(store.verify(&mut |_, _| {}).unwrap().corrupted.is_empty());
    assert!(!dir.path().join("none").exists(), "reading creates nothing");
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("format"), "buildnet-cas 99\n").unwrap();
    let error = Store::open(dir.path(), StoreOptions::default()).unwrap_err();
    let text = format!("{error}\n{}", error.hint().unwrap()).replace(&*dir.path().to_string_lossy(), "CACHE");
    insta::assert_snapshot!(text, @r"
    CACHE has cache format `buildnet-cas 99`, but this version reads `buildnet-cas 1`
    choose another place with `--cache-dir`, or remove CACHE
    ");
}

#[test]
fn clearing_and_verifying() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (result, _) = result_of(&store);
    store.put_action_result(&FUNCTION.digest(b"action"), &result).unwrap();
    store.put_bytes(FUNCTION, &noise(1, 500_000)).unwrap();
    let mut last = (0, 0);
    let report = store.verify(&mut |done, total| last = (done, total)).unwrap();
    assert_eq!((report.blobs, report.action_results, report.incomplete), (6, 1, 0));
    assert!(report.corrupted.is_empty());
    assert_eq!(last.0, last.1);
    let report = store.clear().unwrap();
    assert_eq!((report.removed, report.kept), (7, 0));
    let stats = store.stats().unwrap();
    assert_eq!((stats.blobs, stats.action_results), (0, 0));
    assert!(stats.disk_bytes < 4096, "{stats:?}");
    assert_eq!(store.action_result(&FUNCTION.digest(b"action")).unwrap(), None);
    store.put_bytes(FUNCTION, b"again").unwrap();
    assert_eq!(store.stats().unwrap().blobs, 1);
    assert_eq!(store.gc(None, Some(Duration::from_hours(1))).unwrap().removed, 0);
}

#[test]
fn blobs_are_found_by_their_hash_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let other = open(dir.path());
    let mut known = Vec::new();
    for function in DigestFunction::ALL {
        for (seed, length) in [(1, 0), (2, 1), (3, 4000), (4, 100_000)] {
            known.push(store.put_bytes(function, &noise(seed, length)).unwrap());
        }
    }
    let absent = FUNCTION.digest(b"nobody stored this");
    // An action result under the same hash is no blob.
    store.put_action_result(&absent, &reapi::ActionResult::default()).unwrap();
    let own = FUNCTION.digest(&noise(3, 4000));
    let check = |store: &Store| {
        for digest in &known {
            assert_eq!(store.find_by_hash(digest.function(), digest.hash()).unwrap(), Some(*digest));
        }
        assert_eq!(store.find_by_hash(absent.function(), absent.hash()).unwrap(), None);
        assert_eq!(store.find_by_hash(DigestFunction::Sha256, own.hash()).unwrap(), None, "another function");
        assert_eq!(store.find_by_hash(FUNCTION, &[1, 2, 3]).unwrap(), None, "no hash");
    };
    check(&store);
    check(&other);
    // The same from the tables of sealed segments.
    store.gc(Some(u64::MAX), None).unwrap();
    drop((store, other));
    let store = open(dir.path());
    check(&store);
    store.clear().unwrap();
    assert_eq!(store.find_by_hash(FUNCTION, own.hash()).unwrap(), None, "evicted");
}

#[test]
fn submitted_blobs_and_results_are_acknowledged_and_there() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { durability: Durability::Synced, ..StoreOptions::default() };
    let store = Store::open(dir.path(), options.clone()).unwrap();
    store.load().unwrap();
    let item = |number: u64| {
        let bytes = Bytes::from(noise(number, 10 + 30 * usize::try_from(number).unwrap()));
        (FUNCTION.digest(&bytes), bytes)
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (store, sender) = (store.clone(), sender.clone());
            scope.spawn(move || {
                for number in 0..20 {
                    let items = [item(caller * 20 + number), (item(999).0, Bytes::from_static(b"something else"))];
                    let (sender, digest) = (sender.clone(), items[0].0);
                    let taken = store.submit_batch(&items, move |results| sender.send((digest, results)).unwrap());
                    assert!(taken.is_ok());
                }
            });
        }
    });
    drop(sender);
    let mut acknowledged = 0;
    for (digest, results) in receiver {
        assert!(results[0].is_ok());
        assert!(matches!(results[1], Err(CasError::Mismatch { .. })), "{:?}", results[1]);
        assert_eq!(store.read_cached(&digest), store.read(&digest).unwrap(), "just written, so in memory");
        assert!(store.read_cached(&digest).is_some() && store.find_missing_at_cached([digest]) == Some(vec![]));
        acknowledged += 1;
    }
    assert_eq!(acknowledged, 160);
    assert_eq!(store.stats().unwrap().blobs, 160);

    let (result, action) = (reapi::ActionResult { exit_code: 3, ..Default::default() }, FUNCTION.digest(b"action"));
    let (sender, receiver) = std::sync::mpsc::channel();
    store.submit_action_result(&action, &result, b"", move |done| sender.send(done).unwrap());
    receiver.recv().unwrap().unwrap();
    assert_eq!(Store::open(dir.path(), options).unwrap().action_result(&action).unwrap(), Some(result));
    let large = Bytes::from(noise(1, 100_000));
    let refused = store.submit_batch(&[(FUNCTION.digest(&large), large)], |_| unreachable!("large blobs take longer"));
    assert!(refused.is_err());
}
