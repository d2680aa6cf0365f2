//! A server on a port of its own, and raw clients of it.
#![allow(dead_code, reason = "each test binary uses a part")]

use axum::serve::ListenerExt;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use buildnet_cas::{Store, StoreOptions};
use buildnet_digest::reapi::action_cache_client::ActionCacheClient;
use buildnet_digest::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use buildnet_digest::{Digest, DigestFunction};
use buildnet_reapi::{CacheOptions, CacheService, RemoteCache, router};
use bytes::Bytes;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

pub(crate) struct Server {
    pub(crate) service: CacheService,
    pub(crate) authority: String,
    pub(crate) channel: Channel,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(options: CacheOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let service = CacheService::open(store, dir.path(), options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let app = router(service.clone());
        tokio::spawn(
            async move { axum::serve(listener.tap_io(|stream| stream.set_nodelay(true).unwrap()), app).await },
        );
        let channel = Endpoint::from_shared(format!("http://{authority}")).unwrap().connect().await.unwrap();
        Self { service, authority, channel, _dir: dir }
    }

    pub(crate) async fn cache(&self, instance: &str) -> RemoteCache {
        RemoteCache::connect(&format!("grpc://{}/{instance}", self.authority), None).await.unwrap()
    }

    /// Everything that is kept about who wrote what.
    pub(crate) fn notes(&self) -> String {
        let mut notes = String::new();
        self.service.store().notes(&mut |_, note| notes.push_str(std::str::from_utf8(&note).unwrap())).unwrap();
        notes
    }

    pub(crate) fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone())
    }

    pub(crate) fn actions(&self) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.channel.clone())
    }

    pub(crate) fn streams(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.channel.clone())
    }
}

/// Bytes that compress a little, different for each seed.
pub(crate) fn blob(seed: u32, length: usize) -> (Digest, Bytes) {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let bytes: Bytes = (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 27) as u8
        })
        .collect();
    (DigestFunction::Sha256.digest(&bytes), bytes)
}
