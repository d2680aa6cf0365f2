//! Several processes on one directory, and their deaths.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use buildnet_cas::{Durability, Store, StoreOptions};
use buildnet_digest::{DigestFunction, reapi};

const FUNCTION: DigestFunction = DigestFunction::Blake3;
const DIRECTORY: &str = "BUILDNET_CAS_TEST_DIRECTORY";
const ROLE: &str = "BUILDNET_CAS_TEST_ROLE";

fn content(role: &str, number: u64) -> Vec<u8> {
    // Now and then a large one.
    let length = if number % 50 == 7 { 100_000 } else { 100 + number % 3000 };
    let mut bytes = format!("{role} {number} ").into_bytes();
    bytes.extend((0..length).map(|at| u8::try_from(at * number % 251).unwrap()));
    bytes
}

fn options() -> StoreOptions {
    StoreOptions {
        durability: Durability::Synced,
        max_bytes: 64 << 20,
        grace: Duration::ZERO,
        ..StoreOptions::default()
    }
}

/// Not a test: what a child process does, until it is killed. Each line says what was acknowledged.
#[test]
#[ignore = "run by the other tests as a process of their own"]
fn child() {
    let (Ok(dir), Ok(role)) = (std::env::var(DIRECTORY), std::env::var(ROLE)) else { return };
    let store = Store::open(Path::new(&dir), options()).unwrap();
    let mut out = std::io::stdout();
    if role == "lease" {
        let _lease = store.lease().unwrap();
        let digest = store.put_bytes(FUNCTION, b"held").unwrap();
        writeln!(out, "\n{digest}").unwrap();
        std::thread::sleep(Duration::from_mins(5));
        return;
    }
    for number in 0.. {
        let digest = store.put_bytes(FUNCTION, &content(&role, number)).unwrap();
        store.put_action_result(&digest, &reapi::ActionResult::default()).unwrap();
        writeln!(out, "\ndone {number}").unwrap();
    }
}

fn start(dir: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIRECTORY, dir)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn what_killed_processes_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let roles: Vec<String> = (0..3).map(|child| format!("{round}-{child}")).collect();
        let children: Vec<(String, Child)> =
            roles.into_iter().map(|role| (role.clone(), start(dir.path(), &role))).collect();
        let mut acknowledged = Vec::new();
        for (role, mut child) in children {
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut last = 0;
            for line in lines.map_while(Result::ok) {
                if let Some(number) = line.strip_prefix("done ") {
                    last = number.parse().unwrap();
                    if last == 60 {
                        child.kill().unwrap();
                    }
                }
            }
            child.wait().unwrap();
            assert!(last >= 60);
            acknowledged.push((role, last));
        }
        let store = Store::open(dir.path(), options()).unwrap();
        for (role, last) in acknowledged {
            for number in 0..=last {
                let bytes = content(&role, number);
                let digest = FUNCTION.digest(&bytes);
                assert_eq!(store.read(&digest).unwrap().as_deref(), Some(bytes.as_slice()), "{role} {number}");
                assert!(store.action_result(&digest).unwrap().is_some(), "result {role} {number}");
            }
        }
        assert!(store.verify(&mut |_, _| {}).unwrap().corrupted.is_empty());
        assert_eq!(store.stats().unwrap().corrupted, 0);
    }
}

#[test]
fn a_lease_holds_against_other_processes_and_ends_with_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let old = store.put_bytes(FUNCTION, b"old").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let mut child = start(dir.path(), "lease");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).find_map(|line| line.parse().ok()).unwrap();
    store.clear().unwrap();
    assert!(!store.contains(&old).unwrap());
    assert!(store.contains(&held).unwrap(), "held by the other process");
    child.kill().unwrap();
    child.wait().unwrap();
    store.clear().unwrap();
    assert!(!store.contains(&held).unwrap(), "its lease lapsed");
}

#[test]
fn one_process_sees_what_another_put() {
    let dir = tempfile::tempdir().unwrap();
    let one = Store::open(dir.path(), options()).unwrap();
    let two = Store::open(dir.path(), options()).unwrap();
    for number in 0..50 {
        let bytes = content("seen", number);
        let digest = FUNCTION.digest(&bytes);
        assert!(!two.contains(&digest).unwrap());
        one.put_bytes(FUNCTION, &bytes).unwrap();
        assert!(two.contains(&digest).unwrap());
        assert_eq!(two.read(&digest).unwrap().unwrap(), bytes);
        let result = |exit_code| reapi::ActionResult { exit_code, ..reapi::ActionResult::default() };
        one.put_action_result(&digest, &result(1)).unwrap();
        assert_eq!(two.action_result(&digest).unwrap(), Some(result(1)));
        two.put_action_result(&digest, &result(2)).unwrap();
        assert_eq!(one.action_result(&digest).unwrap(), Some(result(2)));
        one.remove_action_result(&digest).unwrap();
        assert_eq!(two.action_result(&digest).unwrap(), None);
    }
}

#[test]
fn the_size_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let bound = 8 << 20;
    let store =
        Store::open(dir.path(), StoreOptions { max_bytes: bound, durability: Durability::Relaxed, ..options() })
            .unwrap();
    for number in 0..5_000_u64 {
        // Hashes in a row do not compress.
        let length = if number % 500 == 0 { 200_000 } else { 4_000 };
        let blocks = (0..length / 32)
            .flat_map(|block: u64| FUNCTION.digest(&[number, block].map(u64::to_le_bytes).concat()).hash().to_vec());
        let bytes: Vec<u8> = blocks.collect();
        store.put_bytes(FUNCTION, &bytes).unwrap();
    }
    // Eviction runs beside the writers, who wait for it a tenth beyond the bound.
    let used = walk(dir.path());
    assert!(used <= bound + bound / 4, "{used} bytes on disk");
    let stats = store.stats().unwrap();
    assert!(stats.blobs > 500 && stats.evicted > 1000, "{stats:?}");
}

fn walk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { walk(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
