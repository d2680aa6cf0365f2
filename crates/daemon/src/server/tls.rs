//! TLS of the daemon's port (RFC 8446, RFC 5246), and what a client's certificate says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_reapi::ClientCertificate;
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Tag, Tagged as _};

/// `id-at-commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Protocols that are offered by ALPN, the preferred one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Longest common name of a client that is taken, in bytes (RFC 5280 allows 64 characters).
const MAX_NAME: usize = 256;

/// Files of the daemon's TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The daemon's certificate, then those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities whose clients' certificates are taken; none: certificates are not asked for.
    pub client_ca: Option<PathBuf>,
}

/// TLS as it is offered. Clones share the certificates, which may be read again while the daemon runs.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

/// Certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read or holds nothing of use.
    #[error("cannot take {what} from {}: {reason}", path.display())]
    File {
        /// `the certificate`, `the key`, `the authorities`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A key that does not belong to the certificate, for example.
    #[error("the certificate in {} cannot be used with its key: {reason}", path.display())]
    Unusable {
        /// The file of the certificate.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl Diagnostic for TlsError {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File { .. } => {
                "the file holds PEM: `-----BEGIN CERTIFICATE-----` or `-----BEGIN PRIVATE KEY-----`".to_owned()
            }
            Self::Unusable { .. } => "the key must be the one that the certificate was made for".to_owned(),
        })
    }
}

impl Tls {
    /// Reads the files.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = configure(&files)?;
        Ok(Self { files: Arc::new(files), config: Arc::new(RwLock::new(Arc::new(config))) })
    }

    /// Reads the files again, for connections from now on. After an error everything is as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(configure(&self.files)?);
        *self.config.write() = config;
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read()))
    }
}

fn configure(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain = certificates("the certificate", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsError::File {
        what: "the key",
        path: files.key.clone(),
        reason: error.to_string(),
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |reason: String| TlsError::Unusable { path: files.certificate.clone(), reason };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let bad = |reason: String| TlsError::File { what: "the authorities", path: path.clone(), reason };
            let mut roots = RootCertStore::empty();
            for certificate in certificates("the authorities", path)? {
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            // Who shows none may still hold a token; requests without either are turned away.
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
            builder.with_client_cert_verifier(verifier.build().map_err(|error| bad(error.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(error.to_string()))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |reason: String| TlsError::File { what, path: path.to_owned(), reason };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| bad(error.to_string()))?;
    if found.is_empty() { Err(bad("no certificate in it".to_owned())) } else { Ok(found) }
}

/// The certificate that the client showed and that was verified; none without one, or when its subject has not exactly one common
/// name.
pub(super) fn shown(connection: &ServerConnection) -> Option<ClientCertificate> {
    let certificate = connection.peer_certificates()?.first()?;
    common_name(certificate).map(|name| ClientCertificate { name: name.into() })
}

fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let names = certificate.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let mut names = names.filter(|name| name.oid == COMMON_NAME);
    let value = &names.next()?.value;
    if names.next().is_some() {
        return None;
    }
    let name = match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str().to_owned(),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().to_owned(),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok()?.as_str().to_owned(),
        _ => return None,
    };
    let good = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    good.then_some(name)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn subject(names: &[&str]) -> Option<String> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.distinguished_name.push(DnType::OrganizationName, "house");
        let key = KeyPair::generate().unwrap();
        common_name(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn subjects_are_read() {
        assert_eq!(subject(&["worker-1"]).as_deref(), Some("worker-1"));
        assert_eq!(subject(&["Grüße"]).as_deref(), Some("Grüße"));
        assert_eq!(subject(&[]), None);
        assert_eq!(subject(&["a\nb"]), None);
        assert_eq!(common_name(b"no certificate"), None);
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let (good, right) = (write("c", &certificate.pem()), write("k", &key.serialize_pem()));
        let load = |certificate: &PathBuf, key: &PathBuf, client_ca: Option<PathBuf>| {
            let files = TlsFiles { certificate: certificate.clone(), key: key.clone(), client_ca };
            Tls::load(files).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(load(&good, &right, Some(good.clone())), Ok(()));
        let empty = write("e", "nothing");
        assert!(load(&empty, &right, None).unwrap_err().contains("no certificate in it"));
        assert!(load(&good, &empty, None).unwrap_err().contains("the key"));
        assert!(load(&good, &right, Some(empty)).unwrap_err().contains("the authorities"));
        let wrong = write("w", &KeyPair::generate().unwrap().serialize_pem());
        assert!(load(&good, &wrong, None).unwrap_err().contains("cannot be used with its key"));
        assert!(load(&dir.path().join("none"), &right, None).is_err());
    }
}
