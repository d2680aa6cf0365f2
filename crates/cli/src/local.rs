//! The build service in this process.

use buildnet_daemon::service::{LocalOptions, LocalWorkbench, Service, ServiceOptions};

use crate::context::{Context, environment};

/// Events held for slow readers. The session reads as they come; this bounds what a terminal that is stopped can hold up.
const EVENTS: usize = 16_384;

/// The service over the context's cache. With `watch` it stays: it keeps workspaces in memory and follows the file system.
pub(crate) fn service(context: &Context, watch: bool) -> Service {
    let workbench =
        LocalWorkbench::new(LocalOptions { cache_dir: context.cache_dir.clone(), watch, environment: environment() });
    let options = ServiceOptions { event_capacity: EVENTS, default_workspace: Some(context.directory.clone()) };
    Service::new(workbench, options)
}
