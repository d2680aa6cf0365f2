//! The interface's own description.

use utoipa::OpenApi;

use super::routes::{bitbake, builds, cache, config, events, status};

/// The document at `/openapi.json`.
#[derive(OpenApi)]
#[openapi(
    info(title = "BuildNet", description = "Builds on request, what happens, and what happened."),
    paths(
        status::health,
        status::status,
        status::metrics,
        status::stop,
        bitbake::ask,
        builds::build,
        builds::build_package,
        builds::list,
        builds::show,
        builds::cancel,
        cache::stats,
        cache::clear,
        config::config,
        events::events,
    )
)]
pub struct Document;
