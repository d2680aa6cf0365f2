//! TLS towards a remote cache (`grpcs://`): whom to trust, and what to show.

use std::path::{Path, PathBuf};

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

fn read(path: &Path) -> Result<Vec<u8>, RemoteError> {
    use std::io::Read as _;
    let failed = |source| RemoteError::File { path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}
