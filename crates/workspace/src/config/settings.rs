//! Settings: what is about BuildNet rather than about a package.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use buildnet_engine::build::SandboxMode;

use crate::config::{ConfigFile, DaemonConfig, DaemonSettings, SandboxChoice, Size, UserFile};
use crate::decode::record;
use crate::error::{Problem, ProblemKind};

record! {
    /// The cache.
    "the cache"
    pub struct CacheConfig {
        /// Its directory; `cache` of the user's cache directory by default. A relative one starts at the file's directory.
        pub dir: Option<String>,
        /// Size at which what was not used for longest is removed, such as `20GB`.
        pub max_size: Option<Size>,
        /// A cache that builds share over the network: `grpc://host:port[/instance]`, `grpcs://…`, or `s3://bucket/prefix`.
        pub remote: Option<String>,
        /// Whether what is built here is sent to it; true by default.
        pub remote_upload: Option<bool>,
        /// Environment variable with the token that it asks for; `BUILDNET_REMOTE_TOKEN` by default.
        pub remote_token_env: Option<String>,
        /// Authorities, in PEM, that caches over `grpcs://` and `https://` are trusted by, in place of the machine's; `system` for the
        /// machine's. A relative path starts at this file's directory.
        pub tls_ca: Option<String>,
        /// Certificate to show to such caches, in PEM.
        pub tls_client_cert: Option<String>,
        /// Private key of that certificate, in PEM.
        pub tls_client_key: Option<String>,
        /// Instances that read what they have not from another: `pr: main` is for all instances whose names begin with `pr/`, which
        /// never write to `main`. `pr: main` by default; `{}` for none.
        pub overlays: Option<std::collections::BTreeMap<String, String>>,
    }
}

/// What decides over the files: flags, environment variables, and the places that libraries do not look up themselves.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Flags of the command line.
    pub flags: SettingsOverride,
    /// Variables whose names begin with `BUILDNET_`; others are not looked at.
    pub environment: BTreeMap<String, String>,
    /// Where Cargo keeps registries and programs: `CARGO_HOME`, or `.cargo` in the home directory.
    pub cargo_home: Option<PathBuf>,
    /// Where rustup keeps toolchains: `RUSTUP_HOME`, or `.rustup` in the home directory.
    pub rustup_home: Option<PathBuf>,
}

/// Whom to trust, and what to show, where other caches speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Authorities in PEM; `system`, or none, for those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate in PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    pub key: Option<PathBuf>,
}

impl ClientTls {
    /// What `ca` is for the authorities that the machine trusts.
    pub const SYSTEM: &str = "system";

    /// What `self` leaves open is taken from `other`. Certificate and key come from one source.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let shown = if self.certificate.is_some() || self.key.is_some() {
            (self.certificate, self.key)
        } else {
            (other.certificate, other.key)
        };
        Self { ca: self.ca.or(other.ca), certificate: shown.0, key: shown.1 }
    }

    /// Relative paths start at `directory`.
    #[must_use]
    pub(crate) fn anchored(mut self, directory: &Path) -> Self {
        let paths = [&mut self.ca, &mut self.certificate, &mut self.key];
        for path in paths.into_iter().flatten().filter(|path| path.as_os_str() != Self::SYSTEM) {
            *path = directory.join(&path);
        }
        self
    }
}

/// Settings, each of which may be given or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsOverride {
    /// Directory of the cache.
    pub cache_dir: Option<PathBuf>,
    /// Bytes at which the cache evicts.
    pub cache_max_size: Option<u64>,
    /// Address of the remote cache; an empty one stands for none.
    pub remote_cache: Option<String>,
    /// Send results to the remote cache.
    pub remote_upload: Option<bool>,
    /// Variable with the token of the remote cache.
    pub remote_token_env: Option<String>,
    /// TLS towards other caches.
    pub tls: ClientTls,
    /// Commands at once.
    pub jobs: Option<u32>,
    /// Address of the daemon.
    pub listen: Option<String>,
    /// How the daemon serves others.
    pub daemon: DaemonSettings,
    /// Go on after a failure.
    pub keep_going: Option<bool>,
    /// Confinement where neither package nor task says so.
    pub sandbox: Option<SandboxMode>,
}

/// Settings after flags, environment, workspace file, user file and defaults were put over each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Directory of the cache, if any source names one; the caller knows the user's cache directory.
    pub cache_dir: Option<PathBuf>,
    /// Bytes at which the cache evicts what was not used for longest. 20 GB by default.
    pub cache_max_size: u64,
    /// Address of the remote cache; none to use none.
    pub remote_cache: Option<String>,
    /// Whether results are sent to the remote cache. True by default.
    pub remote_upload: bool,
    /// Variable with the token of the remote cache. `BUILDNET_REMOTE_TOKEN` by default.
    pub remote_token_env: String,
    /// TLS towards other caches.
    pub tls: ClientTls,
    /// Commands at once; none: as many as there are cores.
    pub jobs: Option<u32>,
    /// Address of the daemon. `127.0.0.1:9876` by default.
    pub listen: String,
    /// How the daemon serves others.
    pub daemon: DaemonSettings,
    /// Whether a build goes on with what a failure does not concern.
    pub keep_going: bool,
    /// Confinement where neither package nor task says so.
    pub sandbox: SandboxMode,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_dir: None,
            cache_max_size: 20_000_000_000,
            remote_cache: None,
            remote_upload: true,
            remote_token_env: "BUILDNET_REMOTE_TOKEN".into(),
            tls: ClientTls::default(),
            jobs: None,
            listen: "127.0.0.1:9876".into(),
            daemon: DaemonSettings::default(),
            keep_going: false,
            sandbox: SandboxMode::Strict,
        }
    }
}

impl SettingsOverride {
    fn or(self, other: Self) -> Self {
        Self {
            cache_dir: self.cache_dir.or(other.cache_dir),
            cache_max_size: self.cache_max_size.or(other.cache_max_size),
            remote_cache: self.remote_cache.or(other.remote_cache),
            remote_upload: self.remote_upload.or(other.remote_upload),
            remote_token_env: self.remote_token_env.or(other.remote_token_env),
            tls: self.tls.or(other.tls),
            jobs: self.jobs.or(other.jobs),
            listen: self.listen.or(other.listen),
            daemon: self.daemon.or(other.daemon),
            keep_going: self.keep_going.or(other.keep_going),
            sandbox: self.sandbox.or(other.sandbox),
        }
    }

    fn from_parts(
        cache: Option<&CacheConfig>,
        daemon: Option<&DaemonConfig>,
        jobs: Option<u32>,
        keep_going: Option<bool>,
        sandbox: Option<SandboxChoice>,
    ) -> Self {
        Self {
            cache_dir: cache.and_then(|cache| cache.dir.clone()).map(PathBuf::from),
            cache_max_size: cache.and_then(|cache| cache.max_size).map(|size| size.0),
            remote_cache: cache.and_then(|cache| cache.remote.clone()),
            remote_upload: cache.and_then(|cache| cache.remote_upload),
            remote_token_env: cache.and_then(|cache| cache.remote_token_env.clone()),
            tls: cache
                .map(|cache| ClientTls {
                    ca: cache.tls_ca.clone().map(PathBuf::from),
                    certificate: cache.tls_client_cert.clone().map(PathBuf::from),
                    key: cache.tls_client_key.clone().map(PathBuf::from),
                })
                .unwrap_or_default(),
            jobs,
            listen: daemon.and_then(|daemon| daemon.listen.clone()),
            daemon: DaemonSettings::from_config(daemon, cache.and_then(|cache| cache.overlays.as_ref())),
            keep_going,
            sandbox: sandbox.map(|choice| choice.0),
        }
    }

    /// What a workspace's file says.
    pub(crate) fn from_workspace(file: &ConfigFile) -> Self {
        Self::from_parts(file.cache.as_ref(), file.daemon.as_ref(), file.jobs, file.keep_going, file.sandbox)
    }

    /// What a user's file says.
    pub(crate) fn from_user(file: &UserFile) -> Self {
        Self::from_parts(file.cache.as_ref(), file.daemon.as_ref(), file.jobs, file.keep_going, file.sandbox)
    }

    /// What the environment says: `BUILDNET_CACHE_DIR`, `BUILDNET_CACHE_MAX_SIZE`, `BUILDNET_REMOTE_CACHE`,
    /// `BUILDNET_REMOTE_UPLOAD`, `BUILDNET_TLS_CA`, `BUILDNET_TLS_CLIENT_CERT`, `BUILDNET_TLS_CLIENT_KEY`, `BUILDNET_JOBS`, `BUILDNET_LISTEN`, `BUILDNET_KEEP_GOING`, `BUILDNET_SANDBOX`. Empty values count as
    /// absent.
    pub(crate) fn from_environment(environment: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Self {
        let mut get = |name: &str, expected: &str, valid: &dyn Fn(&str) -> bool| {
            let value = environment.get(name).filter(|value| !value.is_empty())?;
            if valid(value) {
                return Some(value.as_str());
            }
            let reason = format!("`{value}` is no {expected}");
            problems.push(Problem::new(ProblemKind::InvalidOverride { source_name: name.into(), reason }));
            None
        };
        let flag = |value: &str| match value {
            "1" | "true" | "yes" => Some(true),
            "0" | "false" | "no" => Some(false),
            _ => None,
        };
        Self {
            cache_dir: get("BUILDNET_CACHE_DIR", "", &|_| true).map(PathBuf::from),
            cache_max_size: get("BUILDNET_CACHE_MAX_SIZE", "size", &|value| Size::parse(value).is_some())
                .and_then(Size::parse)
                .map(|size| size.0),
            remote_cache: get("BUILDNET_REMOTE_CACHE", "", &|_| true).map(str::to_owned),
            remote_upload: get("BUILDNET_REMOTE_UPLOAD", "`true` or `false`", &|value| flag(value).is_some())
                .and_then(flag),
            remote_token_env: None,
            tls: ClientTls {
                ca: get("BUILDNET_TLS_CA", "", &|_| true).map(PathBuf::from),
                certificate: get("BUILDNET_TLS_CLIENT_CERT", "", &|_| true).map(PathBuf::from),
                key: get("BUILDNET_TLS_CLIENT_KEY", "", &|_| true).map(PathBuf::from),
            },
            jobs: get("BUILDNET_JOBS", "whole number", &|value| value.parse::<u32>().is_ok())
                .and_then(|value| value.parse().ok()),
            listen: get("BUILDNET_LISTEN", "", &|_| true).map(str::to_owned),
            // `buildnet start` takes these from the environment itself.
            daemon: DaemonSettings::default(),
            keep_going: get("BUILDNET_KEEP_GOING", "`true` or `false`", &|value| flag(value).is_some()).and_then(flag),
            sandbox: get("BUILDNET_SANDBOX", "sandbox mode (strict, warn, off)", &|value| {
                SandboxChoice::parse(value).is_some()
            })
            .and_then(SandboxChoice::parse)
            .map(|choice| choice.0),
        }
    }
}

impl Settings {
    /// Puts the sources over each other, the first before the later ones, and all before the defaults.
    pub(crate) fn resolve(sources: impl IntoIterator<Item = SettingsOverride>) -> Self {
        let given = sources.into_iter().fold(SettingsOverride::default(), SettingsOverride::or);
        let defaults = Self::default();
        Self {
            cache_dir: given.cache_dir,
            cache_max_size: given.cache_max_size.unwrap_or(defaults.cache_max_size),
            remote_cache: given.remote_cache.filter(|address| !address.is_empty()),
            remote_upload: given.remote_upload.unwrap_or(defaults.remote_upload),
            remote_token_env: given.remote_token_env.unwrap_or(defaults.remote_token_env),
            tls: given.tls,
            jobs: given.jobs.filter(|&jobs| jobs > 0),
            listen: given.listen.unwrap_or(defaults.listen),
            daemon: given.daemon,
            keep_going: given.keep_going.unwrap_or(defaults.keep_going),
            sandbox: given.sandbox.unwrap_or(defaults.sandbox),
        }
    }
}
