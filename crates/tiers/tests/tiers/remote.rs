//! Another REAPI cache behind this one.

use std::sync::Arc;

use buildnet_digest::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_reapi::{Access, Backing, CacheOptions, EntryKey, NamedEntry, RemoteCache, Removal, Role};
use buildnet_tiers::{ReapiBackend, Tier, Trouble};
use bytes::Bytes;
use prost::Message;

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

/// `count` digests of blobs that only the house has.
fn far_blobs(far: &Server, seed: u32, count: u32) -> Vec<(Digest, Bytes)> {
    let blobs = (0..count).map(|number| noise(seed + number, 100 + number as usize));
    blobs.map(|blob| (far.local.store.put_bytes(FUNCTION, &blob).unwrap(), blob)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_house_has_is_not_missing_and_can_be_built_upon() {
    let far = Server::start(CacheOptions::default());
    let (near, _) = before(&far);
    let client = RemoteCache::connect(&near.url("main"), None).await.unwrap();
    let blobs = far_blobs(&far, 10, 2500);
    let mut asked: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
    let (here, nowhere) = (near.local.store.put_bytes(FUNCTION, b"here").unwrap(), FUNCTION.digest(b"nowhere"));
    asked.insert(1000, nowhere);
    asked.insert(7, here);
    assert_eq!(client.find_missing(&asked).await.unwrap(), [nowhere]);
    assert!(!near.local.store.contains(&blobs[0].0).unwrap(), "asking brings nothing");
    // It is remembered for a while, whatever happens over there.
    far.local.store.clear().unwrap();
    assert_eq!(client.find_missing(&asked).await.unwrap(), [nowhere]);
    // What was promised and cannot be had is told when it is needed; and from then on it is missing.
    let action = FUNCTION.digest(b"action");
    let refused = client.put_action_result(&action, &result_of(blobs[0].0)).await.unwrap_err();
    assert!(refused.to_string().contains("missing"), "{refused}");
    assert_eq!(client.find_missing(&[blobs[0].0]).await.unwrap(), [blobs[0].0]);

    // A result of files and a tree whose blobs nobody sent here.
    let (_, result) = far.local.fill("elsewhere", 1);
    client.put_action_result(&action, &result).await.unwrap();
    assert_eq!(client.action_result(&action).await.unwrap(), Some(result));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_hangs_holds_nobody_up_for_long() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("grpc://{}/house", listener.local_addr().unwrap());
    let (tier, _) = tier(ReapiBackend::new(&target, None).unwrap(), |_| {});
    let near = Server::start(CacheOptions { backing: Some(Arc::new(tier.clone())), ..CacheOptions::default() });
    let client = RemoteCache::connect(&near.url("main"), None).await.unwrap();
    let unknown = FUNCTION.digest(b"unknown");
    // Far below the patience of the tier; and after three failures it is not asked any more.
    for _ in 0..3 {
        assert_eq!(client.find_missing(&[unknown]).await.unwrap(), [unknown]);
    }
    assert!(tier.stats().suspended && tier.stats().failures == 3, "{:?}", tier.stats());
    assert_eq!(client.find_missing(&[unknown]).await.unwrap(), [unknown]);
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_and_chunks_are_read_through() {
    let far = Server::start(CacheOptions::default());
    let (near, _) = before(&far);
    let put = |bytes: &[u8]| far.local.store.put_bytes(FUNCTION, bytes).unwrap();
    // Three levels, two directories on each.
    let node =
        |name: &str, digest: &Digest| reapi::DirectoryNode { name: name.into(), digest: Some(digest.to_reapi()) };
    let mut root = put(&reapi::Directory::default().encode_to_vec());
    for level in 0..3 {
        let file = reapi::FileNode {
            name: format!("f{level}"),
            digest: Some(put(b"content").to_reapi()),
            ..Default::default()
        };
        let leaf = put(&reapi::Directory { files: vec![file], ..Default::default() }.encode_to_vec());
        let directories = vec![node("a", &root), node("b", &leaf)];
        root = put(&reapi::Directory { directories, ..Default::default() }.encode_to_vec());
    }
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", near.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut cas = ContentAddressableStorageClient::new(channel);
    let request = reapi::GetTreeRequest { root_digest: Some(root.to_reapi()), ..Default::default() };
    let mut pages = cas.get_tree(request).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(page) = pages.message().await.unwrap() {
        count += page.directories.len();
    }
    assert_eq!(count, 7);

    let blob = noise(3, 3 << 20);
    let digest = put(&blob);
    let request = reapi::SplitBlobRequest { blob_digest: Some(digest.to_reapi()), ..Default::default() };
    let chunks = cas.split_blob(request).await.unwrap().into_inner().chunk_digests;
    assert!(chunks.len() > 1);
    // Another blob of chunks that only the house has.
    let halves = [noise(4, 200_000), noise(5, 1_500_000)];
    let whole = [halves[0].clone(), halves[1].clone()].concat();
    let request = reapi::SpliceBlobRequest {
        blob_digest: Some(FUNCTION.digest(&whole).to_reapi()),
        chunk_digests: halves.iter().map(|half| put(half).to_reapi()).collect(),
        ..Default::default()
    };
    cas.splice_blob(request).await.unwrap();
    assert_eq!(near.local.store.read(&FUNCTION.digest(&whole)).unwrap().unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_is_not_read_again_until_it_is_written_anew() {
    let far = Server::start(CacheOptions::default());
    let (near, tier) = before(&far);
    let client = RemoteCache::connect(&near.url("main"), None).await.unwrap();
    let action = FUNCTION.digest(b"action");
    let put = async |text: &'static [u8]| {
        let blob = Bytes::from_static(text);
        client.write(&[(FUNCTION.digest(&blob), blob.clone())]).await.unwrap();
        client.put_action_result(&action, &result_of(FUNCTION.digest(&blob))).await.unwrap();
        tier.idle().await;
    };
    put(b"poison").await;
    let key = EntryKey::action("main", &action);
    near.local.store.remove_action_result(&key.key).unwrap();
    assert_eq!(tier.forget(&key).await, Removal::Hidden);
    assert_eq!(client.action_result(&action).await.unwrap(), None);
    put(b"clean").await;
    near.local.store.clear().unwrap();
    assert_eq!(client.action_result(&action).await.unwrap(), Some(result_of(FUNCTION.digest(b"clean"))));
}
