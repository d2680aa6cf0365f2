//! Rules that say what may be fetched.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::Uri;
use buildnet_digest::{Diagnostic, ErrorCategory};

/// Allows URIs of one scheme, host and port below a path: `https://github.com/bazelbuild/`, `https://*.example.com`,
/// `http://127.0.0.1:8080`, `git://git.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRule {
    scheme: String,
    host: String,
    /// The host may be any below the named one.
    below: bool,
    port: u16,
    /// Without a slash at its end; the path itself and everything below it are allowed.
    path: String,
}

/// A text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no origin")]
pub struct RuleError {
    /// The text, cut to 300 characters.
    pub text: String,
}

impl Diagnostic for RuleError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        Some(
            "write it as `https://github.com/bazelbuild/` or `https://*.example.com`; http and git are known, too"
                .into(),
        )
    }
}

/// A URI in its parts; `None` when it is none that can be fetched, or has something that another reader could read otherwise.
pub(crate) struct Parts {
    pub(crate) scheme: String,
    /// Lowercase, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    path: String,
}

pub(crate) fn parts(text: &str) -> Option<Parts> {
    if text.len() > 8192 {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        "git" => 9418,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // `Uri` takes more between brackets than addresses.
        Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(|_| address.to_owned())?,
        None => host.trim_end_matches('.').to_owned(),
    };
    let path = uri.path();
    let climbs = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if host.is_empty() || path.split(['/', '\\']).any(climbs) || path.to_ascii_lowercase().contains("%2f") {
        return None;
    }
    // A port that is none is no reason to take the default.
    let port = match authority.as_str().rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => port.parse().ok()?,
        _ => default,
    };
    Some(Parts { scheme, host, port, path: path.to_owned() })
}

impl OriginRule {
    /// Whether a URI is allowed.
    pub fn allows(&self, uri: &str) -> bool {
        let Some(parts) = parts(uri) else { return false };
        let host = if self.below {
            parts.host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            parts.host == self.host
        };
        let below = parts.path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        host && below && parts.scheme == self.scheme && parts.port == self.port
    }

    /// Whether the rule names an address, or this machine, and no name that somebody else could let lead anywhere.
    pub(crate) fn names_an_address(&self) -> bool {
        !self.below && (self.host == "localhost" || self.host.parse::<IpAddr>().is_ok())
    }
}

impl FromStr for OriginRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RuleError { text: text.chars().take(300).collect() };
        let below = text.contains("://*.");
        let parts = parts(&text.replacen("://*.", "://", 1)).ok_or_else(error)?;
        let path = parts.path.trim_end_matches('/').to_owned();
        // `Uri` takes what no host has.
        let known = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':');
        // Half of what a URI may have, so that a rule is still one when its port is written out.
        if parts.host.len() + path.len() > 4096 || !parts.host.chars().all(known) || text.contains(['?', '#']) {
            return Err(error());
        }
        Ok(Self { scheme: parts.scheme, host: parts.host, below, port: parts.port, path })
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let any = if self.below { "*." } else { "" };
        write!(f, "{}://{any}{open}{}{close}:{}{}", self.scheme, self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> OriginRule {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_ports_and_paths() {
        let github = rule("https://github.com/bazelbuild/");
        assert!(github.allows("https://github.com/bazelbuild/bazel/archive/1.tar.gz?x=y"));
        assert!(github.allows("HTTPS://GitHub.com:443/bazelbuild"));
        for refused in [
            "http://github.com/bazelbuild/x",
            "https://github.com:8443/bazelbuild/x",
            "https://github.com/bazelbuild-evil/x",
            "https://github.com/bazelbuild/../evil/x",
            "https://github.com/bazelbuild/%2e%2E/evil/x",
            "https://github.com/bazelbuild%2f..%2fevil",
            "https://user@github.com/bazelbuild/x",
            "https://github.com.evil.com/bazelbuild/x",
            "https://evil.com/github.com/bazelbuild/x",
            "https://github.com:nonsense/bazelbuild/x",
            "https://[github.com]/bazelbuild/x",
            "github.com/bazelbuild/x",
            "file:///bazelbuild/x",
            "",
        ] {
            assert!(!github.allows(refused), "{refused}");
        }
        let below = rule("https://*.example.com");
        assert!(below.allows("https://a.example.com/x") && below.allows("https://a.b.example.com/"));
        assert!(!below.allows("https://example.com/") && !below.allows("https://evilexample.com/"));
        assert!(rule("http://[::1]:8080").allows("http://[::1]:8080/x"));
        assert!(!rule("http://[::1]:8080").allows("http://[::1.]:8080/x"));
        assert!(rule("http://127.0.0.1:8080").names_an_address() && !below.names_an_address());
    }

    #[test]
    fn rules_are_checked_and_round_trip() {
        for text in ["https://github.com/bazelbuild", "https://*.example.com", "http://[::1]:8080", "git://host/x"] {
            assert_eq!(rule(&rule(text).to_string()), rule(text));
        }
        for text in
            ["", "*", "github.com", "https://", "https://*", "ftp://x", "https://a/*?x", "https://u@h", "https://a*b/"]
        {
            assert!(text.parse::<OriginRule>().is_err(), "{text}");
        }
    }
}
