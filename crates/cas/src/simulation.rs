//! Seeded runs of the store over a disk that fails: first faults, then a reopened store that must have everything.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use buildnet_digest::{Digest, DigestFunction, reapi};
use bytes::Bytes;

use crate::cached::Cached;
use crate::disk::{Disk as _, Open};
use crate::options::{Durability, StoreOptions};
use crate::sim::{Fault, Random, SimDisk};
use crate::store::Store;
use crate::table::Table;

/// Seeds of each simulation; `BUILDNET_SIM_SEEDS` sets another number for a long run.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("BUILDNET_SIM_SEEDS").map_or(40, |text| text.parse().expect("a number of seeds"))
}

const FUNCTION: DigestFunction = DigestFunction::Blake3;

/// What the store has promised.
#[derive(Debug, Default)]
struct Model {
    acknowledged: BTreeMap<Digest, Bytes>,
    /// Refused or cut off by a fault: may be there or not, but whole.
    attempted: BTreeMap<Digest, Bytes>,
    /// By action: the last acknowledged state, and those attempted since. `None` is removed.
    actions: BTreeMap<Digest, (Option<i32>, Vec<Option<i32>>)>,
    serial: u64,
}

impl Model {
    fn blob(&mut self, random: &mut Random) -> (Digest, Bytes) {
        self.serial += 1;
        let length = match random.below(20) {
            0 => 66_000 + random.below(600_000),
            1..=4 => random.below(20_000),
            _ => random.below(2_000),
        };
        let mut bytes = format!("{}:", self.serial).into_bytes();
        let noisy = random.below(2) == 0;
        bytes.extend((0..length).map(|_| if noisy { random.next().to_le_bytes()[0] } else { b'x' }));
        (FUNCTION.digest(&bytes), bytes.into())
    }

    fn settle(&mut self, item: (Digest, Bytes), acknowledged: bool) {
        if acknowledged {
            self.acknowledged.insert(item.0, item.1);
        } else {
            self.attempted.insert(item.0, item.1);
        }
    }
}

fn result(exit_code: i32) -> reapi::ActionResult {
    reapi::ActionResult { exit_code, ..reapi::ActionResult::default() }
}

/// Stores a batch in one of the two ways.
fn put_or_submit(store: &Store, random: &mut Random, items: &[(Digest, Bytes)]) -> Vec<Result<(), crate::CasError>> {
    if random.below(2) == 0 {
        return store.put_batch(items);
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    match store.submit_batch(items, move |results| sender.send(results).unwrap()) {
        Ok(()) => receiver.recv().unwrap(),
        Err(_) => store.put_batch(items),
    }
}

fn act(store: &Store, model: &mut Model, random: &mut Random) {
    match random.below(10) {
        0..=3 => {
            let item = model.blob(random);
            let done = store.put_expected(&item.0, &item.1).is_ok();
            model.settle(item, done);
        }
        4 | 5 => {
            let items: Vec<_> = (0..random.below(12)).map(|_| model.blob(random)).collect();
            let results = put_or_submit(store, random, &items);
            for (item, result) in items.into_iter().zip(results) {
                model.settle(item, result.is_ok());
            }
        }
        6 | 7 => {
            let action = FUNCTION.digest(&[u8::try_from(random.below(8)).unwrap()]);
            let code = i32::try_from(random.below(1000)).unwrap();
            let remove = random.below(5) == 0;
            let known = model.actions.entry(action).or_default();
            let submit = random.below(2) == 0;
            let note = code.to_string().into_bytes();
            let (done, state) = if submit && !remove {
                let (sender, receiver) = std::sync::mpsc::channel();
                store.submit_action_result(&action, &result(code), &note, move |done| sender.send(done).unwrap());
                (receiver.recv().unwrap().is_ok(), Some(code))
            } else if remove {
                (store.remove_action_result(&action).is_ok(), None)
            } else {
                (store.put_noted_result(&action, &result(code), &note).is_ok(), Some(code))
            };
            if done { *known = (state, Vec::new()) } else { known.1.push(state) }
        }
        _ => {
            let known: Vec<_> = model.acknowledged.iter().collect();
            if let Some((digest, bytes)) = known.get(usize::try_from(random.below(1 + known.len() as u64)).unwrap()) {
                assert!(store.read_cached(digest).is_none_or(|read| read == **bytes), "{digest}");
                // A dead process reads nothing, and a living one nothing wrong.
                if let Ok(read) = store.read(digest) {
                    assert_eq!(read.as_ref(), Some(*bytes), "{digest}");
                }
            }
        }
    }
}

/// The note of each action's result.
fn notes(store: &Store) -> BTreeMap<Digest, String> {
    let mut notes = BTreeMap::new();
    let mut keep = |action: &Digest, note: Bytes| {
        let known = notes.insert(*action, String::from_utf8(note.into()).unwrap());
        assert_eq!(known, None, "{action} was told twice");
    };
    store.notes(&mut keep).unwrap();
    notes
}

fn check(store: &Store, model: &Model) {
    for (digest, bytes) in &model.acknowledged {
        assert!(store.contains(digest).unwrap(), "acknowledged {digest} is gone");
        assert_eq!(store.read(digest).unwrap().as_ref(), Some(bytes), "acknowledged {digest}");
        assert!(store.read_cached(digest).is_none_or(|read| read == bytes), "acknowledged {digest}");
    }
    for (digest, bytes) in &model.attempted {
        let there = store.contains(digest).unwrap();
        let read = store.read(digest).unwrap();
        assert_eq!(there, read.is_some(), "{digest} is half there");
        assert!(read.is_none_or(|read| read == bytes), "{digest} is wrong");
    }
    let notes = notes(store);
    for (action, (last, attempted)) in &model.actions {
        let found = store.action_result(action).unwrap().map(|result| result.exit_code);
        match store.action_result_cached(action) {
            Cached::Found(result) => assert_eq!(Some(result.exit_code), found, "{action}"),
            Cached::Absent => assert_eq!(found, None, "{action}"),
            Cached::Unknown => {}
        }
        assert!(found == *last || attempted.contains(&found), "{found:?} is neither {last:?} nor of {attempted:?}");
        assert_eq!(notes.get(action), found.map(|code| code.to_string()).as_ref(), "a result without its note");
    }
    assert_eq!(store.find_missing(&[FUNCTION.digest(b"never")]).unwrap().len(), 1);
    let stats = store.stats().unwrap();
    assert!(stats.blobs <= (model.acknowledged.len() + model.attempted.len()) as u64, "{stats:?}");
}

fn options(durability: Durability) -> StoreOptions {
    StoreOptions { durability, max_bytes: 1 << 40, grace: Duration::ZERO, ..StoreOptions::default() }
}

/// Faults, deaths and power losses, then everything acknowledged is there.
fn survive(seed: u64) {
    let mut random = Random(seed);
    let mut disk = SimDisk::new(seed);
    let mut model = Model::default();
    for round in 0..4 {
        let Ok(store) = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)) else {
            panic!("seed {seed}: cannot open in round {round}")
        };
        check(&store, &model);
        // Now and then two processes at once.
        let second = (random.below(3) == 0)
            .then(|| Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap());
        let at = random.below(400);
        disk.set_fault(Some(match random.below(3) {
            0 => Fault::Io(at),
            1 => Fault::Full(at),
            _ => Fault::Kill(at),
        }));
        for _ in 0..random.below(60) {
            let store = second.as_ref().filter(|_| random.below(2) == 0).unwrap_or(&store);
            act(store, &mut model, &mut random);
            disk.advance(Duration::from_millis(random.below(3000)));
        }
        disk = if random.below(3) == 0 { disk.kill() } else { disk.crash() };
    }
    let store = Store::open_on(Arc::new(disk), options(Durability::Synced)).unwrap();
    check(&store, &model);
    let item = model.blob(&mut random);
    store.put_expected(&item.0, &item.1).expect("a healed store takes blobs");
    assert_eq!(store.stats().unwrap().corrupted, 0, "a crash is no corruption");
}

#[test]
fn acknowledged_blobs_survive_faults_and_power_loss() {
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| survive(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_full_disk_heals() {
    for seed in seeds() {
        let disk = SimDisk::new(seed);
        let store = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
        let (mut random, mut model) = (Random(seed), Model::default());
        for _ in 0..6 {
            disk.set_fault(Some(Fault::Full(random.below(60))));
            for _ in 0..15 {
                let item = model.blob(&mut random);
                let put = store.put_expected(&item.0, &item.1);
                if let Err(error) = &put {
                    assert!(matches!(error, crate::CasError::DiskFull { .. }), "seed {seed}: {error}");
                }
                model.settle(item, put.is_ok());
            }
            disk.set_fault(None);
            let item = model.blob(&mut random);
            store.put_expected(&item.0, &item.1).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            model.settle(item, true);
        }
        check(&store, &model);
        let again = Store::open_on(Arc::new(disk.crash()), options(Durability::Synced)).unwrap();
        check(&again, &model);
    }
}

#[test]
fn a_failed_sync_closes_the_store_for_writing() {
    let mut closed = 0;
    for at in 0..40 {
        let disk = SimDisk::new(at);
        let store = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
        let before = store.put_bytes(FUNCTION, b"before").unwrap();
        disk.set_fault(Some(Fault::Io(at)));
        let puts: Vec<bool> =
            (0..20).map(|number| store.put_bytes(FUNCTION, format!("blob {number}").as_bytes()).is_ok()).collect();
        // A failure that may have lost a write is the last thing that happens; one of a sidecar loses nothing.
        let Some(first) = puts.iter().position(|done| !done) else { continue };
        assert!(puts[first..].iter().all(|done| !done), "{puts:?}");
        let refused = store.put_action_result(&before, &result(0));
        assert!(matches!(refused, Err(crate::CasError::Latched { .. })), "{refused:?}");
        assert_eq!(store.read(&before).unwrap().as_deref(), Some(&b"before"[..]), "reading goes on");
        closed += 1;
    }
    assert!(closed > 10, "{closed} of 40");
}

/// Flipped bits anywhere: what comes back is right, or nothing.
fn rot(seed: u64) {
    let mut random = Random(seed);
    let disk = SimDisk::new(seed);
    let mut model = Model::default();
    let store = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
    for _ in 0..60 {
        act(&store, &mut model, &mut random);
    }
    drop(store);
    for _ in 0..=random.below(6) {
        let suffix = [".seg", ".use", ".table", ""][usize::try_from(random.below(4)).unwrap()];
        // The format and the locks are not content.
        if suffix.is_empty() || disk.rot(suffix).is_none() {
            disk.rot(".seg");
        }
    }
    let disk = if random.below(2) == 0 { disk.kill() } else { disk.crash() };
    let store = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
    let mut lost = 0;
    for (digest, bytes) in &model.acknowledged {
        if let Some(read) = store.read(digest).unwrap() {
            assert_eq!(read, bytes);
        } else {
            lost += 1;
            assert!(!store.contains(digest).unwrap(), "{digest} is known to be corrupted");
            store.put_expected(digest, bytes).unwrap();
        }
    }
    assert!(lost <= 40, "{lost} blobs lost to a few flipped bits");
    let notes = notes(&store);
    for action in model.actions.keys() {
        // Damage may bring an older result back, which the action gave too; never one that nobody stored.
        let found = store.action_result(action).unwrap();
        let note = found.as_ref().map(|found| found.exit_code.to_string());
        assert!(notes.get(action).is_none_or(|known| Some(known) == note.as_ref()), "a result with another's note");
        assert!(found.is_none_or(|found| found == result(found.exit_code) && (0..1000).contains(&found.exit_code)));
    }
    // Verification also finds damage that reading does not meet, in the headers of records.
    store.verify(&mut |_, _| {}).unwrap();
    for (digest, bytes) in &model.acknowledged {
        store.put_expected(digest, bytes).unwrap();
    }
    drop(store);
    let store = Store::open_on(Arc::new(disk.kill()), options(Durability::Synced)).unwrap();
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().corrupted, [], "verification heals");
    for (digest, bytes) in &model.acknowledged {
        assert_eq!(store.read(digest).unwrap().as_ref(), Some(bytes), "healed by storing again");
    }
}

#[test]
fn corrupted_content_is_never_served() {
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| rot(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}

/// Two processes write beyond the bound, while one holds a lease: what it used since is there.
fn lease(seed: u64) -> u64 {
    let mut random = Random(seed);
    let disk = SimDisk::new(seed);
    let bounded = StoreOptions { max_bytes: 600 << 10, ..options(Durability::Relaxed) };
    let builder = Store::open_on(Arc::new(disk.clone()), bounded.clone()).unwrap();
    let other = Store::open_on(Arc::new(disk.clone()), bounded).unwrap();
    let mut before = Model::default();
    for _ in 0..20 {
        let item = before.blob(&mut random);
        other.put_expected(&item.0, &item.1).unwrap();
        before.settle(item, true);
        disk.advance(Duration::from_millis(random.below(1500)));
    }
    let held = builder.lease().unwrap();
    let mut promised: BTreeMap<Digest, Bytes> = BTreeMap::new();
    let mut evicted = 0;
    for step in 0..60 {
        match random.below(6) {
            0 => {
                let item = before.blob(&mut random);
                builder.put_expected(&item.0, &item.1).unwrap();
                promised.insert(item.0, item.1);
            }
            1 | 2 => {
                let known: Vec<_> = before.acknowledged.iter().collect();
                let (digest, bytes) = known[usize::try_from(random.below(known.len() as u64)).unwrap()];
                if builder.contains(digest).unwrap() {
                    promised.insert(*digest, bytes.clone());
                }
            }
            3 => {
                evicted += other.gc(Some(100 << 10), None).unwrap().removed;
            }
            4 if step % 7 == 0 => {
                evicted += other.clear().unwrap().removed;
            }
            _ => {
                let item = before.blob(&mut random);
                other.put_expected(&item.0, &item.1).unwrap();
                before.settle(item, true);
            }
        }
        disk.advance(Duration::from_millis(random.below(1500)));
        for (digest, bytes) in &promised {
            assert_eq!(builder.read(digest).unwrap().as_ref(), Some(bytes), "step {step}: {digest} was promised");
        }
    }
    drop(held);
    disk.advance(Duration::from_secs(5));
    builder.clear().unwrap();
    other.clear().unwrap();
    let fresh = Store::open_on(Arc::new(disk.kill()), options(Durability::Relaxed)).unwrap();
    assert_eq!(fresh.stats().unwrap().blobs, 0, "a dropped lease holds nothing");
    evicted
}

#[test]
fn leases_hold_what_is_used() {
    let mut evicted = 0;
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| lease(seed));
        evicted += run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(evicted > 100, "{evicted}");
}

/// Two handles on one store, of which only one was told that what it wrote is durable: that is, and nothing else is wrong.
fn share(seed: u64) {
    let mut random = Random(seed);
    let mut disk = SimDisk::new(seed);
    let mut model = Model::default();
    for _ in 0..4 {
        let relaxed = Store::open_on(Arc::new(disk.clone()), options(Durability::Relaxed)).unwrap();
        let synced = relaxed.with_durability(Durability::Synced);
        check(&relaxed, &model);
        for _ in 0..random.below(80) {
            let item = if random.below(8) == 0 && !model.attempted.is_empty() {
                // What was not durable becomes so when it is stored again.
                let at = usize::try_from(random.below(model.attempted.len() as u64)).unwrap();
                let (digest, bytes) = model.attempted.iter().nth(at).unwrap();
                (*digest, bytes.clone())
            } else {
                model.blob(&mut random)
            };
            // A large blob that was not synced may be torn, which is found when it is read.
            if random.below(2) == 0 && item.0.size() <= 65_536 {
                relaxed.put_expected(&item.0, &item.1).unwrap();
                if !model.acknowledged.contains_key(&item.0) {
                    model.settle(item, false);
                }
            } else {
                for result in put_or_submit(&synced, &mut random, std::slice::from_ref(&item)) {
                    result.unwrap();
                }
                model.attempted.remove(&item.0);
                model.settle(item, true);
            }
        }
        for (digest, bytes) in model.attempted.iter().chain(&model.acknowledged) {
            if synced.contains(digest).unwrap() {
                assert_eq!(synced.read(digest).unwrap().as_ref(), Some(bytes), "both see what either wrote");
            }
        }
        disk = disk.crash();
    }
}

#[test]
fn handles_of_one_store_keep_their_promises() {
    // Two stores' worth of checks each: every other seed is enough here.
    for seed in seeds().step_by(2) {
        let run = std::panic::catch_unwind(|| share(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}

/// A store that was filled over several segments, and what it holds.
fn filled(disk: &SimDisk, random: &mut Random) -> Model {
    let store = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
    let mut model = Model::default();
    for _ in 0..150 {
        act(&store, &mut model, random);
    }
    check(&store, &model);
    model
}

fn names(disk: &SimDisk, dir: &str, suffix: &str) -> Vec<String> {
    let mut names = disk.list(Path::new(dir)).unwrap();
    names.retain(|name| name.ends_with(suffix));
    names
}

#[test]
fn damaged_indexes_are_made_anew_from_the_segments() {
    let mut tables = 0;
    for seed in seeds() {
        let mut random = Random(seed);
        let disk = SimDisk::new(seed);
        let mut model = filled(&disk, &mut random);
        tables += names(&disk, "/cache/tables", ".table").len();
        for _ in 0..=random.below(3) {
            disk.rot(".table");
        }
        let disk = if random.below(2) == 0 { disk.kill() } else { disk.crash() };
        let store = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
        check(&store, &model);
        // A writer takes the segments over that no table covers any more, and writes tables for them.
        for _ in 0..60 {
            act(&store, &mut model, &mut random);
        }
        drop(store);
        let store = Store::open_on(Arc::new(disk.kill()), options(Durability::Synced)).unwrap();
        check(&store, &model);
        assert_eq!(store.stats().unwrap().corrupted, 0, "seed {seed}: a damaged table was left");
    }
    assert!(tables > 40, "{tables} tables were there to be damaged");
}

#[test]
fn tables_of_the_old_format_are_read_and_merged() {
    let dir = Path::new("/cache/tables");
    let mut converted = 0;
    for seed in seeds() {
        let mut random = Random(seed);
        let disk = SimDisk::new(seed);
        let mut model = filled(&disk, &mut random);
        for name in names(&disk, "/cache/tables", ".table") {
            let table = Table::load(&disk, dir, &name).unwrap().unwrap();
            let bytes = table.in_old_format(&disk, Path::new("/cache/segments"));
            let file = disk.open(&dir.join(&name), Open::Write).unwrap();
            file.truncate(0).unwrap();
            file.write_at(&bytes, 0).unwrap();
            file.sync().unwrap();
            converted += 1;
        }
        let disk = disk.crash();
        let store = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
        check(&store, &model);
        for _ in 0..60 {
            act(&store, &mut model, &mut random);
        }
        drop(store);
        let store = Store::open_on(Arc::new(disk.crash()), options(Durability::Synced)).unwrap();
        check(&store, &model);
        assert_eq!(store.stats().unwrap().corrupted, 0, "seed {seed}");
    }
    assert!(converted > 40, "{converted} tables were in the old format");
}

#[test]
fn what_eviction_moves_survives_power_loss() {
    let mut moved = 0_u64;
    for seed in seeds() {
        let mut random = Random(seed);
        let disk = SimDisk::new(seed);
        let synced = Store::open_on(Arc::new(disk.clone()), options(Durability::Synced)).unwrap();
        let mut model = Model::default();
        for _ in 0..200 {
            let item = model.blob(&mut random);
            synced.put_expected(&item.0, &item.1).unwrap();
            model.settle(item, true);
            disk.advance(Duration::from_millis(random.below(1500)));
        }
        // Another process evicts, which itself promises nothing.
        let relaxed = Store::open_on(Arc::new(disk.clone()), options(Durability::Relaxed)).unwrap();
        let before = names(&disk, "/cache/segments", ".seg");
        let bytes = relaxed.stats().unwrap().disk_bytes;
        relaxed.gc(Some(bytes * (5 + random.below(4)) / 10), None).unwrap();
        let after = names(&disk, "/cache/segments", ".seg");
        moved += before.iter().filter(|name| !after.contains(name)).count() as u64;
        model.acknowledged.retain(|digest, _| synced.contains(digest).unwrap());
        assert!(!model.acknowledged.is_empty());
        let store = Store::open_on(Arc::new(disk.crash()), options(Durability::Synced)).unwrap();
        for (digest, bytes) in &model.acknowledged {
            assert_eq!(store.read(digest).unwrap().as_ref(), Some(bytes), "seed {seed}: {digest} was not evicted");
        }
    }
    assert!(moved >= seeds().end / 4, "{moved} segments were emptied");
}
