//! Fetching: what is known, else what an allowed origin gives.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::asset::v1::Qualifier;
use bazel_remote_apis::google::rpc;
use buildnet_digest::protobuf::Timestamp;
use buildnet_digest::{Digest, DigestFunction};
use tonic::{Code, Status};

use super::entry::{Entry, key, now};
use super::qualifiers::{Plan, check_unique, unknown};
use super::{Answer, Call, Kind, Wanted, check_uris};
use crate::access::{Identity, Role};
use crate::backing;
use crate::digests::function_of;
use crate::metrics::Outcome;
use crate::origins::archive::{Collector, collect, unpack};
use crate::origins::scratch::Scratch;
use crate::origins::{FetchError, git, http};
use crate::service::{CacheError, CacheService};
use crate::status::{code_of, from_cache, unsupported_qualifier};

pub(super) async fn fetch(call: &mut Call, wanted: Wanted) -> Result<Answer, Status> {
    let reader = call.allow(&wanted.instance, Role::Read)?;
    check_uris(&wanted.uris)?;
    check_unique(&wanted.qualifiers)?;
    let function = function_of(wanted.function, None)?;
    call.outcome = Outcome::Hit;
    let wanted = Arc::new(wanted);
    if let Some(answer) = known(call.service(), &wanted, function).await? {
        return Ok(answer);
    }
    if let Some(status) = unknown(&wanted.qualifiers) {
        return Err(status);
    }
    let origins = &call.service().fetcher().origins;
    if !wanted.uris.iter().any(|uri| origins.rule(uri).is_some()) {
        return Err(Status::not_found("nobody pushed this asset, and none of its URIs is an allowed origin"));
    }
    let plan = Plan::new(&wanted.qualifiers, wanted.uris.len())?;
    let timeout = timeout(&wanted, origins.timeout)?;
    if wanted.kind == Kind::Blob {
        let senseless = ["vcs.commit", "vcs.branch", "directory"];
        let senseless = wanted.qualifiers.iter().find(|qualifier| senseless.contains(&qualifier.name.as_str()));
        if let Some(qualifier) = senseless {
            return Err(unsupported_qualifier(&qualifier.name));
        }
    } else if plan.has_checksums() && wanted.uris.iter().any(|uri| plan.is_git(uri)) {
        return Err(unsupported_qualifier("checksum.sri"));
    }
    call.outcome = Outcome::Miss;
    let job = Job { service: call.service().clone(), wanted, function, plan, reader };
    // The fetch goes on when the client goes away: others may want the same, and it may come again.
    let answer = tokio::spawn(job.run(timeout)).await;
    answer.map_err(|_| Status::internal("the fetch broke off"))?
}

/// The time for the fetch: what the client gives, but at most what the server does.
fn timeout(wanted: &Wanted, longest: Duration) -> Result<Duration, Status> {
    let Some(given) = &wanted.timeout else { return Ok(longest) };
    let seconds = u64::try_from(given.seconds).map_err(|_| Status::invalid_argument("the timeout is negative"))?;
    let nanos = u32::try_from(given.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let nanos = nanos.ok_or_else(|| Status::invalid_argument("the timeout is no duration"))?;
    Ok(Duration::new(seconds, nanos).min(longest))
}

/// What is in the cache for any of the URIs.
async fn known(
    service: &CacheService,
    wanted: &Arc<Wanted>,
    function: DigestFunction,
) -> Result<Option<Answer>, Status> {
    let asked = Arc::clone(wanted);
    let behind = |service: &CacheService| {
        let Wanted { kind, instance, uris, qualifiers, .. } = &*asked;
        let keys = uris.iter().map(|uri| key(uri, qualifiers));
        backing::Wanted::Results(
            keys.flat_map(|key| service.keys_of(function, kind.protocol(), instance, &key)).collect(),
        )
    };
    let wanted = Arc::clone(wanted);
    let look = move |service: &CacheService| -> Result<Option<Answer>, CacheError> {
        let Wanted { kind, instance, uris, qualifiers, oldest, .. } = &*wanted;
        for uri in uris {
            let entry = Entry::get(service, *kind, function, instance, uri, qualifiers, oldest.as_ref())?;
            if let Some(entry) = entry {
                return Ok(Some(answer(uri, wanted.qualifiers.clone(), &entry)));
            }
        }
        Ok(None)
    };
    service.look(behind, look).await.map_err(|error| from_cache(&error))
}

fn answer(uri: &str, qualifiers: Vec<Qualifier>, entry: &Entry) -> Answer {
    Answer {
        status: rpc::Status::default(),
        uri: uri.to_owned(),
        qualifiers,
        expires_at: entry.expires_at,
        digest: Some(entry.digest),
        function: entry.digest.function(),
    }
}

struct Job {
    service: CacheService,
    wanted: Arc<Wanted>,
    function: DigestFunction,
    plan: Plan,
    reader: Identity,
}

/// What an origin gave.
struct Given {
    digest: Digest,
    /// The commit, of a repository.
    commit: Option<String>,
}

impl Job {
    async fn run(self, timeout: Duration) -> Result<Answer, Status> {
        // One fetch at a time of the same content; who waited finds it in the cache.
        let name = format!(
            "{:?} {} {}",
            self.wanted.kind,
            self.function,
            key(&self.wanted.uris.join(" "), &self.wanted.qualifiers)
        );
        let same = Arc::clone(self.service.fetcher().under_way.lock().entry(name.clone()).or_default());
        let result = tokio::time::timeout(timeout, self.alone(&same)).await;
        let mut under_way = self.service.fetcher().under_way.lock();
        // This one's and the table's: nobody else waits.
        if Arc::strong_count(&same) <= 2 {
            under_way.remove(&name);
        }
        drop(under_way);
        result.unwrap_or_else(|_| {
            let uri = self.wanted.uris.first().cloned().unwrap_or_default();
            let message = format!("the origin took longer than {} s", timeout.as_secs_f32());
            Ok(self.failed(uri, &FetchError::new(Code::DeadlineExceeded, message)))
        })
    }

    async fn alone(&self, same: &tokio::sync::Mutex<()>) -> Result<Answer, Status> {
        let _alone = same.lock().await;
        if let Some(answer) = known(&self.service, &self.wanted, self.function).await? {
            return Ok(answer);
        }
        let _slot = self.service.fetcher().at_once.acquire().await;
        let mut failure = None;
        for (index, uri) in self.wanted.uris.iter().enumerate() {
            if self.service.fetcher().origins.rule(uri).is_none() {
                continue;
            }
            let since = now();
            match self.one(index, uri).await {
                Ok(given) => return self.keep(uri, given, since).await,
                Err(error) => failure = Some((uri.clone(), error)),
            }
        }
        let (uri, error) = failure.ok_or_else(|| Status::not_found("none of the URIs is an allowed origin"))?;
        Ok(self.failed(uri, &error))
    }

    fn failed(&self, uri: String, error: &FetchError) -> Answer {
        Answer {
            status: rpc::Status { code: error.code as i32, message: error.message.clone(), ..Default::default() },
            uri,
            qualifiers: Vec::new(),
            expires_at: None,
            digest: None,
            function: self.function,
        }
    }

    async fn keep(&self, uri: &str, given: Given, since: i64) -> Result<Answer, Status> {
        let fresh = i64::try_from(self.service.fetcher().origins.fresh.as_secs()).unwrap_or(i64::MAX);
        let expires = Timestamp { seconds: since.saturating_add(fresh), nanos: 0 };
        let entry = Entry {
            kind: self.wanted.kind,
            digest: given.digest,
            since,
            expires_at: (!self.plan.is_pinned()).then_some(expires),
            blobs: Vec::new(),
            directories: Vec::new(),
        };
        let mut qualifiers = self.wanted.qualifiers.clone();
        if let Some(commit) = given.commit.filter(|_| self.plan.revision.commit.is_none()) {
            qualifiers.push(Qualifier { name: "vcs.commit".into(), value: commit });
        }
        let answer = answer(uri, qualifiers, &entry);
        let (wanted, reader, uri) = (Arc::clone(&self.wanted), self.reader.clone(), uri.to_owned());
        let put = move |service: &CacheService| entry.put(service, &reader, &wanted.instance, &uri, &wanted.qualifiers);
        self.service.run(put).await.map_err(|error| from_cache(&error))?;
        Ok(answer)
    }

    async fn one(&self, index: usize, uri: &str) -> Result<Given, FetchError> {
        let fetcher = self.service.fetcher();
        if self.wanted.kind == Kind::Directory && self.plan.is_git(uri) {
            let repository = git::clone(fetcher, uri, &self.plan.revision, &self.service.spool_path()).await?;
            let commit = Some(repository.commit.clone());
            let digest = self.collect(move |into| repository.collect(into)).await?;
            return Ok(Given { digest, commit });
        }
        let scratch = Scratch::new(self.service.spool_path());
        http::download(fetcher, uri, &self.plan.headers(index), scratch.path()).await?;
        let scratch = self.check(scratch).await?;
        let digest = if self.wanted.kind == Kind::Directory {
            self.collect(move |into| unpack(scratch.path(), into)).await?
        } else {
            let function = self.function;
            self.work(move |service| {
                let stored = service.store().put_file(function, scratch.path());
                stored.map_err(|error| FetchError::new(code_of(&error), error.to_string()))
            })
            .await?
        };
        Ok(Given { digest, commit: None })
    }

    /// Checks the content against what the client promised of it.
    async fn check(&self, scratch: Scratch) -> Result<Scratch, FetchError> {
        let Some(function) = self.plan.functions().first().copied() else { return Ok(scratch) };
        let hashed = self.work(move |_| {
            let mut hasher = function.hasher();
            let copied = File::open(scratch.path()).and_then(|mut file| io::copy(&mut file, &mut hasher));
            copied.map_err(|error| FetchError::io(&error))?;
            Ok((hasher.finish(), scratch))
        });
        let (digest, scratch) = hashed.await?;
        if self.plan.accepts(digest.hash()) {
            return Ok(scratch);
        }
        Err(FetchError::new(Code::Aborted, format!("the content is {digest}, which checksum.sri does not say")))
    }

    /// Makes a directory of the store from what `fill` puts into it.
    async fn collect(
        &self,
        fill: impl FnOnce(&mut Collector<'_>) -> Result<(), FetchError> + Send + 'static,
    ) -> Result<Digest, FetchError> {
        let (function, directory) = (self.function, self.plan.directory.clone());
        self.work(move |service| collect(service, function, &directory, fill)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&CacheService) -> Result<T, FetchError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let done = self.service.run(move |service| Ok(work(service))).await;
        done.map_err(|error| FetchError::new(Code::Internal, error.to_string()))?
    }
}
