//! Digests and instances as requests write them, checked.

use buildnet_digest::{Digest, DigestFunction, ParseDigestError, reapi};
use tonic::Status;

use crate::namespace::MAX_CLIENT_SIZE;

/// The function of a request: the declared one, or the one that the length of a hash means.
pub(crate) fn function_of(declared: i32, sample: Option<&reapi::Digest>) -> Result<DigestFunction, Status> {
    if declared != 0 {
        let known = DigestFunction::ALL.into_iter().find(|function| function.to_reapi() as i32 == declared);
        return known.ok_or_else(|| Status::invalid_argument(format!("digest function {declared} is not supported")));
    }
    let Some(sample) = sample else { return Ok(DigestFunction::Sha256) };
    from_length(sample.hash.len()).ok_or_else(|| {
        Status::invalid_argument(format!("no digest function has hashes of {} characters", sample.hash.len()))
    })
}

/// The function whose hash has this many hexadecimal digits, of those that need no declaration.
pub(crate) fn from_length(digits: usize) -> Option<DigestFunction> {
    Some(match digits {
        32 => DigestFunction::Md5,
        40 => DigestFunction::Sha1,
        64 => DigestFunction::Sha256,
        96 => DigestFunction::Sha384,
        128 => DigestFunction::Sha512,
        _ => return None,
    })
}

/// One digest of a request.
pub(crate) fn digest_of(function: DigestFunction, digest: &reapi::Digest) -> Result<Digest, Status> {
    checked(Digest::from_reapi(function, digest))
}

/// A digest that was parsed, or why it is refused.
pub(crate) fn checked(parsed: Result<Digest, ParseDigestError>) -> Result<Digest, Status> {
    let parsed = parsed.map_err(|error| Status::invalid_argument(error.to_string()))?;
    check_size(&parsed)?;
    Ok(parsed)
}

/// A digest that must be there.
pub(crate) fn required(declared: i32, digest: Option<&reapi::Digest>, name: &str) -> Result<Digest, Status> {
    let digest = digest.ok_or_else(|| Status::invalid_argument(format!("{name} is missing")))?;
    digest_of(function_of(declared, Some(digest))?, digest)
}

/// Refuses sizes that no blob has: a size of zero with another hash than the empty blob's, and absurd ones.
pub(crate) fn check_size(digest: &Digest) -> Result<(), Status> {
    if digest.size() > MAX_CLIENT_SIZE {
        return Err(Status::invalid_argument(format!("{digest} is larger than any blob can be")));
    }
    if digest.size() == 0 && *digest != Digest::empty(digest.function()) {
        return Err(Status::invalid_argument(format!("{digest} is not the empty blob")));
    }
    Ok(())
}

/// Whether resource names must say the function, since its hashes are as long as another's.
pub(crate) fn is_explicit(function: DigestFunction) -> bool {
    from_length(function.hash_len() * 2) != Some(function)
}

/// How REAPI names a blob in resource names and violations: the function only where its length does not tell.
pub(crate) fn blob_name(digest: &Digest) -> String {
    let (function, hex, size) = (digest.function(), digest.hex(), digest.size());
    if is_explicit(function) { format!("blobs/{function}/{hex}/{size}") } else { format!("blobs/{hex}/{size}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_inferred_or_declared() {
        for function in [DigestFunction::Md5, DigestFunction::Sha1, DigestFunction::Sha256, DigestFunction::Sha384] {
            let digest = function.digest(b"x");
            assert_eq!(required(0, Some(&digest.to_reapi()), "digest").unwrap(), digest);
        }
        let blake3 = DigestFunction::Blake3.digest(b"x");
        assert_eq!(required(9, Some(&blake3.to_reapi()), "digest").unwrap(), blake3);
        assert!(required(4, Some(&blake3.to_reapi()), "digest").is_err());
        assert!(required(2, Some(&blake3.to_reapi()), "digest").is_err());
        assert!(required(0, None, "digest").is_err());
    }

    #[test]
    fn names_tell_the_function_where_the_length_does_not() {
        let hex = DigestFunction::Sha256.digest(b"").hex();
        for function in DigestFunction::ALL {
            let name = blob_name(&Digest::empty(function));
            let explicit = matches!(function, DigestFunction::Blake3 | DigestFunction::Sha256Tree);
            assert_eq!(name.matches('/').count(), if explicit { 3 } else { 2 }, "{name}");
        }
        assert_eq!(blob_name(&Digest::empty(DigestFunction::Sha256)), format!("blobs/{hex}/0"));
        assert_eq!(blob_name(&Digest::empty(DigestFunction::Sha256Tree)), format!("blobs/sha256tree/{hex}/0"));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let digest = DigestFunction::Sha256.digest(b"x").to_reapi();
        for size in [0, -1, i64::MAX] {
            assert!(required(0, Some(&reapi::Digest { size_bytes: size, ..digest.clone() }), "digest").is_err());
        }
        assert!(required(0, Some(&Digest::empty(DigestFunction::Sha256).to_reapi()), "digest").is_ok());
    }
}
