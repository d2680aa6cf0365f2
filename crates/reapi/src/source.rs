//! What sent a request, as it says of itself, and what each run of a build tool asked for.

use std::collections::HashMap;

use buildnet_digest::reapi;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::metrics::{Outcome, Sample};

/// Longest name or identifier that is kept, in characters.
const MAX_TEXT: usize = 64;
/// Runs that are remembered; the one that was silent longest makes room for a new one.
const MAX_RUNS: usize = 256;

/// What sent a request (`remote_execution.proto`, message `RequestMetadata`). Nobody checks it: it explains, and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSource {
    /// The build tool, `bazel` for example; the product of the user agent, or `unknown`, when the request does not say.
    pub tool: String,
    /// Its version; empty when it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// One run of the tool (`tool_invocation_id`); empty when it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub invocation: String,
    /// What several runs have in common (`correlated_invocations_id`), a CI job for example; empty when it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub correlated: String,
}

impl RequestSource {
    /// From the metadata of a request, and its user agent for what the metadata does not say.
    pub fn new(metadata: &reapi::RequestMetadata, user_agent: &str) -> Self {
        let cut = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        let product = user_agent.split(' ').next().unwrap_or_default();
        let (product, agent_version) = product.split_once('/').unwrap_or((product, ""));
        let details = metadata.tool_details.as_ref();
        let named = details.filter(|tool| !tool.tool_name.is_empty());
        let (tool, version) = match named {
            Some(tool) => (tool.tool_name.as_str(), tool.tool_version.as_str()),
            None if product.is_empty() => ("unknown", ""),
            None => (product, agent_version),
        };
        Self {
            tool: cut(tool),
            version: cut(version),
            invocation: cut(&metadata.tool_invocation_id),
            correlated: cut(&metadata.correlated_invocations_id),
        }
    }
}

/// What one run of a build tool asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The run.
    pub source: RequestSource,
    /// The instance that it asked last.
    pub instance: String,
    /// Requests.
    pub requests: u64,
    /// Lookups that hit.
    pub hits: u64,
    /// Lookups that missed.
    pub misses: u64,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
    /// Number of the request among all that named a run: the order of the last requests.
    last: u64,
}

/// The runs that were heard of lately.
#[derive(Debug, Default)]
pub struct Invocations {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    runs: HashMap<(String, String), Invocation>,
    requests: u64,
}

impl Invocations {
    /// Counts a request of a run; requests that name none are not counted here.
    pub fn record(&self, sample: &Sample<'_>, source: &RequestSource) {
        if source.invocation.is_empty() {
            return;
        }
        let mut table = self.table.lock();
        table.requests += 1;
        let number = table.requests;
        let key = (source.tool.clone(), source.invocation.clone());
        if table.runs.len() >= MAX_RUNS && !table.runs.contains_key(&key) {
            let silent = table.runs.iter().min_by_key(|(_, run)| run.last).map(|(key, _)| key.clone());
            silent.and_then(|key| table.runs.remove(&key));
        }
        let run = table.runs.entry(key).or_default();
        run.source.clone_from(source);
        sample.instance.clone_into(&mut run.instance);
        run.requests += 1;
        run.hits += u64::from(sample.outcome == Outcome::Hit);
        run.misses += u64::from(sample.outcome == Outcome::Miss);
        run.received += sample.received;
        run.sent += sample.sent;
        run.last = number;
    }

    /// The runs, the one heard of last first.
    pub fn list(&self) -> Vec<Invocation> {
        let mut runs: Vec<Invocation> = self.table.lock().runs.values().cloned().collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.last));
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn metadata(tool: &str, invocation: &str) -> reapi::RequestMetadata {
        let details = reapi::ToolDetails { tool_name: tool.into(), tool_version: "7.1".into() };
        let details = (!tool.is_empty()).then_some(details);
        reapi::RequestMetadata {
            tool_details: details,
            tool_invocation_id: invocation.into(),
            correlated_invocations_id: "job".into(),
            ..Default::default()
        }
    }

    #[test]
    fn metadata_goes_before_the_user_agent() {
        let source = RequestSource::new(&metadata("bazel", "run"), "grpc-java-netty/1.2 x");
        let names = [source.tool, source.version, source.invocation, source.correlated];
        assert_eq!(names, ["bazel", "7.1", "run", "job"]);
        let source = RequestSource::new(&metadata("", ""), "grpc-java-netty/1.2 x");
        assert_eq!((source.tool.as_str(), source.version.as_str()), ("grpc-java-netty", "1.2"));
        assert_eq!(RequestSource::new(&metadata("", ""), "").tool, "unknown");
        assert_eq!(RequestSource::new(&metadata(&"x".repeat(1000), ""), "").tool.len(), MAX_TEXT);
    }

    #[test]
    fn runs_are_counted_and_bounded() {
        let invocations = Invocations::default();
        let sample = |outcome| Sample {
            protocol: "grpc",
            operation: "read",
            instance: "main",
            client: "bazel",
            outcome,
            received: 1,
            sent: 2,
            latency: Duration::ZERO,
        };
        let first = RequestSource::new(&metadata("bazel", "first"), "");
        for outcome in [Outcome::Hit, Outcome::Hit, Outcome::Miss] {
            invocations.record(&sample(outcome), &first);
        }
        invocations.record(&sample(Outcome::Hit), &RequestSource::new(&metadata("bazel", ""), ""));
        let list = invocations.list();
        assert_eq!(list.len(), 1, "a request without a run is counted elsewhere only");
        let run = &list[0];
        assert_eq!((run.requests, run.hits, run.misses, run.received, run.sent), (3, 2, 1, 3, 6));
        for number in 0..MAX_RUNS {
            let source = RequestSource::new(&metadata("bazel", &number.to_string()), "");
            invocations.record(&sample(Outcome::Done), &source);
        }
        let list = invocations.list();
        assert_eq!(list.len(), MAX_RUNS);
        assert!(list.iter().all(|run| run.source != first), "the run that was silent longest is forgotten");
        assert_eq!(list[0].source.invocation, (MAX_RUNS - 1).to_string());
    }
}
