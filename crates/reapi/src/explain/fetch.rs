//! Messages from a store or a server.

use std::collections::HashMap;

use buildnet_digest::{Digest, DigestFunction};
use bytes::Bytes;
use prost::Message;

use super::{ExplainError, Source};
use crate::namespace;

/// Sizes that an action named by its hash alone is looked for with. Actions hold two digests and little else.
const GUESSED_SIZES: std::ops::RangeInclusive<u64> = 1..=8192;
/// Largest message that is read, in bytes.
const MAX_MESSAGE: u64 = 64 << 20;

/// Messages of one instance.
pub(super) struct Messages<'a> {
    pub(super) source: &'a Source,
    pub(super) instance: &'a str,
}

impl Messages<'_> {
    /// The digest of an action as somebody writes it.
    pub(super) async fn resolve(&self, text: &str) -> Result<Digest, ExplainError> {
        let error = || ExplainError::Digest { text: text.chars().take(160).collect() };
        let (function, rest) = match text.split_once(':') {
            Some((name, rest)) => (Some(DigestFunction::from_name(name).ok_or_else(error)?), rest),
            None => (None, text),
        };
        let (hash, size) = match rest.split_once('/') {
            Some((hash, size)) => (hash, Some(size.parse::<u64>().map_err(|_| error())?)),
            None => (rest, None),
        };
        // A hash does not say which function made it, only how long its hashes are.
        let functions =
            DigestFunction::ALL.into_iter().filter(|candidate| function.is_none_or(|one| one == *candidate));
        let candidates: Vec<Digest> =
            functions.filter_map(|function| Digest::from_hex(function, hash, size.unwrap_or(0)).ok()).collect();
        if candidates.is_empty() || size.is_some_and(|size| size > MAX_MESSAGE) {
            return Err(error());
        }
        for candidate in candidates {
            let found = match size {
                Some(_) => self.has(&candidate).await?.then_some(candidate),
                None => self.with_size(&candidate).await?,
            };
            if let Some(digest) = found {
                return Ok(digest);
            }
        }
        Err(ExplainError::Missing { what: "action", digest: text.to_owned() })
    }

    async fn has(&self, digest: &Digest) -> Result<bool, ExplainError> {
        Ok(match self.source {
            Source::Store(store) => store.contains(digest)?,
            Source::Remote(remote) if !remote.supports(digest.function()) => false,
            Source::Remote(remote) => remote.find_missing(&[*digest]).await?.is_empty(),
        })
    }

    /// The digest of the blob with this hash, whatever its size.
    async fn with_size(&self, digest: &Digest) -> Result<Option<Digest>, ExplainError> {
        let remote = match self.source {
            Source::Store(store) => return Ok(store.find_by_hash(digest.function(), digest.hash())?),
            Source::Remote(remote) if !remote.supports(digest.function()) => return Ok(None),
            Source::Remote(remote) => remote,
        };
        let of_size = |size| Digest::new(digest.function(), digest.hash(), size);
        let guesses: Vec<Digest> = GUESSED_SIZES.map(of_size).collect();
        let missing = remote.find_missing(&guesses).await?;
        let missing: std::collections::HashSet<u64> = missing.iter().map(Digest::size).collect();
        let mut there = guesses.into_iter().filter(|guess| !missing.contains(&guess.size()));
        match (there.next(), there.next()) {
            (found, None) => Ok(found),
            _ => Err(ExplainError::Ambiguous { hash: digest.hex() }),
        }
    }

    /// Whether there is a result of the action.
    pub(super) async fn is_cached(&self, action: &Digest) -> Result<bool, ExplainError> {
        Ok(match self.source {
            Source::Store(store) => store.action_result(&namespace::action_key(self.instance, action))?.is_some(),
            Source::Remote(remote) => remote.with_instance(self.instance).action_result(action).await?.is_some(),
        })
    }

    /// Those of the blobs that are there.
    pub(super) async fn read(&self, digests: &[Digest]) -> Result<HashMap<Digest, Bytes>, ExplainError> {
        match self.source {
            Source::Remote(remote) => Ok(remote.read(digests).await?),
            Source::Store(store) => {
                let mut blobs = HashMap::new();
                for digest in digests.iter().filter(|digest| digest.size() <= MAX_MESSAGE) {
                    if let Some(blob) = store.read(digest)? {
                        blobs.insert(*digest, blob);
                    }
                }
                Ok(blobs)
            }
        }
    }

    /// A message that must be there.
    pub(super) async fn message<M: Message + Default>(
        &self,
        what: &'static str,
        digest: &Digest,
    ) -> Result<M, ExplainError> {
        let missing = || ExplainError::Missing { what, digest: format!("{}/{}", digest.hex(), digest.size()) };
        if digest.size() > MAX_MESSAGE {
            return Err(missing());
        }
        let blob = self.read(&[*digest]).await?.remove(digest).ok_or_else(missing)?;
        decode(what, digest, blob)
    }
}

pub(super) fn decode<M: Message + Default>(
    what: &'static str,
    digest: &Digest,
    blob: Bytes,
) -> Result<M, ExplainError> {
    let what = match what {
        "action" => "an action",
        "command" => "a command",
        _ => "a directory",
    };
    M::decode(blob).map_err(|_| ExplainError::Malformed { what, digest: Box::new(*digest) })
}
