//! Measures a store: `cargo run --release -p buildnet-cas --example load -- DIRECTORY [BLOBS]`.
//!
//! The directory should be new; it is left behind, for a second run over a full store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use buildnet_cas::{Durability, Sharing, Store, StoreOptions};
use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FUNCTION: DigestFunction = DigestFunction::Sha256;
const BLOB: usize = 4096;
/// Blobs in a batch of 60 KB.
const BATCH: u64 = 15;
const CALLERS: u64 = 32;

fn blob(number: u64) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(BLOB);
    while bytes.len() < BLOB {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

/// Splits `0..count` among callers and returns units per second.
fn measure(name: &str, count: u64, callers: u64, unit: &str, work: impl Fn(u64) + Sync) -> Duration {
    let next = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    work(number);
                }
            });
        }
    });
    let elapsed = start.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let rate = count as f64 / elapsed.as_secs_f64();
    println!("{name:42} {rate:>12.0} {unit}/s  ({callers} callers, {:.2} s)", elapsed.as_secs_f64());
    elapsed
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS unknown").to_owned()
}

fn open(dir: &Path, durability: Durability) -> Store {
    let options = StoreOptions { durability, max_bytes: 100 << 30, ..StoreOptions::default() };
    Store::open(dir, options).expect("the store opens")
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("usage: load DIRECTORY [BLOBS]"));
    let blobs: u64 = arguments.next().map_or(100_000, |text| text.parse().expect("a number of blobs"));
    let start = Instant::now();
    let store = open(&dir, Durability::Synced);
    println!("opened in {:?}", start.elapsed());
    let start = Instant::now();
    store.load().expect("the index loads");
    println!("index ready in {:?}; {}", start.elapsed(), resident());
    println!("{} blobs counted after {:?}", store.stats().expect("stats").blobs, start.elapsed());

    let fsync = {
        use std::io::Write;
        let path = dir.join("tmp/fsync");
        let mut file = std::fs::File::create(&path).expect("a file");
        let start = Instant::now();
        for _ in 0..50 {
            file.write_all(&[1; BLOB]).and_then(|()| file.sync_data()).expect("synced");
        }
        let _ = std::fs::remove_file(&path);
        start.elapsed() / 50
    };
    println!("one fdatasync of 4 KiB: {fsync:?}");

    let base = store.stats().expect("stats").blobs;
    let batches = blobs / BATCH;
    let elapsed = measure("batch update, 60 KB, synced", batches, CALLERS, "batches", |batch| {
        let items: Vec<(Digest, Bytes)> = (0..BATCH)
            .map(|item| {
                let bytes = blob(base + batch * BATCH + item);
                (FUNCTION.digest(&bytes), bytes)
            })
            .collect();
        assert!(store.put_batch(&items).iter().all(Result::is_ok));
    });
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let rate = (batches * BATCH) as f64 / elapsed.as_secs_f64();
    println!("{:42} {rate:>12.0} blobs/s", "");
    println!("{}", resident());

    let digests: Vec<Digest> = (base..base + batches * BATCH).map(|number| FUNCTION.digest(&blob(number))).collect();
    measure("single put, synced", 20_000, CALLERS, "blobs", |number| {
        store.put_bytes(FUNCTION, &blob(u64::MAX / 2 + base + number)).expect("stored");
    });
    measure("read, verified", digests.len() as u64, 2, "blobs", |number| {
        assert!(store.read(&digests[usize::try_from(number).expect("small")]).expect("read").is_some());
    });
    hot(&store, &digests[..2000.min(digests.len())]);
    let chunks: Vec<&[Digest]> = digests.chunks(1000).collect();
    let elapsed = measure("find_missing by 1000, present", chunks.len() as u64 * 20, 2, "calls", |number| {
        let chunk = chunks[usize::try_from(number).expect("small") % chunks.len()];
        assert!(store.find_missing(chunk).expect("found").is_empty());
    });
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let rate = (digests.len() * 20) as f64 / elapsed.as_secs_f64();
    println!("{:42} {rate:>12.0} digests/s", "");

    actions(&store, &digests);
    large(&store, base);
    drop(store);
    local(&dir, base, &digests);
}

/// What a tier in memory could save: the same blobs from the page cache, and from a map behind a lock.
fn hot(store: &Store, digests: &[Digest]) {
    let cycle = |number: u64| &digests[usize::try_from(number).expect("small") % digests.len()];
    measure("read_cached, page cache", 500_000, 1, "blobs", |number| {
        assert!(store.read_cached(cycle(number)).is_some());
    });
    let blobs = digests.iter().map(|digest| (*digest, store.read(digest).expect("read").expect("there")));
    let map: Mutex<HashMap<Digest, Bytes>> = Mutex::new(blobs.collect());
    measure("the same blobs from a map", 500_000, 1, "blobs", |number| {
        let blob = map.lock().expect("no panic").get(cycle(number)).cloned();
        // A server copies what it sends; here the page cache's copy is the first, too.
        assert!(std::hint::black_box(blob.expect("there").to_vec()).len() == BLOB);
    });
}

fn actions(store: &Store, digests: &[Digest]) {
    let result = reapi::ActionResult {
        output_files: digests[..3]
            .iter()
            .map(|digest| reapi::OutputFile {
                path: "out/file.o".into(),
                digest: Some(digest.to_reapi()),
                ..reapi::OutputFile::default()
            })
            .collect(),
        ..reapi::ActionResult::default()
    };
    let action = |number: u64| FUNCTION.digest(&number.to_le_bytes());
    measure("action result put, synced", 30_000, CALLERS, "results", |number| {
        store.put_action_result(&action(number), &result).expect("stored");
    });
    measure("action result get", 100_000, CALLERS, "results", |number| {
        assert!(store.action_result(&action(number % 30_000)).expect("read").is_some());
    });
}

fn large(store: &Store, base: u64) {
    let large: Vec<u8> = (0..1 << 14).flat_map(|number| blob(number).to_vec()).collect();
    let mebibytes = (large.len() >> 20) as u64;
    let elapsed = measure("64 MiB write, synced", 12, 4, "blobs", |number| {
        let mut bytes = large.clone();
        bytes[..8].copy_from_slice(&(base + number).to_le_bytes());
        store.put_bytes(FUNCTION, &bytes).expect("stored");
    });
    println!("{:42} {:>12} MiB/s", "", 12 * mebibytes * 1000 / u64::try_from(elapsed.as_millis()).expect("short"));
    let mut first = large.clone();
    first[..8].copy_from_slice(&base.to_le_bytes());
    let digest = FUNCTION.digest(&first);
    let elapsed = measure("64 MiB ranged read, checked", 20, 2, "blobs", |_| {
        let mut reader = store.open_blob(&digest).expect("opened").expect("there");
        let mut offset = 0;
        loop {
            let bytes = reader.read_range(offset, 1 << 20).expect("read");
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
        }
    });
    println!("{:42} {:>12} MiB/s", "", 20 * mebibytes * 1000 / u64::try_from(elapsed.as_millis()).expect("short"));
    println!("{}", resident());
}

fn local(dir: &Path, base: u64, digests: &[Digest]) {
    let local = open(dir, Durability::Relaxed);
    local.load().expect("the index loads");
    let out = dir.join("tmp/out");
    std::fs::create_dir_all(&out).expect("a directory");
    for number in 0..2_000 {
        std::fs::write(out.join(format!("in-{number}")), blob(u64::MAX / 3 + base + number)).expect("written");
    }
    let elapsed = measure("put_file 4 KiB, relaxed", 2_000, 1, "files", |number| {
        local.put_file(FUNCTION, &out.join(format!("in-{number}"))).expect("stored");
    });
    println!("{:42} {:>12?} each", "", elapsed / 2_000);
    let elapsed = measure("place 4 KiB, relaxed", 2_000, 1, "files", |number| {
        let digest = digests[usize::try_from(number).expect("small") % digests.len()];
        assert!(local.place(&digest, &out.join(number.to_string()), false, Sharing::Private).expect("placed"));
    });
    println!("{:42} {:>12?} each", "", elapsed / 2_000);
    let _ = std::fs::remove_dir_all(&out);
}
