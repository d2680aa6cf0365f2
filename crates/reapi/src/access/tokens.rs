//! The tokens in memory, found without telling by the time it takes which one comes close.

use buildnet_digest::DigestFunction;

use super::file::{AccessError, Proof, TokenLine};
use super::{Identity, file};

/// Tokens and certificates, each with who holds it.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    secrets: Vec<(blake3::Hash, Identity)>,
    certificates: Vec<(String, Identity)>,
}

impl Tokens {
    pub(super) fn new(lines: Vec<TokenLine>) -> Result<Self, AccessError> {
        let mut tokens = Self::default();
        for line in lines {
            let repeated = match line.proof {
                Proof::Secret(hash) => {
                    let repeated = tokens.secrets.iter().any(|(known, _)| *known == hash);
                    tokens.secrets.push((hash, line.identity));
                    repeated
                }
                Proof::Certificate(name) => {
                    let repeated = tokens.certificates.iter().any(|(known, _)| *known == name);
                    tokens.certificates.push((name, line.identity));
                    repeated
                }
            };
            if repeated {
                return Err(AccessError::Repeated { line: line.line });
            }
        }
        Ok(tokens)
    }

    pub(super) fn len(&self) -> usize {
        self.secrets.len() + self.certificates.len()
    }

    pub(super) fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Looks at every token, whether or not one matched before; each comparison takes constant time.
    pub(super) fn of_secret(&self, secret: &str) -> Option<Identity> {
        let hash = file::hash_of(DigestFunction::Sha256.digest(secret.as_bytes()).hash());
        let mut found = None;
        for (known, identity) in &self.secrets {
            if *known == hash {
                found = Some(identity);
            }
        }
        found.cloned()
    }

    /// A certificate's name is no secret.
    pub(super) fn of_certificate(&self, name: &str) -> Option<Identity> {
        self.certificates.iter().find(|(known, _)| known == name).map(|(_, identity)| identity.clone())
    }
}
