//! One run: what each request asks, and whether its answer is right.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use buildnet_digest::{Digest, reapi};
use bytes::Bytes;

use super::content::{SmallBlobs, large};
use super::find::Finder;
use super::link::Link;
use super::wire::{self, Method};
use super::{LoadOptions, Workload};
use crate::client::{RemoteCache, RemoteError};
use crate::frame;

/// Ranges of blob numbers, far apart, so that workloads do not write each other's.
const SMALL: u64 = 0;
const STREAMED: u64 = 1 << 40;
const LARGE: u64 = 2 << 40;
const ACTION: u64 = 3 << 40;
/// Small blobs, streams and actions that reads cycle through.
const WORKING_SET: u64 = 2000;
/// Most bytes of large blobs in a run: they are made before the clock starts, and kept to compare what is read.
const LARGE_BYTES: usize = 768 << 20;

/// One run over its connections.
pub(super) struct Run {
    options: LoadOptions,
    /// For what is not measured.
    cache: RemoteCache,
    links: Vec<Link>,
    seed: u64,
    blobs: SmallBlobs,
    small: AtomicU64,
    streamed: AtomicU64,
    actions: AtomicU64,
    large_blobs: OnceLock<Vec<(Digest, Bytes)>>,
    large: AtomicU64,
    written: OnceLock<Written>,
}

/// Small blobs that the server has.
struct Written {
    blobs: Vec<(Digest, Bytes)>,
    by_hash: HashMap<String, usize>,
    finder: Finder,
}

/// A request, ready to be sent.
pub(super) enum Prepared {
    Update(Bytes, usize),
    BatchRead(Bytes, Vec<usize>),
    Find(Bytes),
    Write(Vec<Bytes>, usize),
    Read(Bytes, Digest, Bytes),
    PutAction(Bytes),
    GetAction(Bytes, Digest),
}

/// What a request did.
#[derive(Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) items: u64,
    /// Bytes of content.
    pub(super) bytes: u64,
    /// Bytes of the request's messages.
    pub(super) sent: u64,
    /// Bytes of the answer's messages.
    pub(super) received: u64,
}

impl Done {
    pub(super) fn add(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
        self.sent += other.sent;
        self.received += other.received;
    }
}

impl Run {
    pub(super) fn new(options: LoadOptions, cache: RemoteCache, links: Vec<Link>) -> Arc<Self> {
        // A random number: the low half of a version 4 UUID.
        let (_, seed) = uuid::Uuid::new_v4().as_u64_pair();
        Arc::new(Self {
            blobs: SmallBlobs::new(seed, options.small),
            options,
            cache,
            links,
            seed,
            small: AtomicU64::new(0),
            streamed: AtomicU64::new(0),
            actions: AtomicU64::new(0),
            large_blobs: OnceLock::new(),
            large: AtomicU64::new(0),
            written: OnceLock::new(),
        })
    }

    pub(super) fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// Requests in flight: large streams keep a connection each busy.
    pub(super) fn lanes(&self, workload: Workload) -> usize {
        let lanes = self.options.in_flight.max(1);
        if workload.is_large() { lanes.min(self.links.len()) } else { lanes }
    }

    pub(super) fn limit(&self, workload: Workload) -> u64 {
        let limit = self.options.requests;
        if workload == Workload::StreamWriteLarge { limit.min(self.max_large()) } else { limit }
    }

    fn max_large(&self) -> u64 {
        let fit = LARGE_BYTES / self.options.large.max(1);
        (fit as u64).clamp(1, 64).min(self.options.requests)
    }

    fn per_batch(&self) -> u64 {
        (self.options.batch / self.options.small.max(1)).max(1) as u64
    }

    /// Makes what the workload sends, and writes what it reads when nothing did before. Not part of the measurement.
    pub(super) async fn prepare(&self, workload: Workload) -> Result<(), RemoteError> {
        let cache = &self.cache;
        match workload {
            Workload::BatchRead | Workload::FindMissing | Workload::ActionUpdate | Workload::StreamReadSmall
                if self.small.load(Ordering::Relaxed) == 0 && self.streamed.load(Ordering::Relaxed) == 0 =>
            {
                let blobs: Vec<_> = (0..WORKING_SET).map(|number| self.blobs.blob(SMALL + number)).collect();
                cache.write(&blobs).await?;
                self.small.store(WORKING_SET, Ordering::Relaxed);
            }
            Workload::ActionGet if self.actions.load(Ordering::Relaxed) == 0 => {
                let (digest, bytes) = self.blobs.blob(SMALL);
                cache.write(&[(digest, bytes)]).await?;
                for number in 0..100 {
                    cache.put_action_result(&self.action(number), &result(&digest)).await?;
                }
                self.actions.store(100, Ordering::Relaxed);
            }
            Workload::StreamWriteLarge => {
                self.large_blobs();
            }
            Workload::StreamReadLarge if self.large.load(Ordering::Relaxed) == 0 => {
                let (digest, bytes) = &self.large_blobs()[0];
                cache.write_plain(digest, bytes.clone()).await?;
                self.large.store(1, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    /// Remembers what was written.
    pub(super) fn finish(&self, workload: Workload, requests: u64) {
        match workload {
            Workload::BatchUpdate => self.small.store(requests * self.per_batch(), Ordering::Relaxed),
            Workload::StreamWriteSmall => self.streamed.store(requests, Ordering::Relaxed),
            Workload::StreamWriteLarge => self.large.store(requests, Ordering::Relaxed),
            Workload::ActionUpdate => self.actions.store(requests, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Names an upload.
    fn upload(&self, number: u64) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(self.seed, number)
    }

    /// The connection of a lane.
    pub(super) fn link(&self, lane: usize) -> &Link {
        &self.links[lane % self.links.len()]
    }

    fn action(&self, number: u64) -> Digest {
        self.blobs.blob(ACTION + number).0
    }

    fn large_blobs(&self) -> &[(Digest, Bytes)] {
        self.large_blobs.get_or_init(|| {
            (0..self.max_large()).map(|number| large(self.seed, LARGE + number, self.options.large)).collect()
        })
    }

    fn written(&self) -> &Written {
        self.written.get_or_init(|| {
            let (base, count) = match self.small.load(Ordering::Relaxed) {
                0 => (STREAMED, self.streamed.load(Ordering::Relaxed)),
                small => (SMALL, small),
            };
            let blobs: Vec<_> = (0..count.clamp(1, WORKING_SET)).map(|number| self.blobs.blob(base + number)).collect();
            Written {
                by_hash: blobs.iter().enumerate().map(|(at, (digest, _))| (digest.hex(), at)).collect(),
                finder: Finder::new(self.seed, self.cache.instance(), &blobs),
                blobs,
            }
        })
    }

    pub(super) fn request(&self, workload: Workload, number: u64) -> Prepared {
        let per_batch = self.per_batch();
        let cache = &self.cache;
        // A remainder by a number of blobs in memory.
        let cycle = |number: u64, count: usize| usize::try_from(number % count.max(1) as u64).unwrap_or(0);
        match workload {
            Workload::BatchUpdate => {
                let blobs = (0..per_batch).map(|index| self.blobs.blob(SMALL + number * per_batch + index));
                let item = |(digest, data): (Digest, Bytes)| wire::UpdateItem { digest: Some(digest.to_reapi()), data };
                let requests: Vec<_> = blobs.map(item).collect();
                let count = requests.len();
                let request = wire::UpdateRequest {
                    instance_name: cache.instance().to_owned(),
                    requests,
                    digest_function: reapi::digest_function::Value::Sha256 as i32,
                };
                Prepared::Update(frame::whole(&request), count)
            }
            Workload::BatchRead => {
                let blobs = &self.written().blobs;
                let asked: Vec<usize> =
                    (0..per_batch).map(|index| cycle(number * per_batch + index, blobs.len())).collect();
                let request = reapi::BatchReadBlobsRequest {
                    instance_name: cache.instance().to_owned(),
                    digests: asked.iter().map(|at| blobs[*at].0.to_reapi()).collect(),
                    acceptable_compressors: Vec::new(),
                    digest_function: reapi::digest_function::Value::Sha256 as i32,
                };
                Prepared::BatchRead(frame::whole(&request), asked)
            }
            Workload::FindMissing => Prepared::Find(self.written().finder.request(number, self.options.digests)),
            Workload::StreamWriteSmall => {
                let (digest, bytes) = self.blobs.blob(STREAMED + number);
                Prepared::Write(cache.upload_frames(self.upload(STREAMED + number), &digest, &bytes), bytes.len())
            }
            Workload::StreamReadSmall => {
                let blobs = &self.written().blobs;
                let (digest, bytes) = &blobs[cycle(number, blobs.len())];
                Prepared::Read(cache.read_frame(digest), *digest, bytes.clone())
            }
            Workload::StreamWriteLarge => {
                let blobs = self.large_blobs();
                let (digest, bytes) = &blobs[cycle(number, blobs.len())];
                Prepared::Write(cache.upload_frames(self.upload(LARGE + number), digest, bytes), bytes.len())
            }
            Workload::StreamReadLarge => {
                let count = usize::try_from(self.large.load(Ordering::Relaxed)).unwrap_or(1);
                let (digest, bytes) = &self.large_blobs()[cycle(number, count)];
                Prepared::Read(cache.read_frame(digest), *digest, bytes.clone())
            }
            Workload::ActionUpdate => {
                let blobs = &self.written().blobs;
                let (output, _) = &blobs[cycle(number, blobs.len())];
                let request = reapi::UpdateActionResultRequest {
                    instance_name: cache.instance().to_owned(),
                    action_digest: Some(self.action(number).to_reapi()),
                    action_result: Some(result(output)),
                    results_cache_policy: None,
                    digest_function: reapi::digest_function::Value::Sha256 as i32,
                };
                Prepared::PutAction(frame::whole(&request))
            }
            Workload::ActionGet => {
                let action = self.action(number % self.actions.load(Ordering::Relaxed).max(1));
                let request = reapi::GetActionResultRequest {
                    instance_name: cache.instance().to_owned(),
                    action_digest: Some(action.to_reapi()),
                    digest_function: reapi::digest_function::Value::Sha256 as i32,
                    ..Default::default()
                };
                Prepared::GetAction(frame::whole(&request), action)
            }
        }
    }

    pub(super) async fn send(&self, lane: usize, request: Prepared) -> Result<Done, RemoteError> {
        let (cache, link) = (&self.cache, self.link(lane));
        let ask = async |method: Method, request: Bytes, items: usize, bytes: usize| {
            let sent = request.len() as u64;
            let answer = wire::unary(link, method, request).await;
            let answer = answer.map_err(|status| cache.failed(method.action, status))?;
            let received = (answer.len() + frame::PREFIX) as u64;
            Ok((answer, Done { items: items as u64, bytes: bytes as u64, sent, received }))
        };
        match request {
            Prepared::Update(request, count) => {
                let (answer, done) = ask(Method::BATCH_UPDATE, request, count, count * self.options.small).await?;
                stored(cache, &answer, count)?;
                Ok(done)
            }
            Prepared::BatchRead(request, asked) => {
                let (answer, done) = ask(Method::BATCH_READ, request, asked.len(), 0).await?;
                Ok(Done { bytes: self.compare(cache, answer, &asked)?, ..done })
            }
            Prepared::Find(request) => {
                let digests = self.options.digests;
                let (answer, done) = ask(Method::FIND_MISSING, request.clone(), digests, 0).await?;
                if !self.written().finder.is_right(&answer, &request, digests) {
                    return Err(wrong(
                        cache,
                        "does not name exactly the blobs that were never stored as missing".into(),
                    ));
                }
                Ok(done)
            }
            Prepared::Write(frames, size) => {
                let sent = frames.iter().map(|frame| frame.len() as u64).sum();
                let mut received = 0;
                let written = wire::call(link, Method::WRITE.path, frames, |bytes| received += bytes.len() as u64);
                written.await.map_err(|status| cache.failed(Method::WRITE.action, status))?;
                Ok(Done { items: 1, bytes: size as u64, sent, received })
            }
            Prepared::Read(request, digest, expected) => {
                let (mut contents, mut rest) = (frame::Contents::default(), &expected[..]);
                let (mut same, mut received, sent) = (true, 0, request.len() as u64);
                let read = wire::call(link, Method::READ.path, [request], |bytes| {
                    received += bytes.len() as u64;
                    same &= contents.push(bytes, |part| {
                        let (now, later) = rest.split_at(part.len().min(rest.len()));
                        rest = later;
                        now == part
                    });
                });
                read.await.map_err(|status| cache.failed(Method::READ.action, status))?;
                if !same || !rest.is_empty() || !contents.is_whole() {
                    return Err(wrong(cache, format!("sent other content than {digest}, which was acknowledged")));
                }
                Ok(Done { items: 1, bytes: expected.len() as u64, sent, received })
            }
            Prepared::PutAction(request) => Ok(ask(Method::PUT_ACTION, request, 1, 0).await?.1),
            Prepared::GetAction(request, action) => {
                let (answer, done) = ask(Method::GET_ACTION, request, 1, 0).await?;
                match <reapi::ActionResult as prost::Message>::decode(answer) {
                    Ok(result) if result.output_files.len() == 1 => Ok(done),
                    _ => Err(wrong(cache, format!("lacks the result of {action}, which was acknowledged"))),
                }
            }
        }
    }

    /// Whether each blob that was asked for came, with its content. Returns its bytes.
    fn compare(&self, cache: &RemoteCache, answer: Bytes, asked: &[usize]) -> Result<u64, RemoteError> {
        let Written { blobs, by_hash, .. } = self.written();
        let answer = <wire::ReadAnswer as prost::Message>::decode(answer)
            .map_err(|error| wrong(cache, format!("sent an answer that cannot be read: {error}")))?;
        let mut bytes = 0;
        let mut missing: Vec<bool> = vec![false; blobs.len()];
        for at in asked {
            missing[*at] = true;
        }
        for item in &answer.responses {
            let at = item.digest.as_ref().and_then(|digest| by_hash.get(&digest.hash)).copied();
            let code = item.status.as_ref().map_or(0, |status| status.code);
            match at {
                Some(at) if code == 0 && item.compressor == 0 && item.data == blobs[at].1 => missing[at] = false,
                _ => return Err(wrong(cache, format!("sent other content than was acknowledged (status {code})"))),
            }
            bytes += item.data.len() as u64;
        }
        if missing.contains(&true) {
            return Err(wrong(cache, "lacks blobs that were acknowledged".into()));
        }
        Ok(bytes)
    }
}

/// Whether every blob of a batch was stored.
fn stored(cache: &RemoteCache, answer: &Bytes, count: usize) -> Result<(), RemoteError> {
    let answer = <reapi::BatchUpdateBlobsResponse as prost::Message>::decode(answer.clone())
        .map_err(|error| wrong(cache, format!("sent an answer that cannot be read: {error}")))?;
    let status = answer.responses.iter().filter_map(|item| item.status.as_ref()).find(|status| status.code != 0);
    if let Some(status) = status {
        return Err(cache.failed("store a blob in", tonic::Status::new(status.code.into(), status.message.clone())));
    }
    if answer.responses.len() == count {
        return Ok(());
    }
    Err(wrong(cache, format!("answered for {} of {count} blobs", answer.responses.len())))
}

fn wrong(cache: &RemoteCache, what: String) -> RemoteError {
    RemoteError::Answer { target: cache.target(), what }
}

fn result(output: &Digest) -> reapi::ActionResult {
    let file = reapi::OutputFile { path: "out".into(), digest: Some(output.to_reapi()), ..Default::default() };
    reapi::ActionResult { output_files: vec![file], ..Default::default() }
}
