//! Who may use the daemon.

use std::net::SocketAddr;

use buildnet_digest::{Diagnostic, ErrorCategory};

/// Shortest token that is taken, in bytes.
const MIN_TOKEN: usize = 16;

/// The listening address and the token that it needs, checked to go together.
#[derive(Clone)]
pub struct Access {
    listen: SocketAddr,
    token: Option<Vec<u8>>,
}

/// A combination of address and token that would let strangers in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The address can be reached from other machines and there is no token.
    #[error("refusing to listen on {0} without a token: whoever reaches it could run commands here")]
    NoToken(SocketAddr),
    /// The token could be guessed.
    #[error("the token is too short: {0} bytes, at least {MIN_TOKEN} are needed")]
    ShortToken(usize),
}

impl Diagnostic for AccessError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoToken(_) => "Set BUILDNET_TOKEN (for example to the output of `openssl rand -hex 32`), \
                                 or listen on 127.0.0.1."
                .to_owned(),
            Self::ShortToken(_) => "`openssl rand -hex 32` makes a good one.".to_owned(),
        })
    }
}

impl Access {
    /// Checks that an address and a token go together. A token given for a loopback address is asked for there too.
    pub fn new(listen: SocketAddr, token: Option<String>) -> Result<Self, AccessError> {
        match token {
            None if !listen.ip().is_loopback() => Err(AccessError::NoToken(listen)),
            Some(token) if token.len() < MIN_TOKEN => Err(AccessError::ShortToken(token.len())),
            token => Ok(Self { listen, token: token.map(String::into_bytes) }),
        }
    }

    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Whether requests need a token.
    pub fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether an `Authorization` header carries the token.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else { return true };
        let given = authorization.and_then(|value| {
            let (scheme, given) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(given)
        });
        given.is_some_and(|given| equal(given, token))
    }
}

/// Compares in a time that depends on the lengths alone.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |acc, (a, b)| acc | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_need_a_token() {
        let refused = Access::new(address("0.0.0.0:9876"), None).err();
        assert_eq!(refused, Some(AccessError::NoToken(address("0.0.0.0:9876"))));
        assert_eq!(Access::new(address("0.0.0.0:1"), Some("short".into())).err(), Some(AccessError::ShortToken(5)));
        let access = Access::new(address("0.0.0.0:9876"), Some("0123456789abcdef".into())).unwrap();
        assert!(access.admits(Some(b"Bearer 0123456789abcdef")));
        assert!(access.admits(Some(b"bearer 0123456789abcdef")));
        for wrong in
            [None, Some(&b"Bearer 0123456789abcdeg"[..]), Some(b"Bearer "), Some(b"0123456789abcdef"), Some(b"x")]
        {
            assert!(!access.admits(wrong));
        }
    }

    #[test]
    fn loopback_needs_none() {
        assert!(Access::new(address("127.0.0.1:9876"), None).unwrap().admits(None));
        assert!(Access::new(address("[::1]:9876"), None).unwrap().admits(None));
    }
}
