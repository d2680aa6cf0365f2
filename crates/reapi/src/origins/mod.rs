//! Where the server fetches assets from by itself.
//!
//! A server that fetches what clients name can be made to talk to hosts that only it can reach. So nothing is allowed unless it is
//! configured, each redirect is asked for again, and names that lead to private addresses are refused unless that is allowed, too.

pub(crate) mod archive;
pub(crate) mod git;
pub(crate) mod http;
mod rule;
pub(crate) mod scratch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

pub use self::rule::{OriginRule, RuleError};

/// Which origins may be asked for assets, and what one fetch may cost. By default none.
#[derive(Clone, Debug)]
pub struct Origins {
    /// What may be fetched; everything else is refused.
    pub allowed: Vec<OriginRule>,
    /// Whether names may lead to loopback, private and link-local addresses. A rule that names such an address itself needs no leave.
    pub private_addresses: bool,
    /// The host's git, for directories out of repositories; none are fetched without it.
    pub git: Option<PathBuf>,
    /// Certificate authorities in DER, in place of those that the system trusts.
    pub authorities: Vec<Vec<u8>>,
    /// Largest download in bytes.
    pub max_bytes: u64,
    /// Most bytes of all files of a directory.
    pub max_expanded_bytes: u64,
    /// Most files, links and directories of a directory.
    pub max_entries: usize,
    /// Longest time that one fetch takes, whatever the client would wait.
    pub timeout: Duration,
    /// How long content is used that neither a checksum nor a commit pins.
    pub fresh: Duration,
    /// Fetches at once; further ones wait.
    pub max_at_once: usize,
}

impl Default for Origins {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            private_addresses: false,
            git: None,
            authorities: Vec::new(),
            max_bytes: 4 << 30,
            max_expanded_bytes: 16 << 30,
            max_entries: 1_000_000,
            timeout: Duration::from_mins(10),
            fresh: Duration::from_hours(1),
            max_at_once: 8,
        }
    }
}

impl Origins {
    /// The rule that allows a URI.
    pub(crate) fn rule(&self, uri: &str) -> Option<&OriginRule> {
        self.allowed.iter().find(|rule| rule.allows(uri))
    }

    /// Whether a host that a rule allowed may have this address.
    pub(crate) fn may_have(&self, rule: &OriginRule, address: IpAddr) -> bool {
        self.private_addresses || rule.names_an_address() || is_public(address)
    }
}

/// Addresses of the internet at large: not of this machine, this network, or a special purpose (IANA's registries of RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || address.octets()[..3] == [192, 0, 0])
        }
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                return is_public(IpAddr::V4(mapped));
            }
            // 2000::/3 is all that is given out; of it, tunnels that hold IPv4 addresses and documentation are not public.
            let [first, second, ..] = address.segments();
            (0x2000..0x4000).contains(&first)
                && first != 0x2002
                && !(first == 0x2001 && (second == 0 || second == 0xdb8))
        }
    }
}

/// A fetch that failed for reasons outside of the server: the status inside of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FetchError {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl FetchError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        Self::new(Code::ResourceExhausted, format!("it is larger than the {limit} bytes that this server fetches"))
    }

    pub(crate) fn io(error: &std::io::Error) -> Self {
        Self::new(Code::Unavailable, error.to_string())
    }
}

/// Origins as the server uses them.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(crate) origins: Origins,
    pub(crate) at_once: tokio::sync::Semaphore,
    pub(crate) tls: std::sync::OnceLock<Arc<rustls::ClientConfig>>,
    /// Fetches that are on their way, by key: who wants the same waits for the first.
    pub(crate) under_way: parking_lot::Mutex<std::collections::HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Fetcher {
    pub(crate) fn new(origins: Origins) -> Self {
        let at_once = tokio::sync::Semaphore::new(origins.max_at_once);
        Self { origins, at_once, tls: std::sync::OnceLock::new(), under_way: parking_lot::Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for address in ["8.8.8.8", "140.82.121.4", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }
}
