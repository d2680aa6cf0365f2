//! Making room in a bucket.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use rusty_s3::S3Action;
use rusty_s3::actions::ListObjectsV2;
use serde::{Deserialize, Serialize};

use super::http::{self, empty};
use super::{PARALLEL, S3Backend, SIGNED};
use crate::error::{BackendError, Failure};

/// Most pages of a listing, of a thousand objects each.
const MAX_PAGES: usize = 100_000;

/// What to remove. Nothing is removed where neither bound is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweep {
    /// What was written longer ago goes.
    pub max_age: Option<Duration>,
    /// What was written first goes until at most this many bytes are left.
    pub max_bytes: Option<u64>,
    /// Only tell what would go.
    pub dry_run: bool,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Objects before.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects removed.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
}

#[derive(Debug)]
struct Object {
    key: String,
    bytes: u64,
    /// Seconds since 1970; what has none counts as new.
    written: i64,
}

impl S3Backend {
    /// Removes what is old, or too much, among the blobs and results below the prefix. Other objects are left alone. A result that
    /// loses a blob counts as missing, and is written anew when it is made again. `progress` is called with the objects listed so far,
    /// and then with the objects removed.
    pub async fn sweep(&self, sweep: Sweep, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<SweepReport, BackendError> {
        let mut objects = Vec::new();
        for part in ["ac/", "cas/"] {
            self.list(&self.location.key(part), &mut objects, progress).await?;
        }
        objects.sort_by_key(|object| object.written);
        let mut report = SweepReport {
            objects: objects.len() as u64,
            bytes: objects.iter().map(|object| object.bytes).sum(),
            ..SweepReport::default()
        };
        let now = jiff::Timestamp::now().as_second();
        let oldest = sweep.max_age.map(|age| now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)));
        let mut left = report.bytes;
        let going: Vec<Object> = objects
            .into_iter()
            .take_while(|object| {
                let old = oldest.is_some_and(|oldest| object.written < oldest);
                let much = sweep.max_bytes.is_some_and(|bound| left > bound);
                left -= if old || much { object.bytes } else { 0 };
                old || much
            })
            .collect();
        let listed = report.objects;
        if !sweep.dry_run {
            let removals = stream::iter(&going).map(|object| self.delete(&object.key));
            let mut removals = removals.buffer_unordered(PARALLEL);
            let mut removed = 0;
            while let Some(()) = removals.try_next().await? {
                removed += 1;
                progress(listed, removed);
            }
        }
        report.removed = going.len() as u64;
        report.removed_bytes = going.iter().map(|object| object.bytes).sum();
        Ok(report)
    }

    async fn list(
        &self,
        prefix: &str,
        objects: &mut Vec<Object>,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(), BackendError> {
        let mut continuation: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let url = {
                let mut list = self.bucket.list_objects_v2(self.keys());
                list.with_prefix(prefix);
                if let Some(token) = &continuation {
                    list.with_continuation_token(token);
                }
                list.sign(SIGNED)
            };
            let answer = self.http.send(Method::GET, &url, empty(), None).await?.ok_or_else(|| self.no_bucket())?;
            let body = answer.into_body().collect().await.map_err(|error| http::broken(&url, &error))?.to_bytes();
            let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&body)).map_err(|error| {
                let message = format!("{} lists its objects in a way that is not understood: {error}", self.location);
                BackendError::new(Failure::Damaged, message)
            })?;
            let now = jiff::Timestamp::now().as_second();
            objects.extend(page.contents.into_iter().map(|object| {
                Object {
                    key: object.key,
                    bytes: object.size.unwrap_or(0),
                    written: object
                        .last_modified
                        .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                        .map_or(now, jiff::Timestamp::as_second),
                }
            }));
            progress(objects.len() as u64, 0);
            continuation = page.next_continuation_token;
            if continuation.is_none() {
                return Ok(());
            }
        }
        Err(BackendError::new(Failure::Refused, format!("{} holds too many objects to list", self.location)))
    }
}
