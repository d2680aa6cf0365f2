//! Instances: namespaces of the action cache, and overlays of them.
//!
//! Blobs are shared by all instances, since nobody can forge one. Action results are not: each instance has its own.

use buildnet_digest::{Digest, DigestFunction};

/// Segments that REAPI reserves in resource names, so that no instance may contain them
/// (`remote_execution.proto`, "instance name").
const RESERVED: [&str; 7] =
    ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"];
/// Longest instance name in bytes.
const MAX_LENGTH: usize = 256;
/// Size in the digests of derived keys. No client can name such a digest: [`MAX_CLIENT_SIZE`] is far below.
const DERIVED_SIZE: u64 = u64::MAX;
/// Largest size of a digest that clients may name: 1 TiB.
pub const MAX_CLIENT_SIZE: u64 = 1 << 40;

/// Instances whose name starts with `prefix/` read from `parent` what they do not have themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// First segments of the instances on top.
    pub prefix: String,
    /// The instance below.
    pub parent: String,
}

/// Why an instance name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be an instance name: {reason}")]
pub struct InstanceError {
    /// The name, cut to 300 characters.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks an instance name; the empty one is the default instance.
pub fn check(name: &str) -> Result<(), InstanceError> {
    let refuse = |reason| Err(InstanceError { name: name.chars().take(300).collect(), reason });
    if name.is_empty() {
        return Ok(());
    }
    if name.len() > MAX_LENGTH {
        return refuse("it is longer than 256 bytes");
    }
    for segment in name.split('/') {
        if segment.is_empty() || segment == "." || segment == ".." {
            return refuse("it has an empty segment, `.` or `..`");
        }
        if RESERVED.contains(&segment) {
            return refuse("one of its segments is reserved");
        }
        if segment.chars().any(char::is_control) {
            return refuse("it has a control character");
        }
    }
    Ok(())
}

/// The instances to look into, in order, when `instance` is asked: itself, then the one below by the longest prefix that fits.
pub fn lookup_order<'a>(overlays: &'a [Overlay], instance: &'a str) -> impl Iterator<Item = &'a str> {
    let below = overlays
        .iter()
        .filter(|overlay| instance.strip_prefix(overlay.prefix.as_str()).is_some_and(|rest| rest.starts_with('/')))
        .max_by_key(|overlay| overlay.prefix.len())
        .map(|overlay| overlay.parent.as_str());
    std::iter::once(instance).chain(below.filter(move |parent| *parent != instance))
}

/// The key under which the store keeps the result of `action` for an instance.
///
/// The action's size does not enter it: Bazel's HTTP protocol names actions by their hash alone, which stands for the size as well.
/// In the default instance an action of BuildNet's own digest function is its own key, so that local builds share the result.
pub fn action_key(instance: &str, action: &Digest) -> Digest {
    if instance.is_empty() && action.function() == DigestFunction::Blake3 {
        *action
    } else {
        derive(action.function(), &["action", instance, &action.hex()])
    }
}

/// The key of a named entry (of a protocol whose keys are no digests), whose blobs use `function`.
pub fn named_key(function: DigestFunction, protocol: &str, instance: &str, key: &str) -> Digest {
    derive(function, &["named", protocol, instance, key])
}

/// The key of how a blob is split into chunks, of the blob's own digest function.
pub(crate) fn chunks_key(blob: &Digest) -> Digest {
    derive(blob.function(), &["chunks", &blob.to_string()])
}

/// Hashes the parts, each after its length, so that no two lists of parts give the same bytes.
fn derive(function: DigestFunction, parts: &[&str]) -> Digest {
    let mut hasher = function.hasher();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Digest::new(function, hasher.finish().hash(), DERIVED_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["", "main", "pr/123", "moon-outputs", "a b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["/", "a//b", "../x", "a/./b", "a/blobs", "uploads", "a\0b", "/a", "a/"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"x".repeat(300)).is_err());
    }

    #[test]
    fn keys_differ_by_each_part_and_cannot_be_named() {
        let action = DigestFunction::Sha256.digest(b"action");
        let own = DigestFunction::Blake3.digest(b"action");
        assert_eq!(action_key("", &own), own, "local builds share the default instance");
        let by_hash_alone = Digest::new(action.function(), action.hash(), 1);
        assert_eq!(action_key("a", &action), action_key("a", &by_hash_alone), "as Bazel names it over HTTP");
        let keys = [
            action_key("", &action),
            action_key("a", &action),
            action_key("b", &action),
            named_key(DigestFunction::Sha256, "a", "b", "c"),
            named_key(DigestFunction::Sha256, "ab", "", "c"),
            named_key(DigestFunction::Sha256, "a", "bc", ""),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(key.size() > MAX_CLIENT_SIZE);
            assert!(!keys[..index].contains(key));
        }
        assert_eq!(action_key("a", &DigestFunction::Blake3.digest(b"")).function(), DigestFunction::Blake3);
    }

    #[test]
    fn overlays_fall_back_once() {
        let overlays = [Overlay { prefix: "pr".into(), parent: "main".into() }];
        let order = |instance| lookup_order(&overlays, instance).collect::<Vec<_>>();
        assert_eq!(order("pr/1"), ["pr/1", "main"]);
        assert_eq!(order("pr"), ["pr"]);
        assert_eq!(order("prod/1"), ["prod/1"]);
        assert_eq!(order("main"), ["main"]);
        let nested = [("pr/x", "x-main"), ("pr", "main")];
        let nested = nested.map(|(prefix, parent)| Overlay { prefix: prefix.into(), parent: parent.into() });
        assert_eq!(lookup_order(&nested, "pr/x/1").collect::<Vec<_>>(), ["pr/x/1", "x-main"]);
        assert_eq!(lookup_order(&nested, "pr/y").collect::<Vec<_>>(), ["pr/y", "main"]);
    }
}
