//! A client of any REAPI cache that keeps account of what was acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use buildnet_digest::{Digest, DigestFunction, reapi};
use reapi::action_cache_client::ActionCacheClient;
use reapi::capabilities_client::CapabilitiesClient;
use reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use tonic::transport::{Channel, Endpoint};

pub(super) const FUNCTION: DigestFunction = DigestFunction::Sha256;
/// Size of a blob in bytes.
pub(super) const BLOB: usize = 4096;
/// Blobs in a batch: 57 KB.
pub(super) const BATCH: u64 = 14;
const CONNECTIONS: usize = 4;

/// Connections to a server, and the seed that all content comes from.
#[derive(Clone)]
pub(super) struct Client {
    channels: Arc<[Channel]>,
    seed: u64,
}

/// What reading found.
#[derive(Default)]
pub(super) struct Verified {
    pub(super) whole: u64,
    /// Numbers of blobs that are not there, or not as they were written.
    pub(super) lost: Vec<u64>,
}

/// Bytes that do not compress, different for each number, the same in each run with the seed (xorshift64*; Vigna, 2014).
pub(super) fn blob(seed: u64, number: u64) -> Vec<u8> {
    let mut state = mix(seed ^ mix(number)) | 1;
    let mut bytes = Vec::with_capacity(BLOB);
    while bytes.len() < BLOB {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes
}

/// A number in which each bit depends on all of another (splitmix64).
pub(super) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl Client {
    /// Waits until the server answers, as long as it lives at most a minute without.
    pub(super) async fn connect(address: &str, seed: u64) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if let Ok(channel) = endpoint.connect().await {
                let request = reapi::GetCapabilitiesRequest::default();
                if CapabilitiesClient::new(channel).get_capabilities(request).await.is_ok() {
                    break;
                }
            }
            if Instant::now() > deadline {
                return Err(format!("nobody answers on {address}"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(endpoint.connect().await.map_err(|error| error.to_string())?);
        }
        Ok(Self { channels: channels.into(), seed })
    }

    pub(super) fn digest(&self, number: u64) -> Digest {
        FUNCTION.digest(&blob(self.seed, number))
    }

    fn cas(&self, lane: usize) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channels[lane % CONNECTIONS].clone())
    }

    fn actions(&self, lane: usize) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.channels[lane % CONNECTIONS].clone())
    }

    /// Writes one batch; when this returns `Ok` each of its blobs was acknowledged. With it comes the time that the server took.
    pub(super) async fn put(&self, lane: usize, batch: u64) -> Result<(Vec<Digest>, Duration), String> {
        let (mut digests, mut requests) = (Vec::new(), Vec::new());
        for number in batch * BATCH..(batch + 1) * BATCH {
            let data = blob(self.seed, number);
            let digest = FUNCTION.digest(&data);
            digests.push(digest);
            let digest = Some(digest.to_reapi());
            requests.push(reapi::batch_update_blobs_request::Request { digest, data, compressor: 0 });
        }
        let request = reapi::BatchUpdateBlobsRequest { requests, ..Default::default() };
        let sent = Instant::now();
        let answer = self.cas(lane).batch_update_blobs(request).await.map_err(|status| status.to_string())?;
        let took = sent.elapsed();
        let answers = answer.into_inner().responses;
        match answers.iter().find(|item| item.status.as_ref().is_some_and(|status| status.code != 0)) {
            Some(item) => Err(format!("a blob was refused: {item:?}")),
            None if answers.len() == digests.len() => Ok((digests, took)),
            None => Err(format!("{} answers to {} blobs", answers.len(), digests.len())),
        }
    }

    /// Asks which blobs are missing; `absent` of them must be, the last ones.
    pub(super) async fn find(&self, lane: usize, digests: &[Digest], absent: usize) -> Result<Duration, String> {
        let blob_digests = digests.iter().map(Digest::to_reapi).collect();
        let request = reapi::FindMissingBlobsRequest { blob_digests, ..Default::default() };
        let sent = Instant::now();
        let answer = self.cas(lane).find_missing_blobs(request).await.map_err(|status| status.to_string())?;
        let took = sent.elapsed();
        let missing = answer.into_inner().missing_blob_digests;
        let expected = digests[digests.len() - absent..].iter().map(Digest::to_reapi);
        if missing.into_iter().eq(expected) { Ok(took) } else { Err("other blobs are missing than should be".into()) }
    }

    /// Reads blobs in one request, and compares each with what was written under its number: byte for byte, and by its digest.
    pub(super) async fn read(
        &self,
        lane: usize,
        numbers: &[u64],
        digests: &[Digest],
    ) -> Result<(Verified, Duration), String> {
        let asked = digests.iter().map(Digest::to_reapi).collect();
        let request = reapi::BatchReadBlobsRequest { digests: asked, ..Default::default() };
        let sent = Instant::now();
        let answer = self.cas(lane).batch_read_blobs(request).await.map_err(|status| status.to_string())?;
        let took = sent.elapsed();
        let answers = answer.into_inner().responses;
        let mut verified = Verified::default();
        for (number, digest) in numbers.iter().zip(digests) {
            let asked = digest.to_reapi();
            let found = answers.iter().find(|item| item.digest.as_ref() == Some(&asked));
            let data = found.filter(|item| item.status.as_ref().is_none_or(|status| status.code == 0));
            let whole = data
                .is_some_and(|item| FUNCTION.digest(&item.data) == *digest && item.data == blob(self.seed, *number));
            if whole { verified.whole += 1 } else { verified.lost.push(*number) }
        }
        Ok((verified, took))
    }

    /// Stores the result of an action that names a blob.
    pub(super) async fn put_result(&self, lane: usize, number: u64, output: &Digest) -> Result<Duration, String> {
        let file = reapi::OutputFile { path: "out".into(), digest: Some(output.to_reapi()), ..Default::default() };
        let request = reapi::UpdateActionResultRequest {
            action_digest: Some(self.action(number)),
            action_result: Some(reapi::ActionResult { output_files: vec![file], ..Default::default() }),
            ..Default::default()
        };
        let sent = Instant::now();
        self.actions(lane).update_action_result(request).await.map_err(|status| status.to_string())?;
        Ok(sent.elapsed())
    }

    /// Looks a result up that was stored.
    pub(super) async fn result(&self, lane: usize, number: u64) -> Result<Duration, String> {
        let action_digest = Some(self.action(number));
        let request = reapi::GetActionResultRequest { action_digest, ..Default::default() };
        let sent = Instant::now();
        let answer = self.actions(lane).get_action_result(request).await.map_err(|status| status.to_string())?;
        let took = sent.elapsed();
        let files = answer.into_inner().output_files.len();
        if files == 1 { Ok(took) } else { Err(format!("a result has {files} files instead of one")) }
    }

    fn action(&self, number: u64) -> reapi::Digest {
        FUNCTION.digest(&[self.seed, number].map(u64::to_le_bytes).concat()).to_reapi()
    }
}
