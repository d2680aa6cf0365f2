//! Who may do what: tokens with roles.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine as _;

/// What a token allows; each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look up and read.
    Read,
    /// Also store.
    Write,
    /// Also promote, purge and collect garbage.
    Admin,
}

impl Role {
    /// `read`, `write` or `admin`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }
}

/// Who sends a request. The access layer puts it into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the token; `anonymous` without one. Recorded as the writer of what is stored.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// The instances it may use (`a` covers `a` and `a/…`); all when empty.
    pub instances: Arc<[String]>,
}

impl Identity {
    /// Whether this identity may use an instance.
    pub fn covers(&self, instance: &str) -> bool {
        self.instances.is_empty()
            || self.instances.iter().any(|allowed| {
                instance.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

#[derive(Clone, Debug)]
struct Token {
    /// BLAKE3 of the secret: the comparison of two hashes tells nothing about the secret by its duration.
    secret: blake3::Hash,
    identity: Identity,
}

/// The tokens of a server, and what is allowed without one.
#[derive(Clone, Debug)]
pub struct Access {
    tokens: Arc<[Token]>,
    anonymous: Option<Role>,
}

/// A token file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// A line that is not `name role secret [instance,…]`.
    #[error("line {line} of the tokens is not `name role secret [instance,…]` with role read, write or admin")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A secret that can be guessed.
    #[error("the secret of token `{name}` has fewer than 16 characters")]
    Short {
        /// Name of the token.
        name: String,
    },
}

impl buildnet_digest::Diagnostic for AccessError {
    fn category(&self) -> buildnet_digest::ErrorCategory {
        buildnet_digest::ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Line { .. } => "write one token per line, for example `ci write 5f0c… pr,main`".into(),
            Self::Short { .. } => "make one with `openssl rand -hex 32`".into(),
        })
    }
}

impl Access {
    /// No tokens: everybody who can connect may read and write. For loopback addresses.
    pub fn open() -> Self {
        Self { tokens: Arc::new([]), anonymous: Some(Role::Write) }
    }

    /// The tokens of a file's text: one per line as `name role secret [instance,…]`, with `#` comments. Without a token
    /// a client may do what `anonymous` says; `None` turns it away.
    pub fn parse(text: &str, anonymous: Option<Role>) -> Result<Self, AccessError> {
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let error = AccessError::Line { line: index + 1 };
            let (Some(role), Some(secret), instances, None) =
                (words.next().and_then(Role::from_name), words.next(), words.next(), words.next())
            else {
                return Err(error);
            };
            if secret.len() < 16 {
                return Err(AccessError::Short { name: name.to_owned() });
            }
            let instances: Vec<String> =
                instances.map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
            tokens.push(Token {
                secret: blake3::hash(secret.as_bytes()),
                identity: Identity { name: name.into(), role, instances: instances.into() },
            });
        }
        Ok(Self { tokens: tokens.into(), anonymous })
    }

    /// Who sends a request with these headers: a bearer token, or basic authentication with the token as its password.
    /// `None` means that the request is to be turned away.
    pub fn identify(&self, headers: &HeaderMap) -> Option<Identity> {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return self.anonymous() };
        self.identify_secret(&value.to_str().ok().and_then(secret_of)?)
    }

    /// Who holds this secret; `None` means that nobody does.
    pub fn identify_secret(&self, secret: &str) -> Option<Identity> {
        let secret = blake3::hash(secret.as_bytes());
        let token = self.tokens.iter().find(|token| token.secret == secret);
        match token {
            Some(token) => Some(token.identity.clone()),
            // Clients send some token because they must (Turborepo, Nx); where none is asked for, any will do.
            None if self.tokens.is_empty() => self.anonymous(),
            None => None,
        }
    }

    /// What is allowed without a token; `None` when nothing is.
    pub fn anonymous(&self) -> Option<Identity> {
        self.anonymous.map(|role| Identity { name: "anonymous".into(), role, instances: Arc::new([]) })
    }
}

/// The secret of an `Authorization` header.
fn secret_of(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str = "# the house\nci write aaaaaaaaaaaaaaaa1 pr,main\nboss admin bbbbbbbbbbbbbbbb2\n";

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn bearer_and_basic_name_the_same_token() {
        let access = Access::parse(TOKENS, None).unwrap();
        let bearer = access.identify(&headers("Bearer aaaaaaaaaaaaaaaa1")).unwrap();
        let encoded = base64::engine::general_purpose::STANDARD.encode("whoever:aaaaaaaaaaaaaaaa1");
        assert_eq!(access.identify(&headers(&format!("Basic {encoded}"))).unwrap(), bearer);
        assert_eq!((&*bearer.name, bearer.role), ("ci", Role::Write));
        assert!(bearer.covers("pr/7") && bearer.covers("main") && !bearer.covers("prod") && !bearer.covers(""));
        assert_eq!(access.identify(&headers("Bearer bbbbbbbbbbbbbbbb2")).unwrap().role, Role::Admin);
    }

    #[test]
    fn what_is_wrong_is_turned_away() {
        let access = Access::parse(TOKENS, Some(Role::Read)).unwrap();
        for value in ["Bearer nope", "Basic !!!", "Digest x", "Bearer"] {
            assert_eq!(access.identify(&headers(value)), None, "{value}");
        }
        assert_eq!(access.identify(&HeaderMap::new()).unwrap().role, Role::Read);
        assert_eq!(Access::parse(TOKENS, None).unwrap().identify(&HeaderMap::new()), None);
    }

    #[test]
    fn bad_files_are_named() {
        assert_eq!(Access::parse("a b c", None).unwrap_err(), AccessError::Line { line: 1 });
        assert_eq!(Access::parse("\na read short", None).unwrap_err(), AccessError::Short { name: "a".into() });
        assert!(Access::parse("a read 0123456789abcdef x y", None).is_err());
    }
}
