//! Settings, as they are in force.

use axum::Json;
use axum::extract::{Query, State};

use super::cache::{WorkspaceQuery, blocking};
use crate::error::ErrorReport;
use crate::facts::Configuration;
use crate::server::reply::Refusal;
use crate::server::state::App;

/// The settings of a workspace, after its files, the user's and the environment were put over each other.
#[utoipa::path(get, path = "/config", params(("workspace" = Option<String>, Query)),
    responses((status = 200, body = Configuration), (status = 422, body = ErrorReport)))]
pub async fn config(
    State(app): State<App>,
    Query(query): Query<WorkspaceQuery>,
) -> Result<Json<Configuration>, Refusal> {
    let found = blocking(move || {
        let (service, listen) = (app.service(), app.access().listen());
        let root = service.root_of(&query.workspace)?;
        let workspace = service.workbench().workspace(&root)?;
        let settings = Configuration::of(&workspace, service.workbench().default_cache_dir());
        // What the settings say is what they ask for; this is where the daemon really listens.
        Ok(Configuration { listen: listen.to_string(), ..settings })
    });
    Ok(Json(found.await?))
}
