//! Far sides that are down, hang, or talk nonsense; queues that are full; processes that end with work left.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use buildnet_reapi::{Backing, CacheOptions};
use buildnet_tiers::{ReapiBackend, Tier, Trouble};

use crate::support::{Local, Server, Told, tier};

/// A port that nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Takes connections and never answers, or answers with this.
fn listener(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The client may be gone.
            let _ = stream.write_all(answer);
            held.push(stream);
        }
    });
    address
}

fn toward(address: &str, change: impl FnOnce(&mut buildnet_tiers::TierOptions)) -> (Tier, Told) {
    tier(ReapiBackend::new(&format!("grpc://{address}/main"), None).unwrap(), change)
}

fn suspended(told: &Told) -> usize {
    told.count(|trouble| matches!(trouble, Trouble::Suspended(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn far_sides_that_fail_cost_a_bounded_time_and_are_then_left_alone() {
    let hanging = listener(b"");
    let nonsense = listener(b"HTTP/1.1 418 I am a teapot\r\nContent-Length: 0\r\n\r\n");
    for address in [nobody(), hanging, nonsense] {
        let local = Local::new();
        let (key, _) = Local::new().fill("", 1);
        let (tier, told) = toward(&address, |options| {
            options.patience = Duration::from_millis(200);
            options.pause = Duration::from_hours(1);
        });
        for _ in 0..50 {
            assert!(!tier.pull_result(&local.store, &key).await);
        }
        let stats = tier.stats();
        assert_eq!((stats.failures, stats.suspended, suspended(&told)), (3, true, 1), "{address}: {}", told.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_is_used_again_and_gets_what_waited() {
    let address = nobody();
    let near = Local::new();
    let (tier, told) = toward(&address, |options| options.attempts = 1000);
    let mut entries = Vec::new();
    for seed in 0..5 {
        let (key, result) = near.fill("", seed);
        tier.publish(&near.store, key.clone(), &result);
        entries.push((key, result));
    }
    while suspended(&told) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tier.pending().results, 5);
    let far = Server::start_on(&address, CacheOptions::default());
    tier.idle().await;
    assert_eq!((tier.stats().written, tier.stats().dropped), (5, 0), "{}", told.text());
    assert!(told.count(|trouble| matches!(trouble, Trouble::Resumed)) >= 1);
    assert!(!tier.stats().suspended);
    let other = Local::new();
    for (key, result) in &entries {
        assert!(tier.pull_result(&other.store, key).await);
        assert_eq!(other.store.action_result(&key.key).unwrap().as_ref(), Some(result));
    }
    drop(far);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_and_says_so_once() {
    let near = Local::new();
    let (tier, told) = toward(&listener(b""), |options| {
        options.queue_entries = 4;
        options.writers = 1;
    });
    let entries: Vec<_> = (0..20).map(|seed| near.fill("", seed)).collect();
    for (key, result) in &entries {
        tier.publish(&near.store, key.clone(), result);
        tokio::task::yield_now().await;
    }
    let stats = tier.stats();
    // One may have left the queue for the hanging server already.
    assert!((4..=5).contains(&stats.pending) && stats.dropped == 20 - stats.pending, "{stats:?}");
    assert_eq!(told.count(|trouble| matches!(trouble, Trouble::Full)), 1);
    // The same for bytes: each result names 3 MiB.
    let (tier, _) = toward(&listener(b""), |options| {
        options.queue_bytes = 7 << 20;
        options.writers = 1;
    });
    for (key, result) in &entries {
        tier.publish(&near.store, key.clone(), result);
    }
    assert!((2..=3).contains(&tier.stats().pending), "{:?}", tier.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impatient_tier_gives_up_what_waits() {
    let near = Local::new();
    let (tier, told) = toward(&nobody(), |options| {
        options.patient = false;
        options.attempts = 2;
        options.pause = Duration::from_hours(1);
    });
    for seed in 0..20 {
        let (key, result) = near.fill("", seed);
        tier.publish(&near.store, key, &result);
    }
    tier.idle().await;
    assert_eq!((tier.stats().dropped, suspended(&told)), (20, 1), "{}", told.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_outlasts_a_restart() {
    let near = Local::new();
    let journal = near.dir.path().join("journal");
    let address = nobody();
    let patience = |options: &mut buildnet_tiers::TierOptions| {
        options.attempts = 1000;
        options.patience = Duration::from_millis(300);
    };
    let (before, _) = toward(&address, patience);
    assert_eq!(before.keep_journal(&journal, &near.store), 0);
    let entries: Vec<_> = (0..5).map(|seed| near.fill("", seed)).collect();
    for (key, result) in &entries {
        before.publish(&near.store, key.clone(), result);
    }
    before.close().await;
    drop(before);
    // One is gone from the store, and one line is torn.
    near.store.remove_action_result(&entries[4].0.key).unwrap();
    let mut file = std::fs::File::options().append(true).open(&journal).unwrap();
    file.write_all(b"{\"key\":\"sha256:").unwrap();
    let far = Server::start_on(&address, CacheOptions::default());
    let (after, told) = toward(&address, patience);
    assert_eq!(after.keep_journal(&journal, &near.store), 4);
    after.idle().await;
    assert_eq!(after.stats().written, 4, "{}", told.text());
    for (key, result) in &entries[..4] {
        let stored = far.service.action_result("main", &key.action.unwrap()).unwrap();
        assert_eq!(stored.as_ref(), Some(result));
    }
    after.close().await;
    assert!(!journal.exists(), "nothing is left to be written");
}
