//! Who may use the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_reapi::{Access as Tokens, ClientCertificate, Identity, Role, TokenLine};

/// Name under which the holder of `BUILDNET_TOKEN` writes.
const OWNER: &str = "owner";

/// How clients are let in.
#[derive(Clone, Debug, Default)]
pub struct AccessOptions {
    /// The owner's token, of role admin.
    pub token: Option<String>,
    /// A file of tokens with roles.
    pub tokens: Option<PathBuf>,
    /// What is allowed without a token where tokens are asked for.
    pub anonymous: Option<Role>,
    /// Whether connections may show certificates, which are verified before anybody looks at them here.
    pub certificates: bool,
}

/// The listening address and what lets clients in, checked to go together. Clones share the tokens.
#[derive(Clone)]
pub struct Access {
    listen: SocketAddr,
    owner: Option<TokenLine>,
    file: Option<PathBuf>,
    tokens: Tokens,
    /// Nothing lets anybody in but being a process of the same user on the same machine.
    local: bool,
}

/// A combination that would let strangers in, or tokens that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The address can be reached from other machines and nothing keeps them out.
    #[error("refusing to listen on {0} without a token: whoever reaches it could run commands here")]
    NoToken(SocketAddr),
    /// Everybody would be an administrator.
    #[error("anonymous clients cannot be administrators")]
    AnonymousAdmin,
    /// The tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] buildnet_reapi::AccessError),
}

impl Diagnostic for AccessError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoToken(_) => Some(
                "Set BUILDNET_TOKEN (for example to the output of `openssl rand -hex 32`), name a file with --tokens, \
                 ask for certificates with --client-ca, or listen on 127.0.0.1."
                    .to_owned(),
            ),
            Self::AnonymousAdmin => Some("Choose read or write.".to_owned()),
            Self::Tokens(error) => error.hint(),
        }
    }
}

impl Access {
    /// Checks that an address and what lets clients in go together. Tokens given for a loopback address are asked for there too.
    pub fn new(listen: SocketAddr, options: AccessOptions) -> Result<Self, AccessError> {
        let AccessOptions { token, tokens: file, anonymous, certificates } = options;
        let local = token.is_none() && file.is_none() && !certificates;
        if local && !listen.ip().is_loopback() {
            return Err(AccessError::NoToken(listen));
        }
        if anonymous == Some(Role::Admin) {
            return Err(AccessError::AnonymousAdmin);
        }
        let owner = token.map(|token| TokenLine::of_secret(OWNER, Role::Admin, &token)).transpose()?;
        // Whoever holds a certificate of the authority may write, unless a file says who may what.
        let certified = (certificates && file.is_none()).then_some(Role::Write);
        let anonymous = if local { Some(Role::Admin) } else { anonymous };
        let access = Self { listen, owner, file, tokens: Tokens::closed(anonymous, certified), local };
        access.reload()?;
        Ok(access)
    }

    /// Reads the file of tokens again and takes what it says from now on. After an error the tokens are as they were.
    pub fn reload(&self) -> Result<usize, AccessError> {
        let mut lines: Vec<TokenLine> = self.owner.iter().cloned().collect();
        if let Some(file) = &self.file {
            lines.extend(TokenLine::load(file)?);
        }
        self.tokens.replace(lines)?;
        Ok(self.tokens.len())
    }

    /// The file of tokens, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The same, once it is known where the daemon really listens.
    #[must_use]
    pub fn at(mut self, listen: SocketAddr) -> Self {
        self.listen = listen;
        self
    }

    /// The tokens, for the cache protocols.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whether it is the kernel that tells who may use the daemon: processes of the same user, without tokens.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Who sends a request; none when it is to be turned away.
    pub fn identify(&self, headers: &HeaderMap, certificate: Option<&ClientCertificate>) -> Option<Identity> {
        self.tokens.identify_client(headers, certificate)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn with_token(token: &str) -> AccessOptions {
        AccessOptions { token: Some(token.to_owned()), ..AccessOptions::default() }
    }

    #[test]
    fn strangers_need_a_token_or_a_certificate() {
        let far = address("0.0.0.0:9876");
        assert_eq!(Access::new(far, AccessOptions::default()).err(), Some(AccessError::NoToken(far)));
        let read = AccessOptions { anonymous: Some(Role::Read), ..AccessOptions::default() };
        assert_eq!(Access::new(far, read).err(), Some(AccessError::NoToken(far)));
        assert!(matches!(Access::new(far, with_token("short")).err(), Some(AccessError::Tokens(_))));
        let access = Access::new(far, with_token("0123456789abcdef")).unwrap();
        let who = |value: Option<&str>| {
            let headers = value.map(|value| (AUTHORIZATION, value.parse().unwrap())).into_iter().collect();
            access.identify(&headers, None).map(|identity| identity.role)
        };
        assert_eq!(who(Some("Bearer 0123456789abcdef")), Some(Role::Admin));
        for wrong in [None, Some("Bearer 0123456789abcdeg"), Some("Bearer "), Some("0123456789abcdef"), Some("x")] {
            assert_eq!(who(wrong), None, "{wrong:?}");
        }
        let certified = Access::new(far, AccessOptions { certificates: true, ..AccessOptions::default() }).unwrap();
        assert_eq!(certified.identify(&HeaderMap::new(), None), None);
        let shown = ClientCertificate { name: "worker".into() };
        assert_eq!(certified.identify(&HeaderMap::new(), Some(&shown)).map(|who| who.role), Some(Role::Write));
    }

    #[test]
    fn loopback_needs_none() {
        for loopback in ["127.0.0.1:9876", "[::1]:9876"] {
            let access = Access::new(address(loopback), AccessOptions::default()).unwrap();
            assert!(access.is_local());
            assert_eq!(access.identify(&HeaderMap::new(), None).map(|who| who.role), Some(Role::Admin));
        }
    }

    #[test]
    fn nobody_is_an_administrator_without_a_token() {
        let options = AccessOptions { anonymous: Some(Role::Admin), ..with_token("0123456789abcdef") };
        assert_eq!(Access::new(address("127.0.0.1:1"), options).err(), Some(AccessError::AnonymousAdmin));
    }
}
