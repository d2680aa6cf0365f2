//! Facts about caches and workspaces as they are told in JSON, by the daemon and by commands alike.

use std::path::Path;

use buildnet_cas::{GcReport, StoreStats, VerifyReport};
use buildnet_engine::build::SandboxMode;
use buildnet_reapi::metrics::Traffic;
use buildnet_workspace::Workspace;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a cache holds and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheStats {
    /// Blobs in the cache.
    pub blobs: u64,
    /// Action results in the cache.
    pub action_results: u64,
    /// Sum of the blobs' own sizes, in bytes.
    pub logical_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bound of the size on disk, in bytes.
    pub max_bytes: u64,
    /// Look-ups that found something, since this process opened the cache.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Damaged entries found, which count as missing.
    pub corrupted: u64,
    /// Entries evicted.
    pub evicted: u64,
}

/// What a cache holds and, where a daemon serves it to clients of other build tools, what they asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheReport {
    /// Its directory.
    pub directory: String,
    /// What it holds.
    #[serde(flatten)]
    pub stats: CacheStats,
    /// What clients asked for since the daemon started, and what they got: `total`, and by `protocols`, `clients` and `instances`.
    #[schema(value_type = Option<Object>)]
    pub traffic: Option<Traffic>,
}

impl From<StoreStats> for CacheStats {
    fn from(stats: StoreStats) -> Self {
        Self {
            blobs: stats.blobs,
            action_results: stats.action_results,
            logical_bytes: stats.logical_bytes,
            disk_bytes: stats.disk_bytes,
            max_bytes: stats.max_bytes,
            hits: stats.hits,
            misses: stats.misses,
            corrupted: stats.corrupted,
            evicted: stats.evicted,
        }
    }
}

/// What a removal of entries did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheReduction {
    /// Entries removed.
    pub removed: u64,
    /// Entries kept.
    pub kept: u64,
    /// Bytes on disk before.
    pub bytes_before: u64,
    /// Bytes on disk after.
    pub bytes_after: u64,
}

impl From<GcReport> for CacheReduction {
    fn from(report: GcReport) -> Self {
        let GcReport { removed, kept, bytes_before, bytes_after } = report;
        Self { removed, kept, bytes_before, bytes_after }
    }
}

/// What a verification of a cache found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheVerification {
    /// Blobs read and compared with their digests.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Digests of damaged blobs, which were removed.
    pub corrupted: Vec<String>,
    /// Action results checked.
    pub action_results: u64,
    /// Action results that name a blob which is not there; they count as missing.
    pub incomplete: u64,
}

impl From<VerifyReport> for CacheVerification {
    fn from(report: VerifyReport) -> Self {
        Self {
            blobs: report.blobs,
            bytes: report.bytes,
            corrupted: report.corrupted.iter().map(ToString::to_string).collect(),
            action_results: report.action_results,
            incomplete: report.incomplete,
        }
    }
}

/// The settings of a workspace, as they are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    /// The workspace's root.
    pub workspace: String,
    /// What its packages were found by.
    pub managers: Vec<String>,
    /// Number of packages.
    pub packages: usize,
    /// Directory of the cache.
    pub cache_dir: String,
    /// Size at which the cache evicts, in bytes.
    pub cache_max_size: u64,
    /// Address of the remote cache; none if none is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_cache: Option<String>,
    /// Commands at once; none for one per core.
    pub jobs: Option<u32>,
    /// Address of the daemon.
    pub listen: String,
    /// Whether a build goes on after a failure.
    pub keep_going: bool,
    /// `strict`, `warn` or `off`, where neither package nor task says so.
    pub sandbox: String,
}

impl Configuration {
    /// The settings of a workspace; `cache_dir` is the one in force where its settings name none.
    pub fn of(workspace: &Workspace, cache_dir: &Path) -> Self {
        let settings = &workspace.settings;
        Self {
            workspace: workspace.root.display().to_string(),
            managers: workspace.managers.iter().map(|manager| format!("{manager:?}").to_lowercase()).collect(),
            packages: workspace.packages.len(),
            cache_dir: settings.cache_dir.as_deref().unwrap_or(cache_dir).display().to_string(),
            cache_max_size: settings.cache_max_size,
            remote_cache: settings.remote_cache.clone(),
            jobs: settings.jobs,
            listen: settings.listen.clone(),
            keep_going: settings.keep_going,
            sandbox: match settings.sandbox {
                SandboxMode::Strict => "strict",
                SandboxMode::Warn => "warn",
                SandboxMode::Off => "off",
            }
            .to_owned(),
        }
    }
}
