//! An object store behind the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use buildnet_reapi::{Backing, Removal};
use buildnet_tiers::{Backend, Credentials, Failure, S3Backend, S3Location, Sweep, Trouble};
use tempfile::TempDir;

use crate::support::{FUNCTION, KEY, Local, SECRET, noise, object_store, tier};

struct Bucket {
    root: TempDir,
    endpoint: String,
}

impl Bucket {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("builds")).unwrap();
        let endpoint = object_store(root.path()).await;
        Self { root, endpoint }
    }

    fn backend(&self, bucket: &str, secret: &str) -> S3Backend {
        let credentials = Credentials { keys: Some((KEY.to_owned(), secret.to_owned())), ..Credentials::default() };
        let address = format!("s3://{bucket}/team/cache?endpoint={}", self.endpoint);
        S3Backend::new(S3Location::parse(&address, &credentials).unwrap(), &credentials).unwrap()
    }

    /// Files of objects whose path contains a text, the largest first.
    fn objects(&self, containing: &str) -> Vec<PathBuf> {
        fn walk(at: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(at).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), found);
                } else {
                    found.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.root.path().join("builds"), &mut found);
        found.retain(|path| path.to_string_lossy().contains(containing));
        found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_machine_writes_another_one_reads() {
    let bucket = Bucket::new().await;
    let (one, other) = (Local::new(), Local::new());
    let (key, result) = one.fill("main", 1);
    let (writing, told) = tier(bucket.backend("builds", SECRET), |_| {});
    writing.publish(&one.store, key.clone(), &result);
    writing.idle().await;
    assert_eq!((writing.stats().written, writing.stats().dropped), (1, 0), "{}", told.text());
    assert_eq!(bucket.objects("team/cache/ac/sha256").len(), 1);
    assert_eq!(bucket.objects("team/cache/cas/sha256").len(), 6);

    let (reading, told) = tier(bucket.backend("builds", SECRET), |_| {});
    assert!(reading.pull_result(&other.store, &key).await, "{}", told.text());
    assert_eq!(other.store.action_result(&key.key).unwrap(), Some(result.clone()));
    let (unknown, _) = Local::new().fill("main", 2);
    assert!(!reading.pull_result(&other.store, &unknown).await);
    assert_eq!((reading.stats().hits, reading.stats().misses, reading.stats().failures), (1, 1, 0));

    // What is there is not sent again.
    let before = writing.stats().written_bytes;
    writing.publish(&one.store, key.clone(), &result);
    writing.idle().await;
    assert_eq!((writing.stats().written, writing.stats().written_bytes), (2, before));

    assert_eq!(writing.forget(&key).await, Removal::Removed);
    assert_eq!(writing.forget(&key).await, Removal::Absent);
    assert!(!reading.pull_result(&Local::new().store, &key).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_objects_are_not_used_and_make_room_for_right_ones() {
    let bucket = Bucket::new().await;
    let (one, other) = (Local::new(), Local::new());
    let (key, result) = one.fill("main", 1);
    let (tier, told) = tier(bucket.backend("builds", SECRET), |options| options.failures = 100);
    tier.publish(&one.store, key.clone(), &result);
    tier.idle().await;
    let large = bucket.objects("cas").remove(0);
    let small = bucket.objects("cas").pop().unwrap();
    for damaged in [large, small] {
        let mut content = fs::read(&damaged).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(&damaged, content).unwrap();
        let fresh = Local::new();
        assert!(!tier.pull_result(&fresh.store, &key).await);
        assert_eq!(fresh.store.action_result(&key.key).unwrap(), None);
        assert!(told.text().contains("other content"), "{}", told.text());
        assert!(!damaged.exists(), "it is taken away");
        tier.publish(&one.store, key.clone(), &result);
        tier.idle().await;
        assert!(damaged.exists(), "and written anew");
    }
    // A truncated one, and a result that is no result.
    let large = bucket.objects("cas").remove(0);
    fs::File::options().write(true).open(&large).unwrap().set_len(1000).unwrap();
    assert!(!tier.pull_result(&other.store, &key).await);
    tier.publish(&one.store, key.clone(), &result);
    tier.idle().await;
    let entry = bucket.objects("/ac/").remove(0);
    let good = fs::read(&entry).unwrap();
    for bad in [&b""[..], b"short", &good[1..], &[b"x", &good[1..]].concat()] {
        fs::write(&entry, bad).unwrap();
        assert!(!tier.pull_result(&other.store, &key).await);
    }
    fs::write(&entry, good).unwrap();
    assert!(tier.pull_result(&other.store, &key).await, "{}", told.text());
    assert_eq!(other.store.action_result(&key.key).unwrap(), Some(result));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_missing_buckets_are_told_once() {
    let bucket = Bucket::new().await;
    let local = Local::new();
    let (key, result) = local.fill("main", 1);
    let (intruder, told) = tier(bucket.backend("builds", "wrong"), |_| {});
    for _ in 0..5 {
        assert!(!intruder.pull_result(&Local::new().store, &key).await);
    }
    assert_eq!(
        told.count(|trouble| matches!(trouble, Trouble::Suspended(error) if error.failure == Failure::Denied)),
        1
    );
    assert!(told.text().contains("AWS_SECRET_ACCESS_KEY"), "{}", told.text());
    assert!(!told.text().contains("X-Amz"), "signatures are secrets: {}", told.text());

    let (lost, told) = tier(bucket.backend("elsewhere", SECRET), |_| {});
    lost.publish(&local.store, key.clone(), &result);
    lost.idle().await;
    assert_eq!(told.count(|trouble| matches!(trouble, Trouble::ReadOnly(_))), 1, "{}", told.text());
    assert_eq!(lost.stats().dropped, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeping_by_age_and_size() {
    let bucket = Bucket::new().await;
    let local = Local::new();
    let (tier, told) = tier(bucket.backend("builds", SECRET), |_| {});
    for seed in 0..3 {
        let (key, result) = local.fill("main", seed);
        tier.publish(&local.store, key, &result);
    }
    tier.idle().await;
    assert_eq!(tier.stats().written, 3, "{}", told.text());
    fs::create_dir_all(bucket.root.path().join("builds/other")).unwrap();
    fs::write(bucket.root.path().join("builds/other/object"), "not ours").unwrap();
    let backend = bucket.backend("builds", SECRET);
    let nothing = backend.sweep(Sweep::default(), &|_, _| {}).await.unwrap();
    assert_eq!((nothing.objects, nothing.removed), (21, 0));
    // One large blob was written long ago.
    let old = bucket.objects("cas").remove(0);
    let then = SystemTime::now() - Duration::from_hours(24 * 40);
    fs::File::options().write(true).open(&old).unwrap().set_modified(then).unwrap();
    let by_age = Sweep { max_age: Some(Duration::from_hours(24 * 30)), ..Sweep::default() };
    let told = backend.sweep(Sweep { dry_run: true, ..by_age }, &|_, _| {}).await.unwrap();
    assert_eq!((told.removed, told.removed_bytes, old.exists()), (1, 3 << 20, true));
    assert_eq!(backend.sweep(by_age, &|_, _| {}).await.unwrap(), told);
    assert!(!old.exists());
    let by_size = Sweep { max_bytes: Some(4 << 20), ..Sweep::default() };
    backend.sweep(by_size, &|_, _| {}).await.unwrap();
    let left: u64 = bucket.objects("team/").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(left <= 4 << 20, "{left}");
    assert!(bucket.root.path().join("builds/other/object").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_does_not_grow_old() {
    let bucket = Bucket::new().await;
    let local = Local::new();
    let (key, result) = local.fill("main", 1);
    let (tier, _) = tier(bucket.backend("builds", SECRET), |_| {});
    tier.publish(&local.store, key.clone(), &result);
    tier.idle().await;
    let blob = bucket.objects("cas").remove(0);
    let then = SystemTime::now() - Duration::from_hours(24 * 20);
    fs::File::options().write(true).open(&blob).unwrap().set_modified(then).unwrap();
    tier.publish(&local.store, key, &result);
    tier.idle().await;
    let age = fs::metadata(&blob).unwrap().modified().unwrap().elapsed().unwrap_or_default();
    assert!(age < Duration::from_hours(1), "it was written again");
}

impl Bucket {
    /// Parts of uploads that were neither completed nor aborted.
    fn parts(&self) -> usize {
        let names = fs::read_dir(self.root.path()).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().contains(".part-")).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_go_in_parts_and_come_back_whole() {
    let bucket = Bucket::new().await;
    let (one, other) = (Local::new(), Local::new());
    let (key, mut result) = one.fill("main", 1);
    // Not a multiple of the parts, one that is, and one that is a single part.
    for (index, size) in [(5 << 20) * 2 + 77_777, (5 << 20) * 2, 5 << 20].into_iter().enumerate() {
        let blob = noise(u32::try_from(index).unwrap() + 7, size);
        let digest = one.store.put_bytes(FUNCTION, &blob).unwrap();
        result.output_files.push(buildnet_digest::reapi::OutputFile {
            path: format!("huge{index}"),
            digest: Some(digest.to_reapi()),
            ..Default::default()
        });
    }
    one.store.put_action_result(&key.key, &result).unwrap();
    let (writing, told) = tier(bucket.backend("builds", SECRET).with_part_size(1), |_| {});
    writing.publish(&one.store, key.clone(), &result);
    writing.idle().await;
    assert_eq!((writing.stats().written, bucket.parts()), (1, 0), "{}", told.text());
    let (reading, told) = tier(bucket.backend("builds", SECRET), |_| {});
    assert!(reading.pull_result(&other.store, &key).await, "{}", told.text());
    assert_eq!(other.store.action_result(&key.key).unwrap(), Some(result));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_that_ends_early_leaves_nothing() {
    let bucket = Bucket::new().await;
    let backend = bucket.backend("builds", SECRET).with_part_size(1);
    let blob = noise(1, 12 << 20);
    let digest = FUNCTION.digest(&blob);
    let send = |bytes: usize| {
        let (sender, pieces) = tokio::sync::mpsc::channel(4);
        let blob = blob.slice(..bytes);
        let sending = tokio::spawn(async move {
            for start in (0..blob.len()).step_by(300_000) {
                let piece = blob.slice(start..blob.len().min(start + 300_000));
                if sender.send(piece).await.is_err() {
                    return sender;
                }
            }
            sender
        });
        (sending, pieces)
    };
    let settled = async || {
        while bucket.parts() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // The pieces end in the third part.
    let (sending, pieces) = send(11 << 20);
    let ending = tokio::spawn(async move { drop(sending.await) });
    let failed = backend.write_pieces(&digest, pieces).await.unwrap_err();
    assert_eq!(failed.failure, Failure::Local, "{failed}");
    ending.await.unwrap();
    settled().await;
    // Nobody waits for it any more, when two parts are there.
    let (sending, pieces) = send(11 << 20);
    let writing = backend.write_pieces(&digest, pieces);
    let given_up = async {
        while bucket.parts() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = writing => panic!("{outcome:?}"),
        () = given_up => {}
    }
    drop(sending);
    settled().await;
    assert_eq!(bucket.objects("team"), [] as [PathBuf; 0]);
}
