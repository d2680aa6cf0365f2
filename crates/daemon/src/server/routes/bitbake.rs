//! Questions about BitBake metadata.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use buildnet_bitbake::workbench::Answer;

use super::cache::blocking;
use crate::error::ErrorReport;
use crate::server::reply::Refusal;
use crate::server::state::App;
use crate::service::BitbakeRequest;
use crate::service::bitbake::{IDLE, PAUSE};

/// Answers a question about a build directory, which stays in memory.
#[utoipa::path(post, path = "/bitbake", request_body = BitbakeRequest,
    responses((status = 200, body = Object), (status = 409, body = ErrorReport), (status = 422, body = ErrorReport)))]
pub async fn ask(State(app): State<App>, Json(request): Json<BitbakeRequest>) -> Result<Json<Answer>, Refusal> {
    if request.program != app.program() {
        let report = ErrorReport::environment("the daemon is of another build of BuildNet")
            .with_hint("`buildnet stop` ends it; `buildnet start --detach` starts this one.");
        return Err(Refusal::new(StatusCode::CONFLICT, report));
    }
    let (bitbake, asked) = (app.bitbake().clone(), request.clone());
    let answer = blocking(move || bitbake.ask(&asked)).await?;
    let bitbake = app.bitbake().clone();
    tokio::spawn(async move {
        let (settling, asked) = (bitbake.clone(), request.clone());
        // An error means that it broke off: the next question looks at every file.
        let _ = tokio::task::spawn_blocking(move || settling.settle(&asked)).await;
        tokio::time::sleep(PAUSE).await;
        let saving = bitbake.clone();
        // What could not be written is read again by the next process.
        let _ = tokio::task::spawn_blocking(move || saving.save(&request)).await;
        tokio::time::sleep(IDLE).await;
        bitbake.drop_idle();
    });
    Ok(Json(answer))
}
