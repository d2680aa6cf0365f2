//! Who may do what: tokens and client certificates with roles.

mod file;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use parking_lot::RwLock;

pub use self::file::{AccessError, TokenLine};
use self::tokens::Tokens;

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

    /// The name that [`Role::from_name`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
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
    /// The instances it may use: `a` covers `a` and `a/…`, `a/*` covers `a/…` alone, `.` is the default instance, and `*` all.
    /// All when empty.
    pub instances: Arc<[String]>,
}

impl Identity {
    /// Somebody who may use all instances.
    pub fn new(name: impl Into<Arc<str>>, role: Role) -> Self {
        Self { name: name.into(), role, instances: Arc::new([]) }
    }

    /// Whether this identity may use an instance.
    pub fn covers(&self, instance: &str) -> bool {
        self.covers_all()
            || self.instances.iter().any(|allowed| match allowed.as_str() {
                "." => instance.is_empty(),
                allowed => match allowed.strip_suffix("/*") {
                    Some(above) => {
                        instance.strip_prefix(above).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
                    }
                    None => instance.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
                },
            })
    }

    /// Whether this identity may use every instance.
    pub fn covers_all(&self) -> bool {
        self.instances.is_empty() || self.instances.iter().any(|allowed| allowed == "*")
    }
}

/// The certificate that a client showed when it connected, already verified. Whoever accepts TLS connections puts it into the
/// extensions of their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name of its subject.
    pub name: Arc<str>,
}

/// The tokens of a server, and what is allowed without one. Clones share the tokens, which may be replaced while the server runs.
#[derive(Clone, Debug)]
pub struct Access {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tokens: RwLock<Arc<Tokens>>,
    /// How often the tokens were replaced.
    generation: AtomicU64,
    anonymous: Option<Role>,
    certified: Option<Role>,
}

impl Access {
    /// No tokens: everybody who can connect may read and write. For loopback addresses.
    pub fn open() -> Self {
        Self::with(Tokens::default(), Some(Role::Write), None)
    }

    /// The tokens of a text: one per line as `name role secret [instance,…]`, with `#` comments. The secret may be
    /// `sha256:` and its hash, or `cert:` and the common name of a client's certificate. Without a token a client may do what
    /// `anonymous` says; `None` turns it away.
    pub fn parse(text: &str, anonymous: Option<Role>) -> Result<Self, AccessError> {
        Ok(Self::with(Tokens::new(file::parse(text)?)?, anonymous, None))
    }

    /// No tokens yet ([`Access::replace`] brings them). `anonymous` is what is allowed without a token, and `certified` what a client
    /// may do whose certificate was verified and is named by no line; `None` turns them away.
    pub fn closed(anonymous: Option<Role>, certified: Option<Role>) -> Self {
        Self::with(Tokens::default(), anonymous, certified)
    }

    fn with(tokens: Tokens, anonymous: Option<Role>, certified: Option<Role>) -> Self {
        let tokens = RwLock::new(Arc::new(tokens));
        Self { shared: Arc::new(Shared { tokens, generation: AtomicU64::new(0), anonymous, certified }) }
    }

    /// Takes other tokens from now on. Requests that were let in go on; long conversations end, so that their clients come again.
    pub fn replace(&self, lines: Vec<TokenLine>) -> Result<(), AccessError> {
        let tokens = Arc::new(Tokens::new(lines)?);
        *self.shared.tokens.write() = tokens;
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Changes whenever the tokens were replaced.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// How many tokens and certificates are named.
    pub fn len(&self) -> usize {
        self.tokens().len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.shared.tokens.read())
    }

    /// Who sends a request with these headers: a bearer token, or basic authentication with the token as its password.
    /// `None` means that the request is to be turned away.
    pub fn identify(&self, headers: &HeaderMap) -> Option<Identity> {
        self.identify_client(headers, None)
    }

    /// As [`Access::identify`], for a client that may have shown a certificate. A token goes before it.
    pub fn identify_client(&self, headers: &HeaderMap, certificate: Option<&ClientCertificate>) -> Option<Identity> {
        let tokens = self.tokens();
        match headers.get(header::AUTHORIZATION) {
            // Clients send some token because they must (Turborepo, Nx); where none is asked for, anything will do.
            Some(value) if tokens.has_secrets() => tokens.of_secret(&value.to_str().ok().and_then(secret_of)?),
            _ => certificate.and_then(|certificate| self.certified(&tokens, certificate)).or_else(|| self.anonymous()),
        }
    }

    fn certified(&self, tokens: &Tokens, certificate: &ClientCertificate) -> Option<Identity> {
        let named = tokens.of_certificate(&certificate.name);
        named.or_else(|| self.shared.certified.map(|role| Identity::new(Arc::clone(&certificate.name), role)))
    }

    /// Who holds this secret; `None` means that nobody does.
    pub fn identify_secret(&self, secret: &str) -> Option<Identity> {
        let tokens = self.tokens();
        if tokens.has_secrets() { tokens.of_secret(secret) } else { self.anonymous() }
    }

    /// What is allowed without a token; `None` when nothing is.
    pub fn anonymous(&self) -> Option<Identity> {
        self.shared.anonymous.map(|role| Identity::new("anonymous", role))
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
        assert_eq!(Access::open().identify(&headers("Digest x")).unwrap().role, Role::Write, "no token is asked for");
        assert_eq!(Access::parse("", None).unwrap().identify(&headers("Bearer x")), None);
    }

    #[test]
    fn a_stored_hash_lets_its_secret_in_and_not_itself() {
        let secret = "correct-horse-battery";
        let hash = buildnet_digest::DigestFunction::Sha256.digest(secret.as_bytes()).hex();
        let access = Access::parse(&format!("ci read sha256:{hash}"), None).unwrap();
        assert_eq!(&*access.identify_secret(secret).unwrap().name, "ci");
        for wrong in [format!("sha256:{hash}"), hash, String::new()] {
            assert_eq!(access.identify_secret(&wrong), None);
        }
        assert!(!format!("{:?}", Access::parse(TOKENS, None)).contains("aaaaaaaaaaaaaaaa1"));
    }

    #[test]
    fn certificates_are_known_by_name() {
        let text = "builder write cert:worker-1 pr/*\nci read 0123456789abcdef\n";
        let access = Access::parse(text, None).unwrap();
        let shown = |name: &str| ClientCertificate { name: name.into() };
        let builder = access.identify_client(&HeaderMap::new(), Some(&shown("worker-1"))).unwrap();
        assert_eq!((&*builder.name, builder.role), ("builder", Role::Write));
        assert_eq!(access.identify_client(&HeaderMap::new(), Some(&shown("worker-2"))), None);
        let both = access.identify_client(&headers("Bearer 0123456789abcdef"), Some(&shown("worker-1"))).unwrap();
        assert_eq!(&*both.name, "ci", "a token goes before the certificate");
        assert_eq!(access.identify_secret("cert:worker-1"), None);
        assert_eq!(access.identify_secret("worker-1"), None);

        let certified = Access::closed(None, Some(Role::Write));
        let anybody = certified.identify_client(&HeaderMap::new(), Some(&shown("worker-2"))).unwrap();
        assert_eq!((&*anybody.name, anybody.role), ("worker-2", Role::Write));
        assert_eq!(certified.identify(&headers("Bearer x")), None);
    }

    #[test]
    fn instances_are_limited_as_written() {
        let of = |list: &str| {
            Access::parse(&format!("a read 0123456789abcdef {list}"), None).unwrap().identify_secret("0123456789abcdef")
        };
        let below = of("pr/*").unwrap();
        assert!(below.covers("pr/1") && below.covers("pr/1/x"));
        for outside in ["pr", "pr/", "prx/1", "main", ""] {
            assert!(!below.covers(outside), "{outside}");
        }
        let default = of(".").unwrap();
        assert!(default.covers("") && !default.covers("main"));
        assert!(of("*").unwrap().covers("anything") && of("*").unwrap().covers_all());
    }

    #[test]
    fn tokens_are_replaced_while_clones_serve() {
        let access = Access::parse(TOKENS, None).unwrap();
        let serving = access.clone();
        access.replace(file::parse("new read cccccccccccccccc3").unwrap()).unwrap();
        assert_eq!(serving.identify_secret("aaaaaaaaaaaaaaaa1"), None);
        assert_eq!(&*serving.identify_secret("cccccccccccccccc3").unwrap().name, "new");
        assert_eq!(serving.generation(), 1);
    }
}
