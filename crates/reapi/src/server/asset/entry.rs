//! How assets are kept: as results under derived keys, so that the store checks that what they name is there.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use bazel_remote_apis::build::bazel::remote::asset::v1::Qualifier;
use buildnet_digest::protobuf::Timestamp;
use buildnet_digest::{Digest, DigestFunction, reapi};

use super::Kind;
use crate::access::Identity;
use crate::service::{CacheError, CacheService};

/// An asset that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) digest: Digest,
    /// When it was pushed, or its fetch began. In seconds since 1970.
    pub(super) since: i64,
    pub(super) expires_at: Option<Timestamp>,
    /// What it refers to, and needs to be there with it.
    pub(super) blobs: Vec<Digest>,
    pub(super) directories: Vec<Digest>,
}

/// The key of an asset: its URI and its qualifiers in any order, each after its length. The values of headers may be secrets, and keys
/// are written to the log of writers, so that a hash stands for them.
pub(super) fn key(uri: &str, qualifiers: &[Qualifier]) -> String {
    let mut sorted: Vec<(&str, String)> = qualifiers
        .iter()
        .map(|one| {
            let secret = one.name.starts_with("http_header");
            let value =
                if secret { blake3::hash(one.value.as_bytes()).to_hex().to_string() } else { one.value.clone() };
            (one.name.as_str(), value)
        })
        .collect();
    sorted.sort_unstable();
    let mut key = format!("{}:{uri}", uri.len());
    for text in sorted.iter().flat_map(|(name, value)| [*name, value.as_str()]) {
        // Writing to a string cannot fail.
        let _ = write!(key, "{}:{text}", text.len());
    }
    key
}

impl Entry {
    pub(super) fn put(
        &self,
        service: &CacheService,
        writer: &Identity,
        instance: &str,
        uri: &str,
        qualifiers: &[Qualifier],
    ) -> Result<(), CacheError> {
        // The asset itself is the first of its kind.
        let own = |kind| (self.kind == kind).then_some(&self.digest);
        let files = own(Kind::Blob).into_iter().chain(&self.blobs);
        let directories = own(Kind::Directory).into_iter().chain(&self.directories);
        let file = |digest: &Digest| reapi::OutputFile { digest: Some(digest.to_reapi()), ..Default::default() };
        let directory = |root: &Digest| reapi::OutputDirectory {
            root_directory_digest: Some(root.to_reapi()),
            ..Default::default()
        };
        let result = reapi::ActionResult {
            output_files: files.map(file).collect(),
            output_directories: directories.map(directory).collect(),
            execution_metadata: Some(reapi::ExecutedActionMetadata {
                queued_timestamp: Some(Timestamp { seconds: self.since, nanos: 0 }),
                worker_completed_timestamp: self.expires_at,
                ..Default::default()
            }),
            ..Default::default()
        };
        let (function, protocol) = (self.digest.function(), self.kind.protocol());
        service.put_named_result(function, protocol, writer, instance, &key(uri, qualifiers), &result)
    }

    /// An asset that is there with all that it refers to, is not expired, and not older than `oldest`.
    pub(super) fn get(
        service: &CacheService,
        kind: Kind,
        function: DigestFunction,
        instance: &str,
        uri: &str,
        qualifiers: &[Qualifier],
        oldest: Option<&Timestamp>,
    ) -> Result<Option<Self>, CacheError> {
        let name = key(uri, qualifiers);
        let result = service.named_result(function, kind.protocol(), instance, &name)?;
        let entry = result.and_then(|result| Self::of(kind, function, &result));
        Ok(entry.filter(|entry| {
            oldest.is_none_or(|oldest| entry.since >= oldest.seconds)
                && entry.expires_at.is_none_or(|expires| expires.seconds > now())
        }))
    }

    fn of(kind: Kind, function: DigestFunction, result: &reapi::ActionResult) -> Option<Self> {
        let parse = |digest: Option<&reapi::Digest>| Digest::from_reapi(function, digest?).ok();
        let files = result.output_files.iter().map(|file| parse(file.digest.as_ref()));
        let directories = result.output_directories.iter().map(|tree| parse(tree.root_directory_digest.as_ref()));
        let mut blobs = files.collect::<Option<Vec<_>>>()?;
        let mut directories = directories.collect::<Option<Vec<_>>>()?;
        let own = if kind == Kind::Blob { &mut blobs } else { &mut directories };
        let digest = (!own.is_empty()).then(|| own.remove(0))?;
        let times = result.execution_metadata.clone().unwrap_or_default();
        let since = times.queued_timestamp.map_or(0, |time| time.seconds);
        Some(Self { kind, digest, since, expires_at: times.worker_completed_timestamp, blobs, directories })
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_depend_on_order_do_not_collide_and_tell_no_secret() {
        let qualifier = |name: &str, value: &str| Qualifier { name: name.into(), value: value.into() };
        let (a, b) = (qualifier("a", "1"), qualifier("b", "2"));
        assert_eq!(key("u", &[a.clone(), b.clone()]), key("u", &[b, a.clone()]));
        assert_ne!(key("u", &[a]), key("u1:a1:1", &[]));
        assert_ne!(key("u", &[qualifier("ab", "")]), key("u", &[qualifier("a", "b")]));
        let with_secret = key("u", &[qualifier("http_header:Authorization", "Bearer hush")]);
        assert!(!with_secret.contains("hush"));
        assert_ne!(with_secret, key("u", &[qualifier("http_header:Authorization", "Bearer other")]));
    }
}
