//! Addresses of remote caches.

use std::str::FromStr;

use super::RemoteError;
use crate::namespace;

/// A parsed `grpc://host:port[/instance]`, or the same with `grpcs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether the connection is encrypted (`grpcs`).
    pub secure: bool,
    /// `host:port`.
    pub authority: String,
    /// The instance; empty is the default one.
    pub instance: String,
}

impl FromStr for Target {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RemoteError::Target { text: text.chars().take(300).collect() };
        let (secure, rest) = match text.strip_prefix("grpcs://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("grpc://").ok_or_else(error)?),
        };
        let (authority, instance) = rest.split_once('/').unwrap_or((rest, ""));
        let instance = instance.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(error)?;
        if host.is_empty() || port.parse::<u16>().is_err() || namespace::check(instance).is_err() {
            return Err(error());
        }
        Ok(Self { secure, authority: authority.to_owned(), instance: instance.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let parsed = |text: &str| text.parse::<Target>().map(|target| (target.authority, target.instance)).ok();
        let target = |authority: &str, instance: &str| Some((authority.to_owned(), instance.to_owned()));
        assert_eq!(parsed("grpc://cache:9876"), target("cache:9876", ""));
        assert_eq!(parsed("grpc://[::1]:9876/pr/12/"), target("[::1]:9876", "pr/12"));
        assert!("grpcs://cache:443/main".parse::<Target>().unwrap().secure);
        for bad in ["cache:9876", "http://cache:9876", "grpc://cache", "grpc://:1", "grpc://a:b", "grpc://a:1/blobs"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
