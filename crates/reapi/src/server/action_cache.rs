//! `ActionCache`: what actions gave.

use buildnet_cas::{Cached, Store};
use buildnet_digest::{Digest, reapi};
use prost::Message;
use reapi::action_cache_server::ActionCache as Service;
use tonic::{Request, Response, Status};

use super::call::Call;
use crate::access::Role;
use crate::backing::Wanted;
use crate::digests::{digest_of, required};
use crate::metrics::Outcome;
use crate::service::{CacheError, CacheService};
use crate::status::{from_cache, missing_blobs};

/// Inlined contents never make an answer larger than this, in bytes: clients take 4 MiB.
const MAX_ANSWER: usize = 3 << 20;
/// Largest `Action` that is read, in bytes.
const MAX_ACTION: u64 = 1 << 20;

pub(super) struct Actions {
    service: CacheService,
}

impl Actions {
    pub(super) fn new(service: CacheService) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl Service for Actions {
    async fn get_action_result(
        &self,
        request: Request<reapi::GetActionResultRequest>,
    ) -> Result<Response<reapi::ActionResult>, Status> {
        let mut call = Call::open(&self.service, "get_action_result", &request);
        let result = get(&mut call, request.into_inner()).await;
        call.close(result)
    }

    async fn update_action_result(
        &self,
        request: Request<reapi::UpdateActionResultRequest>,
    ) -> Result<Response<reapi::ActionResult>, Status> {
        let mut call = Call::open(&self.service, "update_action_result", &request);
        let result = update(&mut call, request.into_inner()).await;
        call.close(result)
    }
}

async fn get(call: &mut Call, request: reapi::GetActionResultRequest) -> Result<reapi::ActionResult, Status> {
    call.allow(&request.instance_name, Role::Read)?;
    let action = required(request.digest_function, request.action_digest.as_ref(), "action_digest")?;
    let instance = request.instance_name.clone();
    let plain = !request.inline_stdout && !request.inline_stderr && request.inline_output_files.is_empty();
    let cached = if plain { call.service().action_result_cached(&instance, &action) } else { Cached::Unknown };
    let missing = || Status::not_found(format!("{action} has no result in the cache"));
    call.outcome = Outcome::Hit;
    match cached {
        Cached::Found(result) => {
            call.sent = result.encoded_len() as u64;
            return Ok(result);
        }
        Cached::Absent => return Err(missing()),
        Cached::Unknown => {}
    }
    let look = move |service: &CacheService| {
        let Some(mut result) = service.action_result(&request.instance_name, &action)? else { return Ok(None) };
        inline(service.store(), &action, &request, &mut result)?;
        Ok(Some(result))
    };
    let result = call.service().look(|service| service.wanted_action(&instance, &action), look).await;
    let result = result.map_err(|error| from_cache(&error))?;
    let result = result.ok_or_else(missing)?;
    call.sent = result.encoded_len() as u64;
    Ok(result)
}

/// Puts the contents that the client asked for into the result, as far as they fit.
fn inline(
    store: &Store,
    action: &Digest,
    request: &reapi::GetActionResultRequest,
    result: &mut reapi::ActionResult,
) -> Result<(), CacheError> {
    let mut room = MAX_ANSWER.saturating_sub(result.encoded_len());
    let mut content = |digest: Option<&reapi::Digest>| -> Result<Option<Vec<u8>>, CacheError> {
        let digest = digest.and_then(|digest| Digest::from_reapi(action.function(), digest).ok());
        let Some(digest) = digest.filter(|digest| digest.size() <= room as u64) else { return Ok(None) };
        let content = store.read(&digest)?;
        room -= content.as_ref().map_or(0, bytes::Bytes::len);
        Ok(content.map(Into::into))
    };
    if request.inline_stdout && result.stdout_raw.is_empty() {
        result.stdout_raw = content(result.stdout_digest.as_ref())?.unwrap_or_default();
    }
    if request.inline_stderr && result.stderr_raw.is_empty() {
        result.stderr_raw = content(result.stderr_digest.as_ref())?.unwrap_or_default();
    }
    for file in &mut result.output_files {
        if request.inline_output_files.contains(&file.path) {
            file.contents = content(file.digest.as_ref())?.unwrap_or_default();
        }
    }
    Ok(())
}

async fn update(call: &mut Call, request: reapi::UpdateActionResultRequest) -> Result<reapi::ActionResult, Status> {
    let writer = call.allow(&request.instance_name, Role::Write)?;
    let action = required(request.digest_function, request.action_digest.as_ref(), "action_digest")?;
    let mut result = request.action_result.ok_or_else(|| Status::invalid_argument("action_result is missing"))?;
    check(&action, &result)?;
    call.received = result.encoded_len() as u64;
    call.outcome = Outcome::Stored;
    let instance = request.instance_name;
    let source = call.source().clone();
    let service = call.service();
    if result.output_files.iter().any(|file| !file.contents.is_empty()) {
        let keep = move |service: &CacheService| {
            keep_contents(service.store(), &action, &mut result)?;
            Ok(result)
        };
        result = service.run(keep).await.map_err(|error| from_cache(&error))?;
    }
    let mut missing = service.missing(named(&action, &result)).await.map_err(|error| from_cache(&error))?;
    // Trees may name more that is only behind.
    if service.backing().is_some() && !(missing.is_empty() && result.output_directories.is_empty()) {
        service.pull_parts(action.function(), &result).await;
        missing = service.missing(missing).await.map_err(|error| from_cache(&error))?;
    }
    if service.demands_actions() {
        missing.extend(unknown(service, action).await.map_err(|error| from_cache(&error))?);
    }
    if !missing.is_empty() {
        return Err(missing_blobs(&missing));
    }
    let stored = service.submit_action_result(&source, &writer, &instance, &action, &result).await;
    stored.map(|()| result).map_err(|error| from_cache(&error))
}

/// What is not there of an action: itself, or its command. What is there and no Action, as some clients have it, names no command.
async fn unknown(service: &CacheService, digest: Digest) -> Result<Option<Digest>, CacheError> {
    if digest.size() > MAX_ACTION {
        return Ok(Some(digest));
    }
    let Some(blob) = service.blob(digest).await? else { return Ok(Some(digest)) };
    let command = reapi::Action::decode(blob).ok().and_then(|action| action.command_digest);
    let Some(command) = command.and_then(|command| Digest::from_reapi(digest.function(), &command).ok()) else {
        return Ok(None);
    };
    let look = move |service: &CacheService| Ok(service.store().contains(&command)?.then_some(()));
    let there = service.look(|_| Wanted::blob(command), look).await?;
    Ok(there.is_none().then_some(command))
}

/// The digests that a result names itself.
fn digests(result: &reapi::ActionResult) -> impl Iterator<Item = &reapi::Digest> {
    let files = result.output_files.iter().filter_map(|file| file.digest.as_ref());
    let trees = result.output_directories.iter();
    let trees = trees.flat_map(|tree| tree.tree_digest.iter().chain(&tree.root_directory_digest));
    files.chain(trees).chain(&result.stdout_digest).chain(&result.stderr_digest)
}

fn named(action: &Digest, result: &reapi::ActionResult) -> Vec<Digest> {
    digests(result).filter_map(|digest| Digest::from_reapi(action.function(), digest).ok()).collect()
}

fn check(action: &Digest, result: &reapi::ActionResult) -> Result<(), Status> {
    for digest in digests(result) {
        digest_of(action.function(), digest)?;
    }
    if let Some(file) = result.output_files.iter().find(|file| file.digest.is_none()) {
        return Err(Status::invalid_argument(format!("output file `{}` has no digest", file.path.escape_debug())));
    }
    Ok(())
}

/// Moves contents that the client inlined into blobs, since later readers may not want them inlined.
fn keep_contents(store: &Store, action: &Digest, result: &mut reapi::ActionResult) -> Result<(), CacheError> {
    for file in &mut result.output_files {
        if file.contents.is_empty() {
            continue;
        }
        let digest = file.digest.as_ref().and_then(|digest| Digest::from_reapi(action.function(), digest).ok());
        if let Some(digest) = digest {
            store.put_expected(&digest, &file.contents)?;
        }
        file.contents = Vec::new();
    }
    Ok(())
}
