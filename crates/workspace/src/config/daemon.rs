//! Settings of the daemon, which serves the cache to others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Seconds, Size};
use crate::decode::record;

record! {
    /// The daemon.
    "the daemon"
    pub struct DaemonConfig {
        /// Address and port that it listens on.
        pub listen: Option<String>,
        /// A file of tokens, one per line as `name role secret [instance,…]`. A relative path starts at this file's directory.
        pub tokens: Option<String>,
        /// What clients without a token may do where tokens are asked for: `read` or `write`. Nothing by default.
        pub anonymous: Option<String>,
        /// The daemon's certificate, in PEM; with `tls_key` every client from another machine speaks TLS.
        pub tls_cert: Option<String>,
        /// The certificate's private key, in PEM.
        pub tls_key: Option<String>,
        /// Authorities, in PEM, whose clients' certificates are taken.
        pub client_ca: Option<String>,
        /// Address and port of BitBake's hash equivalence over TCP.
        pub hash_equivalence: Option<String>,
        /// A larger cache behind the daemon's: `s3://bucket/prefix`, `grpc://host:port[/instance]`, `grpcs://…`.
        pub backing: Option<String>,
        /// Whether a result is taken only when its Action and Command are there, as REAPI has it; false by default, since not all clients
        /// upload them.
        pub demand_actions: Option<bool>,
        /// Where Remote Asset clients may have the daemon fetch from: `https://host/path/`, `https://*.example.com`, `git://host`. Nowhere
        /// by default; what clients pushed is always there.
        pub origins: Option<Vec<String>>,
        /// What clients may cost.
        pub limits: Option<LimitsConfig>,
    }
}

record! {
    /// Bounds of what the daemon's clients may cost.
    "limits of the daemon"
    pub struct LimitsConfig {
        /// Connections at once; further ones wait. 1024 by default.
        pub connections: Option<u32>,
        /// Requests to the cache at once; further ones are told to come again. 1024 by default.
        pub requests: Option<u32>,
        /// Requests at once on one connection; further ones wait at the client. 256 by default.
        pub requests_per_connection: Option<u32>,
        /// Largest blob or artifact. 32 GiB by default.
        pub blob: Option<Size>,
        /// Largest message of a request that is taken as a whole, such as a batch of blobs. 8 MiB by default.
        pub message: Option<Size>,
        /// All gRPC messages together that are being received or dealt with; further ones wait. 256 MiB by default.
        pub messages: Option<Size>,
        /// A client that sends nothing for this long in mid-request is dropped. A minute by default.
        pub idle: Option<Seconds>,
        /// Bytes a second that a client must take or send while a request waits for it. 4 KiB by default.
        pub min_rate: Option<Size>,
    }
}

/// Settings of the daemon, each of which may be given or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSettings {
    /// A file of tokens.
    pub tokens: Option<PathBuf>,
    /// Role of clients without a token: `read` or `write`.
    pub anonymous: Option<String>,
    /// The daemon's certificate, in PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    pub tls_key: Option<PathBuf>,
    /// Authorities whose clients' certificates are taken, in PEM.
    pub client_ca: Option<PathBuf>,
    /// Address of hash equivalence over TCP.
    pub hash_equivalence: Option<String>,
    /// Address of a larger cache behind the daemon's; an empty one stands for none.
    pub backing: Option<String>,
    /// Whether results are taken of known actions alone.
    pub demand_actions: Option<bool>,
    /// Where assets may be fetched from.
    pub origins: Option<Vec<String>>,
    /// Instances below others, by their first segments: `pr` to `main` lets `pr/…` read from `main` what it has not.
    pub overlays: Option<BTreeMap<String, String>>,
    /// Bounds of what clients may cost.
    pub limits: LimitSettings,
}

/// Bounds of what the daemon's clients may cost; none: the daemon's own defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Connections at once.
    pub connections: Option<u32>,
    /// Requests to the cache at once.
    pub requests: Option<u32>,
    /// Requests at once on one connection.
    pub requests_per_connection: Option<u32>,
    /// Largest blob or artifact in bytes.
    pub blob: Option<u64>,
    /// Largest message in bytes.
    pub message: Option<u64>,
    /// All gRPC messages that are being received or dealt with, in bytes.
    pub messages: Option<u64>,
    /// Silence in mid-request after which a client is dropped.
    pub idle: Option<Duration>,
    /// Slowest client, in bytes a second.
    pub min_rate: Option<u64>,
}

impl DaemonSettings {
    pub(super) fn from_config(daemon: Option<&DaemonConfig>, overlays: Option<&BTreeMap<String, String>>) -> Self {
        let overlays = overlays.cloned();
        let Some(daemon) = daemon else { return Self { overlays, ..Self::default() } };
        let path = |path: &Option<String>| path.as_ref().map(PathBuf::from);
        Self {
            tokens: path(&daemon.tokens),
            anonymous: daemon.anonymous.clone(),
            tls_cert: path(&daemon.tls_cert),
            tls_key: path(&daemon.tls_key),
            client_ca: path(&daemon.client_ca),
            hash_equivalence: daemon.hash_equivalence.clone(),
            backing: daemon.backing.clone(),
            demand_actions: daemon.demand_actions,
            origins: daemon.origins.clone(),
            overlays,
            limits: daemon.limits.as_ref().map(LimitSettings::from_config).unwrap_or_default(),
        }
    }

    /// What `self` leaves open is taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.or(other.tokens),
            anonymous: self.anonymous.or(other.anonymous),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            client_ca: self.client_ca.or(other.client_ca),
            hash_equivalence: self.hash_equivalence.or(other.hash_equivalence),
            backing: self.backing.or(other.backing),
            demand_actions: self.demand_actions.or(other.demand_actions),
            origins: self.origins.or(other.origins),
            overlays: self.overlays.or(other.overlays),
            limits: self.limits.or(other.limits),
        }
    }

    /// Relative paths start at `directory`.
    #[must_use]
    pub(crate) fn anchored(mut self, directory: &Path) -> Self {
        let paths = [&mut self.tokens, &mut self.tls_cert, &mut self.tls_key, &mut self.client_ca];
        for path in paths.into_iter().flatten() {
            *path = directory.join(&path);
        }
        self
    }
}

impl LimitSettings {
    fn from_config(limits: &LimitsConfig) -> Self {
        Self {
            connections: limits.connections,
            requests: limits.requests,
            requests_per_connection: limits.requests_per_connection,
            blob: limits.blob.map(|size| size.0),
            message: limits.message.map(|size| size.0),
            messages: limits.messages.map(|size| size.0),
            idle: limits.idle.map(|idle| idle.0),
            min_rate: limits.min_rate.map(|size| size.0),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            connections: self.connections.or(other.connections),
            requests: self.requests.or(other.requests),
            requests_per_connection: self.requests_per_connection.or(other.requests_per_connection),
            blob: self.blob.or(other.blob),
            message: self.message.or(other.message),
            messages: self.messages.or(other.messages),
            idle: self.idle.or(other.idle),
            min_rate: self.min_rate.or(other.min_rate),
        }
    }
}
