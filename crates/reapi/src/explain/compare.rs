//! Actions and commands, field by field (`remote_execution.proto`, messages `Action` and `Command`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use buildnet_digest::{Digest, DigestFunction, protobuf, reapi};

use super::difference::Difference;
use super::fetch::Messages;
use super::{ExplainError, Explanation, tree};

pub(super) async fn actions(
    messages: &Messages<'_>,
    one: &Digest,
    two: &Digest,
    into: &mut Explanation,
) -> Result<(), ExplainError> {
    let a: reapi::Action = messages.message("action", one).await?;
    let b: reapi::Action = messages.message("action", two).await?;
    let before = into.differences.len();
    let (command_a, command_b) =
        (digest_of(one, a.command_digest.as_ref())?, digest_of(two, b.command_digest.as_ref())?);
    let (mut in_command_a, mut in_command_b) = (None, None);
    if command_a != command_b {
        let a: reapi::Command = messages.message("command", &command_a).await?;
        let b: reapi::Command = messages.message("command", &command_b).await?;
        commands(&a, &b, into);
        (in_command_a, in_command_b) = (platform_of(a), platform_of(b));
    }
    // Clients of REAPI 2.2 and later write the platform into the action; a server looks there first.
    platforms(a.platform.as_ref().or(in_command_a.as_ref()), b.platform.as_ref().or(in_command_b.as_ref()), into);
    if into.differences.len() == before && command_a != command_b {
        into.push(Difference::Encoding { what: "command".into() });
    }
    let millis = |duration: &protobuf::Duration| {
        duration.seconds.saturating_mul(1000).saturating_add(i64::from(duration.nanos) / 1_000_000)
    };
    if a.timeout != b.timeout {
        into.push(Difference::Timeout { a: a.timeout.as_ref().map(millis), b: b.timeout.as_ref().map(millis) });
    }
    if a.do_not_cache != b.do_not_cache {
        into.push(Difference::DoNotCache { a: a.do_not_cache, b: b.do_not_cache });
    }
    if a.salt != b.salt {
        into.push(Difference::Salt { a: hex_of(&a.salt), b: hex_of(&b.salt) });
    }
    let roots = (digest_of(one, a.input_root_digest.as_ref())?, digest_of(two, b.input_root_digest.as_ref())?);
    if roots.0 != roots.1 {
        tree::compare(messages, roots.0, roots.1, into).await?;
    }
    if into.differences.len() == before && into.unknown.is_empty() {
        into.push(Difference::Encoding { what: "action".into() });
    }
    Ok(())
}

/// A digest in an action, of the action's own function. Without one the message is empty.
fn digest_of(action: &Digest, digest: Option<&reapi::Digest>) -> Result<Digest, ExplainError> {
    let function: DigestFunction = action.function();
    let Some(digest) = digest else { return Ok(Digest::empty(function)) };
    Digest::from_reapi(function, digest)
        .map_err(|_| ExplainError::Malformed { what: "an action", digest: Box::new(*action) })
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn commands(a: &reapi::Command, b: &reapi::Command, into: &mut Explanation) {
    arguments(&a.arguments, &b.arguments, into);
    let variables = |command: &reapi::Command| -> BTreeMap<String, String> {
        command.environment_variables.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect()
    };
    let (variables_a, variables_b) = (variables(a), variables(b));
    for name in variables_a.keys().chain(variables_b.keys()).collect::<BTreeSet<_>>() {
        let (a, b) = (variables_a.get(name).cloned(), variables_b.get(name).cloned());
        if a != b {
            into.push(Difference::EnvironmentVariable { name: name.clone(), a, b });
        }
    }
    if a.working_directory != b.working_directory {
        let (a, b) = (a.working_directory.clone(), b.working_directory.clone());
        into.push(Difference::WorkingDirectory { a, b });
    }
    let (outputs_a, outputs_b) = (outputs(a), outputs(b));
    for (kind, path) in outputs_a.symmetric_difference(&outputs_b) {
        let in_a = outputs_a.contains(&(*kind, *path));
        into.push(Difference::OutputPath { path: (*path).to_owned(), kind, in_a });
    }
}

#[expect(deprecated, reason = "clients of REAPI 2.1 and earlier write the platform there")]
fn platform_of(command: reapi::Command) -> Option<reapi::Platform> {
    command.platform
}

/// Fields that newer clients leave empty are read all the same: a difference is a difference.
#[expect(deprecated, reason = "clients of REAPI 2.0 name files and directories apart")]
fn outputs(command: &reapi::Command) -> BTreeSet<(&'static str, &str)> {
    let kinds =
        [("file", &command.output_files), ("directory", &command.output_directories), ("path", &command.output_paths)];
    kinds.into_iter().flat_map(|(kind, paths)| paths.iter().map(move |path| (kind, path.as_str()))).collect()
}

/// What is between the arguments that both begin with and those that both end with.
fn arguments(a: &[String], b: &[String], into: &mut Explanation) {
    let first = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[first..], &b[first..]);
    let last = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - last], &b[..b.len() - last]);
    if !(a.is_empty() && b.is_empty()) {
        into.push(Difference::Arguments { first, a: a.to_vec(), b: b.to_vec() });
    }
}

fn platforms(a: Option<&reapi::Platform>, b: Option<&reapi::Platform>, into: &mut Explanation) {
    let properties = |platform: Option<&reapi::Platform>| {
        let mut properties: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for property in platform.into_iter().flat_map(|platform| &platform.properties) {
            properties.entry(property.name.clone()).or_default().push(property.value.clone());
        }
        properties
    };
    let (properties_a, properties_b) = (properties(a), properties(b));
    for name in properties_a.keys().chain(properties_b.keys()).collect::<BTreeSet<_>>() {
        let values = |properties: &BTreeMap<String, Vec<String>>| properties.get(name).cloned().unwrap_or_default();
        let (a, b) = (values(&properties_a), values(&properties_b));
        if a != b {
            into.push(Difference::PlatformProperty { name: name.clone(), a, b });
        }
    }
}
