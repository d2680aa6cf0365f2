//! What the qualifiers of a fetch mean to an origin.

use axum::http::HeaderMap;
use base64::Engine as _;
use bazel_remote_apis::build::bazel::remote::asset::v1::Qualifier;
use buildnet_digest::DigestFunction;
use tonic::Status;

use crate::origins::git::Revision;
use crate::origins::http::header;
use crate::status::unsupported_qualifier;

/// Standard qualifiers, and the one that Bazel adds. It tells contents of one URI apart, which it does by being a part of the key.
const KNOWN: [&str; 6] =
    ["resource_type", "checksum.sri", "directory", "vcs.branch", "vcs.commit", "bazel.canonical_id"];

/// Names must be unique.
pub(super) fn check_unique(qualifiers: &[Qualifier]) -> Result<(), Status> {
    let mut names: Vec<&str> = qualifiers.iter().map(|qualifier| qualifier.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Status::invalid_argument(format!("qualifier `{}` is given twice", pair[0].escape_debug()))),
        None => Ok(()),
    }
}

/// The first qualifier that no fetch understands, as the error that says so.
pub(super) fn unknown(qualifiers: &[Qualifier]) -> Option<Status> {
    let known =
        |name: &str| KNOWN.contains(&name) || name.starts_with("http_header:") || name.starts_with("http_header_url:");
    let name = qualifiers.iter().map(|qualifier| qualifier.name.as_str()).find(|name| !known(name))?;
    Some(unsupported_qualifier(name))
}

/// What a fetch from an origin has to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// Hashes of which one must be the content's; none when the client does not say.
    checksums: Vec<(DigestFunction, Vec<u8>)>,
    /// Headers of the requests for each URI.
    headers: Vec<HeaderMap>,
    pub(super) revision: Revision,
    pub(super) directory: String,
    pub(super) resource_type: Option<String>,
}

impl Plan {
    pub(super) fn new(qualifiers: &[Qualifier], uris: usize) -> Result<Self, Status> {
        let mut plan = Self {
            checksums: Vec::new(),
            headers: vec![HeaderMap::new(); uris],
            revision: Revision::default(),
            directory: String::new(),
            resource_type: None,
        };
        for Qualifier { name, value } in qualifiers {
            match name.as_str() {
                "resource_type" => plan.resource_type = Some(value.clone()),
                "checksum.sri" => plan.checksums = checksums(value)?,
                "directory" => plan.directory.clone_from(value),
                "vcs.branch" => plan.revision.branch = Some(value.clone()),
                "vcs.commit" => plan.revision.commit = Some(value.clone()),
                _ => plan.header(name, value)?,
            }
        }
        plan.revision.check().map_err(|error| Status::invalid_argument(error.message))?;
        Ok(plan)
    }

    /// `http_header:NAME` for all URIs, `http_header_url:INDEX:NAME` for one.
    fn header(&mut self, qualifier: &str, value: &str) -> Result<(), Status> {
        let refuse = || Status::invalid_argument(format!("qualifier `{}` is no header", qualifier.escape_debug()));
        let (index, name) = if let Some(name) = qualifier.strip_prefix("http_header:") {
            (None, name)
        } else if let Some(rest) = qualifier.strip_prefix("http_header_url:") {
            let (index, name) = rest.split_once(':').ok_or_else(refuse)?;
            (Some(index.parse::<usize>().map_err(|_| refuse())?), name)
        } else {
            return Ok(());
        };
        let (name, value) = header(name, value).ok_or_else(refuse)?;
        let headers = match index {
            None => &mut self.headers[..],
            Some(index) => self.headers.get_mut(index..=index).ok_or_else(refuse)?,
        };
        for headers in headers {
            headers.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    pub(super) fn headers(&self, uri: usize) -> HeaderMap {
        self.headers.get(uri).cloned().unwrap_or_default()
    }

    /// Whether the content can never be another.
    pub(super) fn is_pinned(&self) -> bool {
        !self.checksums.is_empty() || self.revision.commit.is_some()
    }

    /// Whether a URI leads to a repository.
    pub(super) fn is_git(&self, uri: &str) -> bool {
        let path = uri.split(['?', '#']).next().unwrap_or_default();
        self.resource_type.as_deref() == Some("application/x-git")
            || self.revision != Revision::default()
            || uri.starts_with("git://")
            || path.trim_end_matches('/').strip_suffix(".git").is_some()
    }

    pub(super) fn has_checksums(&self) -> bool {
        !self.checksums.is_empty()
    }

    /// The functions whose hashes are to be compared.
    pub(super) fn functions(&self) -> Vec<DigestFunction> {
        self.checksums.first().map(|(function, _)| *function).into_iter().collect()
    }

    /// Whether one of the promised hashes is the content's, given its hash by a function of [`functions`](Self::functions).
    pub(super) fn accepts(&self, hash: &[u8]) -> bool {
        self.checksums.iter().any(|(_, promised)| promised == hash)
    }
}

/// Subresource Integrity (W3C): hashes of which only those of the strongest function count, and any of them may be met.
fn checksums(text: &str) -> Result<Vec<(DigestFunction, Vec<u8>)>, Status> {
    // By strength.
    const FUNCTIONS: [(&str, DigestFunction); 4] = [
        ("sha256", DigestFunction::Sha256),
        ("blake3", DigestFunction::Blake3),
        ("sha384", DigestFunction::Sha384),
        ("sha512", DigestFunction::Sha512),
    ];
    let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
    for word in text.split_ascii_whitespace() {
        let word = word.split('?').next().unwrap_or_default();
        let Some((name, hash)) = word.split_once('-') else { continue };
        let Some(strength) = FUNCTIONS.iter().position(|(known, _)| *known == name) else { continue };
        let hash = base64::engine::general_purpose::STANDARD.decode(hash).ok();
        let hash = hash.filter(|hash| hash.len() == FUNCTIONS[strength].1.hash_len());
        found.push((strength, hash.ok_or_else(|| Status::invalid_argument("checksum.sri has a hash that is none"))?));
    }
    // What cannot be checked must not look as if it were.
    let strongest = found.iter().map(|(strength, _)| *strength).max();
    let strongest =
        strongest.ok_or_else(|| Status::invalid_argument("checksum.sri names no function that is known"))?;
    let (_, function) = FUNCTIONS[strongest];
    Ok(found.into_iter().filter(|(strength, _)| *strength == strongest).map(|(_, hash)| (function, hash)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qualifier(name: &str, value: &str) -> Qualifier {
        Qualifier { name: name.into(), value: value.into() }
    }

    fn sri(function: DigestFunction, bytes: &[u8]) -> String {
        format!("{function}-{}", base64::engine::general_purpose::STANDARD.encode(function.digest(bytes).hash()))
    }

    #[test]
    fn only_the_strongest_checksums_count_and_any_of_them_does() {
        let (weak, one, other) = (
            sri(DigestFunction::Sha256, b"weak"),
            sri(DigestFunction::Sha512, b"one"),
            sri(DigestFunction::Sha512, b"other"),
        );
        let text = format!("{weak} {one}?option {other} md9-x");
        let plan = Plan::new(&[qualifier("checksum.sri", &text)], 1).unwrap();
        assert_eq!(plan.functions(), [DigestFunction::Sha512]);
        let accepts = |bytes: &[u8]| plan.accepts(DigestFunction::Sha512.digest(bytes).hash());
        assert!(accepts(b"one") && accepts(b"other") && !accepts(b"weak"));
        for bad in ["", "md5-x", "sha256-", "sha256-AAAA", "sha256-!!", "sha256"] {
            assert!(Plan::new(&[qualifier("checksum.sri", bad)], 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_for_all_uris_and_for_one() {
        let qualifiers =
            [qualifier("http_header:X-All", "a"), qualifier("http_header_url:1:Authorization", "Bearer b")];
        let plan = Plan::new(&qualifiers, 2).unwrap();
        assert_eq!((plan.headers(0).len(), plan.headers(1).len()), (1, 2));
        for name in [
            "http_header:",
            "http_header:Host",
            "http_header:a b",
            "http_header_url:2:X",
            "http_header_url:x:X",
            "http_header_url:1",
        ] {
            assert!(Plan::new(&[qualifier(name, "v")], 2).is_err(), "{name}");
        }
        assert!(Plan::new(&[qualifier("http_header:X", "a\r\nHost: evil")], 1).is_err());
    }

    #[test]
    fn repositories_are_told_from_archives() {
        let plan = |name: &str, value: &str| Plan::new(&[qualifier(name, value)], 1).unwrap();
        assert!(plan("resource_type", "application/x-git").is_git("https://a/b"));
        assert!(plan("vcs.branch", "main").is_git("https://a/b"));
        assert!(!plan("resource_type", "application/x-tar").is_git("https://a/b.tar"));
        assert!(plan("directory", "x").is_git("https://a/b.git") && plan("directory", "x").is_git("git://a/b"));
        assert!(check_unique(&[qualifier("a", "1"), qualifier("a", "2")]).is_err());
    }
}
