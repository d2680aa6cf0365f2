//! An authority of certificates.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use buildnet_reapi::TlsOptions;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::{Daemon, Place};

/// An authority, and the files of those that it vouches for.
pub(crate) struct House {
    pub(crate) place: Place,
    issuer: Issuer<'static, KeyPair>,
}

impl House {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "the house");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        place.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let house = Self { place, issuer: Issuer::new(params, key) };
        house.vouch("daemon");
        house
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(crate) fn vouch(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned(), own_address().to_string()])
                .unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        self.place.write(&format!("{name}.pem"), &params.signed_by(&key, &self.issuer).unwrap().pem());
        self.place.write(&format!("{name}.key"), &key.serialize_pem());
    }

    pub(crate) fn daemon(&self, more: &[&str]) -> Daemon {
        let mut arguments = vec!["--tls-cert", "daemon.pem", "--tls-key", "daemon.key"];
        arguments.extend(more);
        self.place.daemon(&arguments)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    pub(crate) fn tls(&self, client: Option<&str>) -> TlsOptions {
        let identity = client.map(|name| (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key"))));
        TlsOptions { ca: Some(self.path("ca.pem")), identity, server_name: None }
    }
}

/// An address of this machine that is not loopback, or loopback where it has no other.
pub(crate) fn own_address() -> Ipv4Addr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent; the kernel only says which address it would send from.
    let connected = socket.connect("192.0.2.1:9");
    match (connected, socket.local_addr()) {
        (Ok(()), Ok(SocketAddr::V4(address))) => *address.ip(),
        _ => Ipv4Addr::LOCALHOST,
    }
}
