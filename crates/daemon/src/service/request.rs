//! What a client asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A build that a client asks for. Every field but `workspace` may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line, independent of each other")]
pub struct BuildRequest {
    /// The workspace's root, or any directory in it: absolute. Empty for the workspace that the daemon was started in.
    pub workspace: String,
    /// The cache directory that must be used; none for whichever there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<String>,
    /// The remote cache to use; empty for none, absent for the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_cache: Option<String>,
    /// Whether to send results to it; absent for what is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_upload: Option<bool>,
    /// Authorities in PEM that it is trusted by, or `system`; absent for what is configured. An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<String>,
    /// Certificate to show to it, in PEM. An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_cert: Option<String>,
    /// Private key of that certificate, in PEM. An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_key: Option<String>,
    /// The task of the pipeline, such as `build` or `test`.
    pub task: String,
    /// Names of the packages; empty for all.
    pub packages: Vec<String>,
    /// Run everything, whatever the caches hold.
    pub force: bool,
    /// Go on with what does not need a task that failed.
    pub keep_going: bool,
    /// How many commands may run at once; none for one per core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// Tell what would run, and run nothing.
    pub dry_run: bool,
    /// Trace which files commands read, and propose what to declare.
    pub trace_inputs: bool,
    /// The environment of whoever asks. Only what tasks declare reaches them.
    pub environment: BTreeMap<String, String>,
    /// Count tasks that were instant instead of telling each, and leave out what commands write.
    pub compact: bool,
    /// Go on when nobody listens any more.
    pub detached: bool,
}

impl Default for BuildRequest {
    fn default() -> Self {
        Self {
            workspace: String::new(),
            cache_dir: None,
            remote_cache: None,
            remote_upload: None,
            tls_ca: None,
            tls_client_cert: None,
            tls_client_key: None,
            task: "build".to_owned(),
            packages: Vec::new(),
            force: false,
            keep_going: false,
            jobs: None,
            dry_run: false,
            trace_inputs: false,
            environment: BTreeMap::new(),
            compact: false,
            detached: false,
        }
    }
}

impl BuildRequest {
    /// The request as a user would type it.
    pub fn command(&self) -> String {
        let mut words = match self.task.as_str() {
            "build" | "test" => vec![self.task.clone()],
            task => vec!["run".to_owned(), task.to_owned()],
        };
        let flags = [
            ("--force", self.force),
            ("--keep-going", self.keep_going),
            ("--dry-run", self.dry_run),
            ("--trace-inputs", self.trace_inputs),
        ];
        words.extend(flags.iter().filter(|(_, on)| *on).map(|(flag, _)| (*flag).to_owned()));
        words.extend(self.remote_cache.as_ref().map(|address| format!("--remote-cache={address}")));
        words.extend(self.remote_upload.map(|upload| format!("--remote-upload={upload}")));
        words.extend(self.jobs.map(|jobs| format!("--jobs={jobs}")));
        words.extend(self.packages.iter().cloned());
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_typed() {
        let mut request = BuildRequest { packages: vec!["api".to_owned()], force: true, ..BuildRequest::default() };
        assert_eq!(request.command(), "build --force api");
        request.task = "lint".to_owned();
        assert_eq!(request.command(), "run lint --force api");
    }

    #[test]
    fn an_empty_request_builds_everything() {
        assert_eq!(serde_json::from_str::<BuildRequest>("{}").unwrap(), BuildRequest::default());
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(serde_json::from_str::<BuildRequest>(r#"{"pakages": []}"#).is_err());
    }
}
