//! The workspace that the user stands in, for commands that only read it.

use std::path::PathBuf;

use buildnet_daemon::ErrorReport;
use buildnet_daemon::service::local::{overrides, tls_options};
use buildnet_reapi::TlsOptions;
use buildnet_workspace::{Settings, Workspace, find_root, load_settings};

use crate::context::{Context, environment};

/// The root of the workspace.
pub(crate) fn root(context: &Context) -> Result<PathBuf, ErrorReport> {
    find_root(&context.directory).map_err(|error| ErrorReport::of(&error))
}

/// The workspace, loaded.
pub(crate) fn load(context: &Context) -> Result<Workspace, ErrorReport> {
    let chosen = context.cache_dir_chosen.then_some(context.cache_dir.as_path());
    let (overrides, user_config) = overrides(&environment(), chosen);
    Workspace::load(&root(context)?, user_config.as_deref(), &overrides).map_err(|errors| ErrorReport::of(&errors))
}

/// The settings in force here, in a workspace or outside of any.
pub(crate) fn settings(context: &Context) -> Result<Settings, ErrorReport> {
    let chosen = context.cache_dir_chosen.then_some(context.cache_dir.as_path());
    let (overrides, user_config) = overrides(&environment(), chosen);
    let root = root(context).ok();
    load_settings(root.as_deref(), user_config.as_deref(), &overrides).map_err(|errors| ErrorReport::of(&errors))
}

/// TLS towards other caches, as flags say, then as the settings do.
pub(crate) fn client_tls(context: &Context, settings: &Settings) -> Result<TlsOptions, ErrorReport> {
    tls_options(&context.client_tls.clone().or(settings.tls.clone()))
}

/// Where the cache is, and its bound in bytes: as the workspace says if there is one.
pub(crate) fn cache(context: &Context) -> Result<(PathBuf, u64), ErrorReport> {
    if root(context).is_err() {
        return Ok((context.cache_dir.clone(), buildnet_workspace::Settings::default().cache_max_size));
    }
    let settings = load(context)?.settings;
    Ok((settings.cache_dir.unwrap_or_else(|| context.cache_dir.clone()), settings.cache_max_size))
}
