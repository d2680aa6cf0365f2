//! TLS towards other servers: whom to trust, and what to show.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::RemoteError;

/// Largest certificate or key file in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Whom to trust, and what to show. By default the authorities that this machine trusts, and nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Authorities to trust in place of the machine's, in PEM.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its private key, in PEM, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate where it is not the one that is connected to.
    pub server_name: Option<String>,
}

impl TlsOptions {
    /// Whether anything differs from the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The same for clients that do not speak gRPC: an object store's, a daemon's. The name in the server's certificate is theirs to
    /// check.
    ///
    /// # Errors
    /// Files that cannot be read, or that hold no certificates or no key.
    pub fn client_config(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            // A bundle may hold authorities that nobody could use; those that remain decide.
            Some(path) => roots.add_parsable_certificates(certificates(path)?),
            None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                builder.with_client_auth_cert(certificates(certificate)?, private).map_err(io::Error::other)
            }
        }
    }

    pub(super) fn config(&self) -> Result<ClientTlsConfig, RemoteError> {
        let mut config = ClientTlsConfig::new();
        config = match &self.ca {
            Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        Ok(config)
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    found.map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &rustls::pki_types::pem::Error) -> io::Error {
    io::Error::other(format!("cannot use {}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, RemoteError> {
    use std::io::Read as _;
    let failed = |source| RemoteError::File { path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}
