//! Another REAPI cache behind this one.

use std::sync::Arc;

use buildnet_digest::{DigestFunction, reapi};
use buildnet_reapi::{Access, Backing, CacheOptions, EntryKey, NamedEntry, RemoteCache, Role};
use buildnet_tiers::{ReapiBackend, Tier, Trouble};
use bytes::Bytes;

use crate::support::{FUNCTION, Local, Server, noise, tier};

/// A server with another one behind it, and the tier between.
fn before(far: &Server) -> (Server, Tier) {
    let (tier, _) = tier(ReapiBackend::new(&far.url("house"), None).unwrap(), |_| {});
    let options = CacheOptions { backing: Some(Arc::new(tier.clone())), ..CacheOptions::default() };
    (Server::start(options), tier)
}

fn result_of(digest: buildnet_digest::Digest) -> reapi::ActionResult {
    let file = reapi::OutputFile { path: "out".to_owned(), digest: Some(digest.to_reapi()), ..Default::default() };
    reapi::ActionResult { output_files: vec![file], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_two_offices_share_through_the_house() {
    let far = Server::start(CacheOptions::default());
    let ((one, writing), (other, _)) = (before(&far), before(&far));
    for (function, size) in [(FUNCTION, 3000), (FUNCTION, 5 << 20), (DigestFunction::Blake3, 200_000)] {
        let content = noise(7, size);
        let (digest, action) = (function.digest(&content), function.digest(format!("action {size}").as_bytes()));
        let client = RemoteCache::connect(&one.url("main"), None).await.unwrap();
        client.write(&[(digest, content.clone())]).await.unwrap();
        client.put_action_result(&action, &result_of(digest)).await.unwrap();
        writing.idle().await;

        let client = RemoteCache::connect(&other.url("main"), None).await.unwrap();
        assert_eq!(client.action_result(&action).await.unwrap(), Some(result_of(digest)));
        assert_eq!(client.read(&[digest]).await.unwrap()[&digest], content);
        // The same entry for a client that asks the house itself.
        let direct = RemoteCache::connect(&far.url("house/main"), None).await.unwrap();
        assert_eq!(direct.action_result(&action).await.unwrap(), Some(result_of(digest)));
        // Another instance has its own.
        let elsewhere = RemoteCache::connect(&other.url("elsewhere"), None).await.unwrap();
        assert_eq!(elsewhere.action_result(&action).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_named_entries_are_read_through() {
    let far = Server::start(CacheOptions::default());
    let ((one, writing), (other, _)) = (before(&far), before(&far));
    let writer = Access::open().anonymous().unwrap();
    let digest = one.local.store.put_bytes(FUNCTION, b"an artifact").unwrap();
    let entry = NamedEntry { digest, properties: vec![("tag".into(), "x".into())] };
    one.service.put_named("turborepo", &writer, "team", "key", &entry).unwrap();
    writing.idle().await;
    let look = |instance: &'static str| {
        let service = other.service.clone();
        async move {
            let wanted =
                move |service: &buildnet_reapi::CacheService| service.wanted_named("turborepo", instance, "key");
            service.look(wanted, move |service| service.named("turborepo", instance, "key")).await.unwrap()
        }
    };
    assert_eq!(look("team").await, Some(entry));
    assert_eq!(look("other").await, None);
    // A blob that only the house has, by stream and in a batch with one that is here.
    let client = RemoteCache::connect(&other.url(""), None).await.unwrap();
    let blobs = [noise(1, 100), noise(2, 6 << 20), Bytes::from_static(b"here")];
    let digests = blobs.clone().map(|blob| FUNCTION.digest(&blob));
    far.local.store.put_bytes(FUNCTION, &blobs[0]).unwrap();
    far.local.store.put_bytes(FUNCTION, &blobs[1]).unwrap();
    other.local.store.put_bytes(FUNCTION, &blobs[2]).unwrap();
    let read = client.read(&digests).await.unwrap();
    for (digest, blob) in digests.iter().zip(&blobs) {
        assert_eq!(read.get(digest), Some(blob));
        assert!(other.local.store.contains(digest).unwrap(), "it is here from now on");
    }
    let unknown = FUNCTION.digest(b"nobody has this");
    assert!(client.read(&[unknown]).await.unwrap().is_empty());
    assert_eq!(client.read_stream(&unknown).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_one_thing_cost_one_transfer() {
    let far = Server::start(CacheOptions::default());
    let (key, result) = far.local.fill("house/main", 1);
    let (near, tier) = before(&far);
    let key = EntryKey::action("main", &key.action.unwrap());
    let pulls = (0..64).map(|_| tier.pull_result(&near.local.store, &key));
    assert!(futures::future::join_all(pulls).await.into_iter().all(|there| there));
    assert_eq!(near.local.store.action_result(&key.key).unwrap(), Some(result));
    let bytes: u64 = tier.stats().read_bytes;
    assert!((3 << 20..4 << 20).contains(&bytes), "{bytes}");
    assert_eq!(tier.stats().hits, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_not_complete_is_a_miss() {
    let far = Server::start(CacheOptions::default());
    let near = Local::new();
    // The far server checks completeness, so it is the near side that lacks what it is to write.
    let (key, result) = near.fill("main", 1);
    let (tier, told) = tier(ReapiBackend::new(&far.url("house"), None).unwrap(), |_| {});
    near.store.clear().unwrap();
    tier.publish(&near.store, key.clone(), &result);
    tier.idle().await;
    assert_eq!((tier.stats().written, tier.stats().dropped), (0, 1), "{}", told.text());
    assert!(!tier.pull_result(&near.store, &key).await);
    assert_eq!(tier.stats().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_of_tokens_hold() {
    const READ: &str = "0123456789abcdef-r";
    let access = Access::parse(&format!("office read {READ}"), None).unwrap();
    assert_eq!(access.identify_secret(READ).map(|identity| identity.role), Some(Role::Read));
    let far = Server::start(CacheOptions { access, ..CacheOptions::default() });
    let (key, result) = far.local.fill("house/main", 1);
    let key = EntryKey::action("main", &key.action.unwrap());
    let near = Local::new();
    let (reader, told) = tier(ReapiBackend::new(&far.url("house"), Some(READ.to_owned())).unwrap(), |_| {});
    assert!(reader.pull_result(&near.store, &key).await, "{}", told.text());
    for _ in 0..3 {
        reader.publish(&near.store, key.clone(), &result);
        reader.idle().await;
    }
    assert_eq!(told.count(|trouble| matches!(trouble, Trouble::ReadOnly(_))), 1, "{}", told.text());
    assert!(reader.pull_result(&Local::new().store, &key).await, "reading goes on");
    let (stranger, told) = tier(ReapiBackend::new(&far.url("house"), None).unwrap(), |_| {});
    assert!(!stranger.pull_result(&near.store, &key).await);
    assert!(told.text().contains("give a token"), "{}", told.text());
}
