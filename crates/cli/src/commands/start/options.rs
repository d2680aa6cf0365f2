//! What the daemon is started with: flags, then their variables, then the workspace's and the user's settings.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use buildnet_daemon::ErrorReport;
use buildnet_daemon::server::{AccessOptions, ConnectionOptions, Tls, TlsFiles};
use buildnet_reapi::namespace::{self, Overlay};
use buildnet_reapi::{CacheOptions, Limits, OriginRule, Origins, Role, TlsOptions};
use buildnet_workspace::{DaemonSettings, LimitSettings};
use clap::{Args, ValueEnum};

use crate::context::Context;

/// Where the daemon listens, and whom it lets in.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServingArgs {
    /// Where to listen; anything but a loopback address needs tokens or --client-ca [default: daemon.listen of
    /// buildnet.yaml, then 127.0.0.1:9876]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<SocketAddr>,
    /// File of tokens, one per line as `name role secret [instance,…]`; read again when it changes
    #[arg(long, value_name = "FILE", env = "BUILDNET_TOKENS")]
    tokens: Option<PathBuf>,
    /// What clients without a token may do where tokens are asked for [default: nothing]
    #[arg(long, value_name = "ROLE", env = "BUILDNET_ANONYMOUS")]
    anonymous: Option<AnonymousRole>,
    /// Certificate of the daemon, in PEM: clients from other machines must speak TLS
    #[arg(long, value_name = "FILE", env = "BUILDNET_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", env = "BUILDNET_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Authorities whose clients' certificates are taken, in PEM
    #[arg(long, value_name = "FILE", env = "BUILDNET_CLIENT_CA")]
    client_ca: Option<PathBuf>,
    /// Serve BitBake's hash equivalence over TCP, too
    #[arg(long, value_name = "ADDR", env = "BUILDNET_HASH_EQUIVALENCE")]
    hash_equivalence: Option<SocketAddr>,
    /// Larger cache behind this one, read through and written back: s3://bucket/prefix, grpc://host:9876/main
    #[arg(long, value_name = "URL", env = "BUILDNET_BACKING")]
    backing: Option<String>,
}

/// What may be done without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AnonymousRole {
    /// Look up and read
    Read,
    /// Also store
    Write,
}

/// Everything resolved.
pub(super) struct Serving {
    pub(super) listen: SocketAddr,
    pub(super) access: AccessOptions,
    pub(super) connections: ConnectionOptions,
    pub(super) limits: Limits,
    pub(super) overlays: Vec<Overlay>,
    pub(super) origins: Origins,
    pub(super) hash_equivalence: Option<SocketAddr>,
    /// Whether results are taken of known actions alone.
    pub(super) demand_actions: bool,
    /// Address of the cache behind, and TLS towards it.
    pub(super) backing: Option<(String, TlsOptions)>,
}

impl ServingArgs {
    /// The flags again, for the process in the background: it is started elsewhere, so paths are absolute.
    pub(super) fn arguments(&self) -> Result<Vec<OsString>, ErrorReport> {
        let mut arguments = Vec::new();
        let files = [
            ("--tokens", &self.tokens),
            ("--tls-cert", &self.tls_cert),
            ("--tls-key", &self.tls_key),
            ("--client-ca", &self.client_ca),
        ];
        for (flag, path) in files {
            if let Some(path) = path {
                arguments.extend([flag.into(), absolute(path)?.into_os_string()]);
            }
        }
        if let Some(role) = self.anonymous {
            arguments.extend(["--anonymous".into(), role.role().name().into()]);
        }
        if let Some(address) = self.hash_equivalence {
            arguments.extend(["--hash-equivalence".into(), address.to_string().into()]);
        }
        if let Some(address) = &self.backing {
            arguments.extend(["--backing".into(), address.into()]);
        }
        Ok(arguments)
    }

    /// Puts the flags over the settings.
    pub(super) fn resolve(&self, context: &Context) -> Result<Serving, ErrorReport> {
        let settings = crate::workspace::settings(context)?;
        let flags = DaemonSettings {
            tokens: self.tokens.clone(),
            anonymous: self.anonymous.map(|role| role.role().name().to_owned()),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            client_ca: self.client_ca.clone(),
            hash_equivalence: self.hash_equivalence.map(|address| address.to_string()),
            backing: self.backing.clone(),
            ..DaemonSettings::default()
        };
        let client_tls = crate::workspace::client_tls(context, &settings)?;
        let listen = match self.listen.or(context.chosen_address) {
            Some(listen) => listen,
            None => address_of("daemon.listen", &settings.listen)?,
        };
        let daemon = flags.or(settings.daemon);
        let anonymous = daemon.anonymous.as_deref().map(|name| match Role::from_name(name) {
            Some(role @ (Role::Read | Role::Write)) => Ok(role),
            _ => Err(ErrorReport::user(format!("daemon.anonymous is `{name}`, and can be `read` or `write`"))),
        });
        let tls = tls(&daemon)?;
        let access = AccessOptions {
            token: context.token.clone(),
            tokens: daemon.tokens,
            anonymous: anonymous.transpose()?,
            certificates: daemon.client_ca.is_some(),
        };
        let hash_equivalence = daemon.hash_equivalence.as_deref();
        let hash_equivalence = hash_equivalence.map(|text| address_of("daemon.hash_equivalence", text)).transpose()?;
        let mut connections = ConnectionOptions { tls, ..ConnectionOptions::default() };
        let limits = limits(&daemon.limits, &mut connections)?;
        let overlays = match daemon.overlays {
            None => CacheOptions::default().overlays,
            Some(overlays) => {
                overlays.into_iter().map(|(prefix, parent)| overlay(prefix, parent)).collect::<Result<_, _>>()?
            }
        };
        let origins = origins(daemon.origins.unwrap_or_default())?;
        let backing = daemon.backing.filter(|address| !address.is_empty());
        let backing = backing.map(|address| (address, client_tls));
        let demand_actions = daemon.demand_actions.unwrap_or_default();
        Ok(Serving {
            listen,
            access,
            connections,
            limits,
            overlays,
            origins,
            hash_equivalence,
            demand_actions,
            backing,
        })
    }
}

impl AnonymousRole {
    const fn role(self) -> Role {
        match self {
            Self::Read => Role::Read,
            Self::Write => Role::Write,
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ErrorReport> {
    std::path::absolute(path).map_err(|error| ErrorReport::user(format!("no file {}", path.display())).because(&error))
}

/// An address in settings: `host:port`.
fn address_of(key: &str, text: &str) -> Result<SocketAddr, ErrorReport> {
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| {
        ErrorReport::user(format!("{key} is `{text}`, and no address")).with_hint("Write it as `127.0.0.1:9876`.")
    })
}

fn tls(daemon: &DaemonSettings) -> Result<Option<Tls>, ErrorReport> {
    let files = match (&daemon.tls_cert, &daemon.tls_key) {
        (Some(certificate), Some(key)) => {
            TlsFiles { certificate: certificate.clone(), key: key.clone(), client_ca: daemon.client_ca.clone() }
        }
        (None, None) if daemon.client_ca.is_none() => return Ok(None),
        _ => {
            return Err(ErrorReport::user("TLS needs a certificate and its key")
                .with_hint("Give both --tls-cert and --tls-key; --client-ca goes with them."));
        }
    };
    Tls::load(files).map(Some).map_err(|error| ErrorReport::of(&error))
}

fn limits(settings: &LimitSettings, connections: &mut ConnectionOptions) -> Result<Limits, ErrorReport> {
    let mut limits = Limits::default();
    let count = |name: &str, count: u32| match count {
        0 => Err(ErrorReport::user(format!("daemon.limits.{name} is 0: nobody would be served"))),
        count => Ok(count as usize),
    };
    if let Some(number) = settings.connections {
        connections.connections = count("connections", number)?;
    }
    if let Some(number) = settings.requests_per_connection {
        count("requests_per_connection", number)?;
        connections.requests_per_connection = number;
    }
    if let Some(number) = settings.requests {
        limits.max_in_flight = count("requests", number)?;
    }
    if let Some(bytes) = settings.blob {
        limits.max_blob_bytes = bytes;
    }
    if let Some(bytes) = settings.message {
        // Every client may send messages of gRPC's default size, and none needs more than this.
        if !(4 << 20..=256 << 20).contains(&bytes) {
            return Err(ErrorReport::user("daemon.limits.message must be between 4 MiB and 256 MiB"));
        }
        limits.max_message_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(bytes) = settings.messages {
        if bytes < limits.max_message_bytes as u64 {
            return Err(ErrorReport::user("daemon.limits.messages is less than one message may take"));
        }
        limits.max_receiving_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(idle) = settings.idle {
        limits.idle = idle;
    }
    if let Some(rate) = settings.min_rate {
        limits.min_rate = rate;
    }
    Ok(limits)
}

fn origins(rules: Vec<String>) -> Result<Origins, ErrorReport> {
    let rule = |text: String| {
        let rule = text.parse::<OriginRule>();
        rule.map_err(|error| ErrorReport::user(format!("daemon.origins: `{text}`")).because(&error))
    };
    let allowed = rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    // The host's git, for origins that are repositories.
    Ok(Origins { allowed, git: Some("git".into()), ..Origins::default() })
}

fn overlay(prefix: String, parent: String) -> Result<Overlay, ErrorReport> {
    for name in [&prefix, &parent] {
        namespace::check(name).map_err(|error| {
            ErrorReport::user(format!("cache.overlays: {error}")).with_hint("Write `pr: main` for `pr/…` over `main`.")
        })?;
    }
    let below = parent.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if prefix.is_empty() || below {
        return Err(ErrorReport::user(format!("cache.overlays: `{prefix}` cannot lie over `{parent}`")));
    }
    Ok(Overlay { prefix, parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_lie_over_others() {
        assert!(overlay("pr".into(), "main".into()).is_ok());
        assert!(overlay("pr".into(), String::new()).is_ok(), "the default instance");
        for (prefix, parent) in [("", "main"), ("pr", "pr"), ("pr", "pr/1"), ("a//b", "main"), ("pr", "..")] {
            assert!(overlay(prefix.into(), parent.into()).is_err(), "{prefix} over {parent}");
        }
    }

    #[test]
    fn limits_that_serve_nobody_are_refused() {
        let mut connections = ConnectionOptions::default();
        let mut with = |settings| limits(&settings, &mut connections).map(|limits| limits.max_in_flight);
        assert_eq!(with(LimitSettings { requests: Some(7), ..LimitSettings::default() }).unwrap(), 7);
        for bad in [
            LimitSettings { requests: Some(0), ..LimitSettings::default() },
            LimitSettings { connections: Some(0), ..LimitSettings::default() },
            LimitSettings { message: Some(1), ..LimitSettings::default() },
        ] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }
}
