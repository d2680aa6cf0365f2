//! Small texts: digests, token files, origins.

use buildnet_digest::{Digest, DigestFunction};
use buildnet_reapi::{Access, OriginRule, Role};

pub(super) const DIGEST_WORDS: &[&str] = &["sha256:", "sha256tree:", "blake3:", "md5:", "sha512:", "/", ":", "-1", "+"];

/// What is taken for a digest is written as it was read.
pub(super) fn digest(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(digest) = text.parse::<Digest>() {
        let again: Digest = digest.to_string().parse().expect("a digest reads what it writes");
        assert_eq!(again, digest);
        assert_eq!(Digest::from_hex(digest.function(), &digest.hex(), digest.size()), Ok(digest));
    }
    for function in DigestFunction::ALL {
        if let Ok(digest) = Digest::from_hex(function, &text, 1) {
            assert_eq!(digest.hex(), text, "only the one way to write a hash is taken");
        }
    }
}

pub(super) fn digest_seeds() -> Vec<Vec<u8>> {
    let digests = DigestFunction::ALL.into_iter().map(|function| function.digest(b"content"));
    digests.flat_map(|digest| [digest.to_string().into_bytes(), digest.hex().into_bytes()]).collect()
}

pub(super) const TOKEN_WORDS: &[&str] =
    &["read", "write", "admin", "#", "\n", " ", "*", ",", "pr/*", ".", "0123456789abcdef"];

/// A secret that is not in the file opens nothing.
pub(super) fn tokens(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(access) = Access::parse(&text, None) else { return };
    assert!(access.identify_secret("a secret that nobody wrote down").is_none());
    assert!(access.identify_secret("").is_none(), "an empty secret opened the door");
    for word in text.split_whitespace() {
        if let Some(identity) = access.identify_secret(word) {
            assert!(identity.role >= Role::Read && text.contains(&*identity.name));
            identity.covers("pr/1");
            identity.covers(word);
        }
    }
}

pub(super) fn token_seeds() -> Vec<Vec<u8>> {
    vec![
        b"# the house\nci write 0123456789abcdef-ci pr,main\nboss admin fedcba9876543210-boss\n".to_vec(),
        b"reader read 0123456789abcdef *\nother read 0123456789abcdeg pr/*,.\n".to_vec(),
    ]
}

pub(super) const ORIGIN_WORDS: &[&str] = &[
    "https://",
    "http://",
    "git://",
    "*.",
    "..",
    "%2e",
    "%2f",
    "@",
    ":443",
    "[::1]",
    "/",
    "\n",
    "example.com",
    "//",
    "\\",
    "?",
    "#",
];

/// A rule in the first line, and a URI in the second: what a rule allows is at the host, the port and the scheme that it says.
pub(super) fn origin_rule(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (rule, uri) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(rule) = rule.parse::<OriginRule>() else { return };
    let shown = rule.to_string();
    assert_eq!(shown.parse::<OriginRule>().as_ref(), Ok(&rule), "{shown}");
    if !rule.allows(uri) {
        return;
    }
    let parsed: axum::http::Uri = uri.parse().expect("what is allowed is a URI");
    let (scheme, rest) = shown.split_once("://").expect("a rule names a scheme");
    assert!(parsed.scheme_str().is_some_and(|given| given.eq_ignore_ascii_case(scheme)));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.rsplit_once(':').expect("a rule is shown with its port");
    let given = parsed.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    assert!(given.ends_with(host.trim_start_matches('*')), "{shown} allowed {uri}");
    let default = match scheme {
        "https" => "443",
        "http" => "80",
        _ => "9418",
    };
    assert_eq!(parsed.port_u16().map_or(default.to_owned(), |port| port.to_string()), port);
    assert!(parsed.path().starts_with(format!("/{path}").trim_end_matches('/')), "{shown} allowed {uri}");
    assert!(parsed.path().split('/').all(|segment| segment != ".."), "{shown} allowed {uri}");
}

pub(super) fn origin_seeds() -> Vec<Vec<u8>> {
    vec![
        b"https://github.com/bazelbuild/\nhttps://github.com/bazelbuild/bazel/a.tar.gz".to_vec(),
        b"https://*.example.com\nhttps://a.example.com/x".to_vec(),
        b"http://[::1]:8080\nhttp://[::1]:8080/x?y#z".to_vec(),
        b"git://127.0.0.1\ngit://127.0.0.1/project.git".to_vec(),
    ]
}
