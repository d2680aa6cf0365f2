//! A workspace's configuration in memory, loaded again when it changed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_engine::build::Plan;
use buildnet_workspace::{ClientTls, Overrides, Request, SettingsOverride, Workspace};

use crate::error::ErrorReport;
use crate::service::BuildRequest;

/// Plans that are kept of one configuration; clients ask for few different ones.
const MAX_PLANS: usize = 16;

/// What a file was when it was looked at. None: it was not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// What loading depends on besides files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    environment: BTreeMap<String, String>,
    flags: SettingsOverride,
    places: Places,
}

/// Directories of the user, as the environment names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    user_config: Option<PathBuf>,
    cargo_home: Option<PathBuf>,
    rustup_home: Option<PathBuf>,
}

impl Places {
    fn from_environment(environment: &BTreeMap<String, String>) -> Self {
        let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let config = absolute("XDG_CONFIG_HOME").or_else(|| in_home(".config"));
        Self {
            user_config: config.map(|config| config.join("buildnet/config.yaml")),
            cargo_home: absolute("CARGO_HOME").or_else(|| in_home(".cargo")),
            rustup_home: absolute("RUSTUP_HOME").or_else(|| in_home(".rustup")),
        }
    }
}

/// What decides over a workspace's files, from the environment of whoever asks and the cache directory that they chose. The second
/// value is where the user's own configuration would be.
pub fn overrides(environment: &BTreeMap<String, String>, cache_dir: Option<&Path>) -> (Overrides, Option<PathBuf>) {
    let flags = SettingsOverride { cache_dir: cache_dir.map(Path::to_owned), ..SettingsOverride::default() };
    Origin::new(environment, flags).overrides()
}

/// The settings that a request itself decides on.
pub(super) fn flags_of(request: &BuildRequest) -> SettingsOverride {
    SettingsOverride {
        cache_dir: request.cache_dir.as_deref().map(PathBuf::from),
        remote_cache: request.remote_cache.clone(),
        remote_upload: request.remote_upload,
        tls: ClientTls {
            ca: request.tls_ca.as_deref().map(PathBuf::from),
            certificate: request.tls_client_cert.as_deref().map(PathBuf::from),
            key: request.tls_client_key.as_deref().map(PathBuf::from),
        },
        ..SettingsOverride::default()
    }
}

impl Origin {
    pub(super) fn new(environment: &BTreeMap<String, String>, flags: SettingsOverride) -> Self {
        let ours = environment.iter().filter(|(name, _)| name.starts_with("BUILDNET_"));
        Self {
            environment: ours.map(|(name, value)| (name.clone(), value.clone())).collect(),
            flags,
            places: Places::from_environment(environment),
        }
    }

    fn overrides(self) -> (Overrides, Option<PathBuf>) {
        let overrides = Overrides {
            flags: self.flags,
            environment: self.environment,
            cargo_home: self.places.cargo_home,
            rustup_home: self.places.rustup_home,
        };
        (overrides, self.places.user_config)
    }
}

/// A workspace as it was loaded.
pub(super) struct Loaded {
    pub(super) workspace: Arc<Workspace>,
    origin: Origin,
    stamps: Vec<Stamp>,
    plans: Vec<(Request, Arc<Plan>)>,
}

impl Loaded {
    /// Loads the workspace at `root`.
    pub(super) fn load(root: &Path, origin: Origin) -> Result<Self, ErrorReport> {
        let (overrides, user_config) = origin.clone().overrides();
        let workspace =
            Workspace::load(root, user_config.as_deref(), &overrides).map_err(|errors| ErrorReport::of(&errors))?;
        // A file that was written between loading and here counts as seen only if its stamp says so the next time; stamps are coarse
        // (a tick of the kernel's clock), as every build tool's are, and the engine reads the sources themselves with more care.
        let stamps = workspace.config_files.iter().map(|file| stamp(file)).collect();
        Ok(Self { workspace: Arc::new(workspace), origin, stamps, plans: Vec::new() })
    }

    /// Whether loading again would find the same. Only the files for which `doubtful` holds are looked at.
    pub(super) fn is_current(&self, origin: &Origin, doubtful: impl Fn(&Path) -> bool) -> bool {
        let mut files = self.workspace.config_files.iter().zip(&self.stamps);
        self.origin == *origin && files.all(|(file, before)| !doubtful(file) || stamp(file) == *before)
    }

    /// The plan of a request. Asking for the same again yields the same plan, which the engine knows by its address.
    pub(super) fn plan(&mut self, request: Request) -> Result<Arc<Plan>, ErrorReport> {
        if let Some((_, plan)) = self.plans.iter().find(|(known, _)| *known == request) {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(self.workspace.plan(&request).map_err(|errors| ErrorReport::of(&errors))?);
        if self.plans.len() == MAX_PLANS {
            self.plans.remove(0);
        }
        self.plans.push((request, Arc::clone(&plan)));
        Ok(plan)
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
}
