//! Errors as HTTP replies.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::error::{Category, ErrorReport};

/// An error with its status code; the body is the [`ErrorReport`].
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    report: ErrorReport,
}

impl Refusal {
    /// An error with a status of its own.
    pub fn new(status: StatusCode, report: ErrorReport) -> Self {
        Self { status, report }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorReport::user(message))
    }
}

impl From<ErrorReport> for Refusal {
    fn from(report: ErrorReport) -> Self {
        let status = match report.category {
            Category::User => StatusCode::UNPROCESSABLE_ENTITY,
            Category::Environment => StatusCode::SERVICE_UNAVAILABLE,
            Category::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, report }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.report)).into_response()
    }
}
