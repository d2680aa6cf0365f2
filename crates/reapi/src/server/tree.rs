//! `GetTree`: all directories below one.

use std::collections::{HashSet, VecDeque};

use buildnet_digest::{Digest, reapi};
use futures::stream::{BoxStream, StreamExt};
use prost::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::call::Call;
use crate::access::Role;
use crate::backing::Wanted;
use crate::digests::{digest_of, required};
use crate::metrics::Outcome;
use crate::service::CacheService;
use crate::status::{from_cache, from_cas};

/// Directories in one message when the client does not care.
const PAGE: usize = 1000;
/// Encoded directories in one message, in bytes; one that is larger goes alone.
const PAGE_BYTES: usize = 1 << 20;
/// Largest `Directory` message that is read, in bytes.
const MAX_DIRECTORY: u64 = 3 << 20;
/// Most directories of one tree.
const MAX_DIRECTORIES: usize = 1_000_000;

type Pages = BoxStream<'static, Result<reapi::GetTreeResponse, Status>>;

pub(super) async fn get_tree(call: &mut Call, request: reapi::GetTreeRequest) -> Result<Pages, Status> {
    call.allow(&request.instance_name, Role::Read)?;
    let root = required(request.digest_function, request.root_digest.as_ref(), "root_digest")?;
    let page = match usize::try_from(request.page_size) {
        Ok(0) => PAGE,
        Ok(size) => size.min(PAGE),
        Err(_) => return Err(Status::invalid_argument("page_size is negative")),
    };
    let skip = match request.page_token.as_str() {
        "" => 0,
        token => token.parse::<usize>().map_err(|_| Status::invalid_argument("this page_token was never given"))?,
    };
    let look = move |service: &CacheService| Ok(service.store().contains(&root)?.then_some(()));
    let there = call.service().look(|_| Wanted::blob(root), look).await;
    if there.map_err(|error| from_cache(&error))?.is_none() {
        return Err(Status::not_found(format!("the root directory {root} is not in the cache")));
    }
    call.outcome = Outcome::Hit;
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let service = call.service().clone();
    tokio::task::spawn_blocking(move || {
        let waiting = VecDeque::from([root]);
        let mut walk = Walk { service: &service, seen: HashSet::from([root]), waiting, here: 1 };
        let send = |message| sender.blocking_send(message).is_ok();
        if let Err(status) = walk.run(page, skip, &send) {
            let _ = sender.blocking_send(Err(status));
        }
    });
    Ok(ReceiverStream::new(receiver).boxed())
}

/// Breadth first, each directory once: the order depends on the tree alone, so that a page token is a number of
/// directories to skip. A digest cannot contain itself, and what was seen is not followed again, so it ends.
struct Walk<'a> {
    service: &'a CacheService,
    seen: HashSet<Digest>,
    waiting: VecDeque<Digest>,
    /// How many of those at the front need not be asked for behind.
    here: usize,
}

impl Walk<'_> {
    fn run(
        &mut self,
        page: usize,
        skip: usize,
        send: &dyn Fn(Result<reapi::GetTreeResponse, Status>) -> bool,
    ) -> Result<(), Status> {
        let mut number = 0;
        let mut directories = Vec::new();
        let mut bytes = 0;
        while let Some(digest) = self.next()? {
            let Some(directory) = self.read(&digest)? else { continue };
            for child in directory.directories.iter().filter_map(|child| child.digest.as_ref()) {
                let child = digest_of(digest.function(), child)?;
                if self.seen.insert(child) {
                    self.waiting.push_back(child);
                }
            }
            if self.seen.len() > MAX_DIRECTORIES {
                return Err(Status::resource_exhausted("the tree has more than a million directories"));
            }
            number += 1;
            if number <= skip {
                continue;
            }
            let size = directory.encoded_len();
            if !directories.is_empty() && (directories.len() == page || bytes + size > PAGE_BYTES) {
                let next_page_token = (number - 1).to_string();
                if !send(Ok(reapi::GetTreeResponse { directories: std::mem::take(&mut directories), next_page_token }))
                {
                    return Ok(());
                }
                bytes = 0;
            }
            bytes += size;
            directories.push(directory);
        }
        send(Ok(reapi::GetTreeResponse { directories, next_page_token: String::new() }));
        Ok(())
    }

    /// The next directory. Each level of the tree is brought from the tier behind at once, as far as it is not here.
    fn next(&mut self) -> Result<Option<Digest>, Status> {
        if self.here == 0
            && let Some(backing) = self.service.backing()
        {
            let store = self.service.store();
            let level: Vec<Digest> =
                self.waiting.iter().filter(|digest| digest.size() <= MAX_DIRECTORY).copied().collect();
            let missing = store.find_missing(&level).map_err(|error| from_cas(&error))?;
            if !missing.is_empty() {
                tokio::runtime::Handle::current().block_on(backing.pull_blobs(store, &missing));
            }
            self.here = self.waiting.len();
        }
        self.here = self.here.saturating_sub(1);
        Ok(self.waiting.pop_front())
    }

    /// A directory; `None` when it is not there, which leaves its part of the tree out.
    fn read(&self, digest: &Digest) -> Result<Option<reapi::Directory>, Status> {
        if digest.size() > MAX_DIRECTORY {
            return Err(Status::invalid_argument(format!("{digest} is too large for a directory")));
        }
        let Some(bytes) = self.service.store().read(digest).map_err(|error| from_cas(&error))? else { return Ok(None) };
        let directory = reapi::Directory::decode(bytes);
        directory.map(Some).map_err(|_| Status::invalid_argument(format!("{digest} is not a directory")))
    }
}
