//! Token files: one token per line, readable by their owner alone.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use buildnet_digest::{Diagnostic, DigestFunction, ErrorCategory};

use super::{Identity, Role};
use crate::namespace;

/// Shortest secret in bytes.
const MIN_SECRET: usize = 16;
/// Largest token file in bytes.
const MAX_FILE: u64 = 4 << 20;

/// What a client shows to be who a line says.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// A secret, known by the hash of its SHA-256. Two such hashes are compared in constant time, and tell nothing of the secret.
    Secret(blake3::Hash),
    /// A certificate with this common name.
    Certificate(String),
}

/// One line of a token file.
#[derive(Clone, Debug)]
pub struct TokenLine {
    /// Number of the line, from 1.
    pub(super) line: usize,
    pub(super) proof: Proof,
    pub(super) identity: Identity,
    /// Whether the line holds the secret itself.
    plain: bool,
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
    #[error("the secret of token `{name}` has fewer than {MIN_SECRET} characters")]
    Short {
        /// Name of the token.
        name: String,
    },
    /// A name that a line cannot hold.
    #[error("`{name}` cannot be the name of a token")]
    Name {
        /// The name.
        name: String,
    },
    /// What follows `sha256:` is no hash.
    #[error("line {line} of the tokens: `sha256:` is not followed by 64 lowercase hexadecimal digits")]
    Hash {
        /// Number of the line, from 1.
        line: usize,
    },
    /// An instance that cannot be.
    #[error("line {line} of the tokens: `{instance}` names no instances")]
    Instance {
        /// Number of the line, from 1.
        line: usize,
        /// The text.
        instance: String,
    },
    /// Two lines with the same secret or certificate.
    #[error("line {line} of the tokens has the secret or certificate of an earlier line")]
    Repeated {
        /// Number of the later line, from 1.
        line: usize,
    },
    /// The file cannot be read.
    #[error("cannot read the tokens in {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Others could read the secrets or add tokens of their own.
    #[error("refusing the tokens in {}: other users may {what} it (mode {mode:03o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        what: &'static str,
        /// Its permissions.
        mode: u32,
    },
}

impl Diagnostic for AccessError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Line { .. } => "write one token per line, for example `ci write 5f0c… pr,main`".into(),
            Self::Short { .. } | Self::Hash { .. } | Self::Repeated { .. } => {
                "`buildnet cache token new --name NAME --role ROLE` makes one".into()
            }
            Self::Instance { .. } => {
                "`main` is the instance and what lies below it, `pr/*` what lies below `pr`, `.` the default instance"
                    .into()
            }
            Self::Name { .. } => "a name has no spaces, line ends or `#`".into(),
            Self::Unreadable { .. } => return None,
            Self::Exposed { path, .. } => format!("chmod 600 {}", path.display()),
        })
    }
}

/// SHA-256 of a secret, as it is compared.
pub(super) fn hash_of(sha256: &[u8]) -> blake3::Hash {
    blake3::hash(sha256)
}

impl TokenLine {
    /// A token that is given by its secret, for all instances.
    pub fn of_secret(name: &str, role: Role, secret: &str) -> Result<Self, AccessError> {
        if secret.len() < MIN_SECRET {
            return Err(AccessError::Short { name: name.to_owned() });
        }
        let proof = Proof::Secret(hash_of(DigestFunction::Sha256.digest(secret.as_bytes()).hash()));
        Ok(Self { line: 0, proof, identity: Identity::new(name, role), plain: true })
    }

    /// Who holds it.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// The line of a token file for a secret, which it holds as a hash.
    pub fn for_secret(name: &str, role: Role, secret: &str, instances: &[String]) -> Result<String, AccessError> {
        Self::of_secret(name, role, secret)?;
        let hash = DigestFunction::Sha256.digest(secret.as_bytes()).hex();
        written(name, role, &format!("sha256:{hash}"), instances)
    }

    /// The line of a token file for the holder of a client certificate with this common name.
    pub fn for_certificate(
        name: &str,
        role: Role,
        certificate: &str,
        instances: &[String],
    ) -> Result<String, AccessError> {
        written(name, role, &format!("cert:{}", certificate.replace(' ', "%20")), instances)
    }

    /// The tokens of a file. It is refused when others may write it, or read secrets in it.
    pub fn load(path: &Path) -> Result<Vec<Self>, AccessError> {
        let unreadable = |reason: String| AccessError::Unreadable { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| unreadable(error.to_string()))?;
        let mut text = String::new();
        file.by_ref().take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
        if text.len() as u64 > MAX_FILE {
            return Err(unreadable(format!("larger than {} MiB", MAX_FILE >> 20)));
        }
        let lines = parse(&text)?;
        let mode = metadata.mode() & 0o777;
        let exposed = |what| Err(AccessError::Exposed { path: path.to_owned(), what, mode });
        if mode & 0o022 != 0 {
            return exposed("write");
        }
        if mode & 0o004 != 0 && lines.iter().any(|line| line.plain) {
            return exposed("read");
        }
        Ok(lines)
    }
}

/// A line as it is read again; names and instances that could not be are refused.
fn written(name: &str, role: Role, proof: &str, instances: &[String]) -> Result<String, AccessError> {
    let mut line = format!("{name} {} {proof}", role.name());
    if !instances.is_empty() {
        line.push(' ');
        line.push_str(&instances.join(","));
    }
    match parse(&line)?.as_slice() {
        [read] if &*read.identity.name == name && *read.identity.instances == *instances => Ok(line),
        _ => Err(AccessError::Name { name: name.to_owned() }),
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<TokenLine>, AccessError> {
    text.lines().enumerate().filter_map(|(index, line)| parse_line(index + 1, line).transpose()).collect()
}

fn parse_line(number: usize, line: &str) -> Result<Option<TokenLine>, AccessError> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(name) = words.next() else { return Ok(None) };
    let (Some(role), Some(secret), instances, None) =
        (words.next().and_then(Role::from_name), words.next(), words.next(), words.next())
    else {
        return Err(AccessError::Line { line: number });
    };
    let (proof, plain) = if let Some(hash) = secret.strip_prefix("sha256:") {
        let sha256 = buildnet_digest::Digest::from_hex(DigestFunction::Sha256, hash, 0);
        let sha256 = sha256.map_err(|_| AccessError::Hash { line: number })?;
        (Proof::Secret(hash_of(sha256.hash())), false)
    } else if let Some(certificate) = secret.strip_prefix("cert:") {
        if certificate.is_empty() {
            return Err(AccessError::Line { line: number });
        }
        // A name has no space in the file; `%20` stands for one.
        (Proof::Certificate(certificate.replace("%20", " ")), false)
    } else {
        (TokenLine::of_secret(name, role, secret)?.proof, true)
    };
    let instances: Vec<String> = instances.map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default();
    if let Some(instance) = instances.iter().find(|instance| !is_scope(instance)) {
        return Err(AccessError::Instance { line: number, instance: instance.clone() });
    }
    let identity = Identity { name: name.into(), role, instances: instances.into() };
    Ok(Some(TokenLine { line: number, proof, identity, plain }))
}

/// Whether a text names instances as [`Identity::covers`] reads it.
fn is_scope(text: &str) -> bool {
    matches!(text, "." | "*") || {
        let name = text.strip_suffix("/*").unwrap_or(text);
        !name.is_empty() && !name.contains('*') && namespace::check(name).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn bad_files_are_named() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("a b c"), AccessError::Line { line: 1 });
        assert_eq!(error("\na read short"), AccessError::Short { name: "a".into() });
        assert_eq!(error("a read 0123456789abcdef x y"), AccessError::Line { line: 1 });
        assert_eq!(error("a read sha256:abc"), AccessError::Hash { line: 1 });
        assert_eq!(error("a read cert:"), AccessError::Line { line: 1 });
        for instance in ["pr/**", "/main", "a,,b", "pr/../main", "*/x"] {
            let text = format!("a read 0123456789abcdef {instance}");
            assert!(matches!(error(&text), AccessError::Instance { line: 1, .. }), "{instance}");
        }
        let twice = parse("a read 0123456789abcdef\nb admin 0123456789abcdef").unwrap();
        assert_eq!(super::super::Tokens::new(twice).unwrap_err(), AccessError::Repeated { line: 2 });
    }

    #[test]
    fn lines_are_written_as_they_are_read() {
        let scopes = ["pr/*".to_owned(), ".".to_owned()];
        let line = TokenLine::for_secret("ci", Role::Write, "0123456789abcdef", &scopes).unwrap();
        assert!(!line.contains("0123456789abcdef ") && line.ends_with(" pr/*,."), "{line}");
        assert_eq!(parse(&line).unwrap()[0].name(), "ci");
        let line = TokenLine::for_certificate("ci", Role::Read, "build worker", &[]).unwrap();
        let Proof::Certificate(name) = &parse(&line).unwrap()[0].proof else { panic!("{line}") };
        assert_eq!(name, "build worker");
        for name in ["two words", "a#b", "", "a\nb read 0123456789abcdef"] {
            assert!(TokenLine::for_secret(name, Role::Read, "0123456789abcdef", &[]).is_err(), "{name}");
        }
    }

    #[test]
    fn files_that_others_could_read_or_write_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let load = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            TokenLine::load(&path).map(|lines| lines.len())
        };
        let plain = "ci write 0123456789abcdef\n";
        let hashed = format!("ci write sha256:{}\n", "0".repeat(64));
        assert_eq!(load(plain, 0o600), Ok(1));
        assert_eq!(load(plain, 0o640), Ok(1), "its group may read it");
        assert!(matches!(load(plain, 0o644), Err(AccessError::Exposed { what: "read", mode: 0o644, .. })));
        assert_eq!(load(&hashed, 0o644), Ok(1), "there is no secret in it");
        assert!(matches!(load(&hashed, 0o664), Err(AccessError::Exposed { what: "write", .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(TokenLine::load(&path), Err(AccessError::Unreadable { .. })));
    }
}
