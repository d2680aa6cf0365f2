//! gRPC statuses, with the details that clients look for.

use std::time::Duration;

use buildnet_cas::CasError;
use buildnet_digest::{Diagnostic, Digest};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::digests::blob_name;
use crate::service::CacheError;

/// `google.rpc.PreconditionFailure` (`google/rpc/error_details.proto`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    pub(crate) violations: Vec<Violation>,
}

/// `google.rpc.PreconditionFailure.Violation`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Violation {
    #[prost(string, tag = "1")]
    pub(crate) r#type: String,
    #[prost(string, tag = "2")]
    pub(crate) subject: String,
    #[prost(string, tag = "3")]
    pub(crate) description: String,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FieldViolation {
    #[prost(string, tag = "1")]
    pub(crate) field: String,
    #[prost(string, tag = "2")]
    pub(crate) description: String,
}

/// `google.rpc.RetryInfo`: when to come again.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<prost_types::Duration>,
}

/// When whoever found no free slot is to come again.
const SOON: Duration = Duration::from_secs(1);
/// When whoever found a full disk, a store that stopped, or an origin that failed is to come again.
const LATER: Duration = Duration::from_secs(30);

/// A refusal that another try, some time later, may not meet.
fn retried(code: Code, message: impl Into<String>, delay: Duration) -> Status {
    let delay = prost_types::Duration { seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX), nanos: 0 };
    detailed(code, message.into(), "google.rpc.RetryInfo", &RetryInfo { retry_delay: Some(delay) })
}

/// There is no free slot.
pub(crate) fn busy(message: &str) -> Status {
    retried(Code::ResourceExhausted, message, SOON)
}

/// A status with one detail.
fn detailed(code: Code, message: String, type_name: &str, detail: &impl Message) -> Status {
    let any = Any { type_url: format!("type.googleapis.com/{type_name}"), value: detail.encode_to_vec() };
    let status = RpcStatus { code: code as i32, message: message.clone(), details: vec![any] };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// `google.rpc.Status`, with the details as the well-known `Any` of `prost-types`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// Blobs that an operation needs are not there: one violation `MISSING` for each.
pub(crate) fn missing_blobs(digests: &[Digest]) -> Status {
    let violations = digests
        .iter()
        .map(|digest| Violation {
            r#type: "MISSING".into(),
            subject: blob_name(digest),
            description: "the blob is not in the cache".into(),
        })
        .collect();
    detailed(
        Code::FailedPrecondition,
        format!(
            "{} blobs are missing, the first is {}",
            digests.len(),
            digests.first().map_or_else(String::new, blob_name)
        ),
        "google.rpc.PreconditionFailure",
        &PreconditionFailure { violations },
    )
}

/// A qualifier of the Remote Asset API that is not understood.
pub(crate) fn unsupported_qualifier(name: &str) -> Status {
    let violation =
        FieldViolation { field: "qualifiers.name".into(), description: format!("\"{name}\" not supported") };
    detailed(
        Code::InvalidArgument,
        format!("qualifier `{name}` is not supported"),
        "google.rpc.BadRequest",
        &BadRequest { field_violations: vec![violation] },
    )
}

/// What the store's errors mean to a client.
pub(crate) fn code_of(error: &CasError) -> Code {
    match error {
        CasError::Mismatch { .. } => Code::InvalidArgument,
        CasError::DiskFull { .. } => Code::ResourceExhausted,
        CasError::ReadOnly { .. } => Code::PermissionDenied,
        CasError::Latched { .. } => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// A store's error as a status; what went wrong on the server is logged there, too.
pub(crate) fn from_cas(error: &CasError) -> Status {
    let code = code_of(error);
    if code != Code::InvalidArgument {
        tracing::error!(%error, hint = error.hint(), "the cache failed");
    }
    match code {
        Code::ResourceExhausted | Code::Unavailable => retried(code, error.to_string(), LATER),
        _ => Status::new(code, error.to_string()),
    }
}

/// Any error of the cache as a status.
pub(crate) fn from_cache(error: &CacheError) -> Status {
    match error {
        CacheError::Cas(error) => from_cas(error),
        // REAPI says so of blobs above `max_cas_blob_size_bytes`.
        CacheError::Instance(_) | CacheError::Invalid { .. } | CacheError::TooLarge { .. } => {
            Status::invalid_argument(error.to_string())
        }
        CacheError::Denied { .. } => Status::permission_denied(error.to_string()),
        CacheError::TooSlow => Status::deadline_exceeded(error.to_string()),
        CacheError::Gone => retried(Code::Unavailable, error.to_string(), SOON),
        CacheError::Io { .. } => Status::internal(error.to_string()),
    }
}
