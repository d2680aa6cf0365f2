//! Everything that is resolved once: directories, environment, terminal.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use buildnet_daemon::ErrorReport;
use buildnet_daemon::client::Daemon;
use buildnet_daemon::service::local::{overrides, tls_options};
use buildnet_reapi::TlsOptions;
use buildnet_workspace::{ClientTls, FILE_NAME, find_root, load_settings};

use crate::args::{ColorChoice, GlobalArgs};
use crate::terminal::messages::{Teller, Verbosity};
use crate::terminal::session::Show;
use crate::terminal::style::Style;

/// What a command works with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The directory that the user stands in: absolute, without symlinks.
    pub(crate) directory: PathBuf,
    /// The cache directory.
    pub(crate) cache_dir: PathBuf,
    /// Whether the user chose it.
    pub(crate) cache_dir_chosen: bool,
    /// Write for machines.
    pub(crate) json: bool,
    /// Ask a daemon if one runs.
    pub(crate) use_daemon: bool,
    /// Where it would be.
    pub(crate) daemon: Daemon,
    /// Where a flag or a variable says that it is.
    pub(crate) chosen_address: Option<SocketAddr>,
    /// Whom to trust and what to show where TLS is spoken; none when nothing was said of it.
    pub(crate) tls: Option<TlsOptions>,
    /// The same as flags and variables say it: absolute paths.
    pub(crate) client_tls: ClientTls,
    /// The token for it, or for the one to start.
    pub(crate) token: Option<String>,
    /// How to speak.
    pub(crate) teller: Teller,
    /// Whether colours may be written to standard output.
    pub(crate) style: Style,
}

impl Context {
    /// Resolves flags and environment.
    pub(crate) fn resolve(args: GlobalArgs) -> Result<Self, ErrorReport> {
        let directory = args.directory.unwrap_or_else(|| PathBuf::from("."));
        let directory = directory.canonicalize().map_err(|error| {
            ErrorReport::user(format!("cannot enter {}", directory.display()))
                .because(&error)
                .with_hint("-C takes an existing directory.")
        })?;
        let cache_dir_chosen = args.cache_dir.is_some();
        let cache_dir = match args.cache_dir {
            Some(chosen) => {
                std::path::absolute(chosen).map_err(|error| ErrorReport::user("no cache directory").because(&error))?
            }
            None => default_cache_dir()?,
        };
        let verbosity = match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        };
        // A daemon, which may be asked to use them, works elsewhere.
        let file = |path: Option<PathBuf>| match path {
            Some(path) if path.as_os_str() != ClientTls::SYSTEM => std::path::absolute(&path)
                .map(Some)
                .map_err(|error| ErrorReport::user(format!("no file {}", path.display())).because(&error)),
            path => Ok(path),
        };
        let client_tls = ClientTls {
            ca: file(args.tls_ca)?,
            certificate: file(args.tls_client_cert)?,
            key: file(args.tls_client_key)?,
        };
        let tls = (client_tls != ClientTls::default()).then(|| tls_options(&client_tls)).transpose()?;
        let daemon_address = args.daemon_address.unwrap_or_else(|| reachable(configured_address(&directory)));
        let style = |terminal: bool| Style { color: colors(args.color, terminal), unicode: speaks_unicode() };
        Ok(Self {
            directory,
            cache_dir,
            cache_dir_chosen,
            json: args.json,
            use_daemon: !args.no_daemon,
            daemon: daemon_at(daemon_address, args.token.clone(), tls.as_ref()),
            tls,
            client_tls,
            chosen_address: args.daemon_address,
            token: args.token,
            teller: Teller { style: style(io::stderr().is_terminal()), verbosity, columns: None, tell_idle: true },
            style: style(io::stdout().is_terminal()),
        })
    }

    /// Where daemons keep their locks and logs.
    pub(crate) fn daemon_dir(&self) -> PathBuf {
        self.cache_dir.join("daemon")
    }

    /// How to show a build.
    pub(crate) fn show(&self) -> Show {
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        match () {
            () if self.json => Show::Json,
            () if io::stderr().is_terminal() && !dumb => Show::Live,
            () => Show::Plain,
        }
    }
}

/// Where the settings say that the daemon listens. What is wrong with them is told by the commands that need them.
fn configured_address(directory: &Path) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 9876));
    let (overrides, user_config) = overrides(&environment(), None);
    let root = find_root(directory).ok();
    // Most settings say nothing of it, and files with thousands of packages take a while to read whole.
    let says = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("listen"));
    let said = overrides.environment.contains_key("BUILDNET_LISTEN")
        || root.as_ref().is_some_and(|root| says(&root.join(FILE_NAME)))
        || user_config.as_deref().is_some_and(says);
    if !said {
        return default;
    }
    let settings = load_settings(root.as_deref(), user_config.as_deref(), &overrides).ok();
    let addresses = settings.and_then(|settings| settings.listen.to_socket_addrs().ok());
    addresses.and_then(|mut addresses| addresses.next()).unwrap_or(default)
}

/// The daemon at an address. One on this machine takes connections without TLS, whatever it asks of others.
pub(crate) fn daemon_at(address: SocketAddr, token: Option<String>, tls: Option<&TlsOptions>) -> Daemon {
    let daemon = Daemon::at(address, token);
    match tls {
        Some(tls) if !address.ip().is_loopback() => daemon.with_tls(tls.clone()),
        _ => daemon,
    }
}

/// Where a client of this machine finds what listens on `address`: on loopback, if it listens everywhere.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The user's environment, as far as it is text. Tasks get of it what they declare.
pub(crate) fn environment() -> BTreeMap<String, String> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The user's cache directory (XDG Base Directory Specification).
fn default_cache_dir() -> Result<PathBuf, ErrorReport> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("buildnet"))
        .ok_or_else(|| {
            ErrorReport::environment("there is no place for the cache: neither XDG_CACHE_HOME nor HOME is set")
                .with_hint("Name one with --cache-dir or BUILDNET_CACHE_DIR.")
        })
}

/// Whether colours are wanted (<https://no-color.org> for `NO_COLOR`).
pub(crate) fn colors(choice: ColorChoice, terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            terminal
                && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Whether the locale encodes text as UTF-8 (POSIX: the first of these that is set and not empty counts).
pub(crate) fn speaks_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os).find(|value| !value.is_empty());
    // Without a locale, as in containers and on CI, terminals nowadays show UTF-8 all the same.
    locale.is_none_or(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8") || locale == "c" || locale == "posix"
    })
}
