//! From a spec and the digests of its inputs to a REAPI action.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use buildnet_digest::tree::{Node, TreeBuilder};
use buildnet_digest::{Digest, DigestFunction, protobuf, reapi};
use buildnet_executor::{HostMount, Input, Outputs};
use prost::Message;

use super::error::BuildError;
use super::sources::FileSet;
use super::spec::{ActionSpec, EnvSource, HostInput, SandboxMode};
use super::tools::HostFile;

const FUNCTION: DigestFunction = DigestFunction::Blake3;

/// Version of how actions are made; a change here changes every key.
const FORMAT: &str = "1";

/// An action with everything its digest stands for.
#[derive(Debug)]
pub(super) struct Assembled {
    /// Digest of the `Action` message.
    pub(super) digest: Digest,
    /// The `Action`, the `Command` and the directories of the input root.
    pub(super) blobs: Vec<(Digest, Vec<u8>)>,
    /// The input root, path by path.
    pub(super) inputs: Vec<Input>,
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// Trees of the host that are shown.
    pub(super) mounts: Vec<HostMount>,
}

impl Assembled {
    /// What says what was run: the `Action` and its `Command`, for whoever looks into a shared cache.
    pub(super) fn description(&self) -> Vec<Digest> {
        // They are the last of the blobs.
        self.blobs.iter().rev().take(2).map(|(digest, _)| *digest).collect()
    }
}

/// What a task sees of all that it depends on, directly or not.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// What was made.
    pub(super) outputs: Vec<Arc<Outputs>>,
    /// Input files of tasks that export them.
    pub(super) files: Vec<Arc<FileSet>>,
    /// Host inputs of the same.
    pub(super) mounts: Vec<HostMount>,
}

/// What enters an action beside its spec and sources.
#[derive(Debug, Default)]
pub(super) struct Identities<'a> {
    /// Declared variables that are set, with their values.
    pub(super) environment: BTreeMap<String, String>,
    /// Declared programs.
    pub(super) tools: Vec<(&'a str, HostFile)>,
    /// For each host input, by its target: its identity files.
    pub(super) host: Vec<(String, HostFile)>,
}

/// Makes the action of a task.
pub(super) fn assemble(
    spec: &ActionSpec,
    sources: &FileSet,
    upstream: Upstream,
    identities: &Identities<'_>,
) -> Result<Assembled, BuildError> {
    let mut tree = TreeBuilder::new(FUNCTION);
    let mut inputs = Vec::with_capacity(sources.files.len());
    let collision = |error| BuildError::Inputs { error };
    for file in &sources.files {
        tree.add(&file.path, file.node.clone()).map_err(collision)?;
        inputs.push(Input { path: file.path.clone(), node: file.node.clone(), source: Some(file.stamp) });
    }
    let mut exported: HashSet<&str> = HashSet::new();
    for file in upstream.files.iter().flat_map(|set| &set.files) {
        tree.add(&file.path, file.node.clone()).map_err(collision)?;
        let own = sources.files.binary_search_by(|own| own.path.cmp(&file.path)).is_ok();
        if !own && exported.insert(&file.path) {
            inputs.push(Input { path: file.path.clone(), node: file.node.clone(), source: Some(file.stamp) });
        }
    }
    for outputs in &upstream.outputs {
        for output in outputs.entries() {
            tree.add(&output.path, output.node.clone()).map_err(collision)?;
            inputs.push(Input { path: output.path.clone(), node: output.node.clone(), source: None });
        }
    }
    let root = tree.build();
    let argv = command_line(spec);
    let platform = reapi::Platform { properties: platform(spec, identities) };
    let variables = identities.environment.iter();
    let command = reapi::Command {
        arguments: argv.clone(),
        environment_variables: variables
            .map(|(name, value)| reapi::command::EnvironmentVariable { name: name.clone(), value: value.clone() })
            .collect(),
        output_paths: sorted(&spec.outputs),
        ..Default::default()
    };
    let command_bytes = command.encode_to_vec();
    let command_digest = FUNCTION.digest(&command_bytes);
    let action = reapi::Action {
        command_digest: Some(command_digest.to_reapi()),
        input_root_digest: Some(root.root.to_reapi()),
        timeout: spec.timeout.map(|timeout| protobuf::Duration {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(timeout.subsec_nanos()).unwrap_or(0),
        }),
        do_not_cache: !spec.cache,
        platform: Some(platform),
        ..Default::default()
    };
    let action_bytes = action.encode_to_vec();
    let digest = FUNCTION.digest(&action_bytes);
    let mut blobs: Vec<(Digest, Vec<u8>)> = root.directories.into_iter().collect();
    blobs.push((command_digest, command_bytes));
    blobs.push((digest, action_bytes));
    let mut mounts: Vec<HostMount> = spec.host_inputs.iter().map(mount).collect();
    for mount in upstream.mounts {
        if !mounts.iter().any(|own| own.target == mount.target) {
            mounts.push(mount);
        }
    }
    Ok(Assembled { digest, blobs, inputs, argv, mounts })
}

/// A host input as the executor shows it.
pub(super) fn mount(input: &HostInput) -> HostMount {
    HostMount { source: input.source.clone(), target: input.target.clone() }
}

/// Everything else that a result depends on, as platform properties: sorted by name, then value, as REAPI asks.
fn platform(spec: &ActionSpec, identities: &Identities<'_>) -> Vec<reapi::platform::Property> {
    let mut properties: Vec<(String, String)> =
        spec.platform.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut add = |name: String, value: String| properties.push((name, value));
    add("buildnet:format".to_owned(), FORMAT.to_owned());
    for (name, tool) in &identities.tools {
        add(format!("buildnet:tool:{name}"), identity(tool));
    }
    for (target, file) in &identities.host {
        add(format!("buildnet:host:{target}"), identity(file));
    }
    if !spec.path.is_empty() {
        add("buildnet:path".to_owned(), spec.path.join(":"));
    }
    if spec.network {
        add("buildnet:network".to_owned(), "on".to_owned());
    }
    if spec.sandbox != SandboxMode::Strict {
        // What runs unconfined can see more than its inputs: it must not fill the cache of what is confined.
        add("buildnet:sandbox".to_owned(), format!("{:?}", spec.sandbox).to_lowercase());
    }
    if !spec.state.is_empty() {
        add("buildnet:state".to_owned(), spec.state.join(":"));
    }
    properties.sort();
    properties.into_iter().map(|(name, value)| reapi::platform::Property { name, value }).collect()
}

fn identity(file: &HostFile) -> String {
    file.digest.map_or_else(|| "absent".to_owned(), |digest| digest.hex())
}

/// `sh -e -c` over the scripts, each in a subshell, so that none can change another's directory or variables.
fn command_line(spec: &ActionSpec) -> Vec<String> {
    let scripts = match spec.commands.as_slice() {
        [one] => one.clone(),
        several => several.iter().map(|script| format!("(\n{script}\n)")).collect::<Vec<_>>().join("\n"),
    };
    // A command line without `working_directory`, so that output paths may lie outside the package's directory.
    let script = if spec.directory.is_empty() { scripts } else { format!("cd {}\n{scripts}", quote(&spec.directory)) };
    vec!["/bin/sh".to_owned(), "-e".to_owned(), "-c".to_owned(), script]
}

/// Quotes a word for a POSIX shell.
fn quote(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The declared variables that are set, with their values.
pub(super) fn environment(spec: &ActionSpec, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let value = |name: &String, source: &EnvSource| match source {
        EnvSource::Value(value) => Some(value.clone()),
        EnvSource::Inherit => given.get(name).cloned(),
    };
    spec.environment.iter().filter_map(|(name, source)| Some((name.clone(), value(name, source)?))).collect()
}

/// Names the kind of a node and the beginning of its digest, for people.
pub(super) fn short(node: &Node) -> String {
    match node {
        Node::File { digest, executable } => {
            format!("{}{}", &digest.hex()[..12], if *executable { " (executable)" } else { "" })
        }
        Node::Symlink { target } => format!("-> {target}"),
        Node::Directory => "directory".to_owned(),
    }
}

fn sorted(paths: &[String]) -> Vec<String> {
    let mut paths = paths.to_vec();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use buildnet_event::TaskName;

    use super::*;

    fn spec(commands: &[&str], directory: &str) -> ActionSpec {
        let commands = commands.iter().map(|&command| command.to_owned()).collect();
        ActionSpec { commands, ..ActionSpec::new(TaskName::new("p", "build"), directory) }
    }

    fn key(spec: &ActionSpec, identities: &Identities<'_>) -> Digest {
        assemble(spec, &FileSet::default(), Upstream::default(), identities).unwrap().digest
    }

    #[test]
    fn whatever_a_result_depends_on_changes_the_key() {
        let base = spec(&["true"], "p");
        let none = Identities::default();
        let tool = |content: &[u8]| Identities {
            tools: vec![("cc", HostFile { digest: Some(FUNCTION.digest(content)), ..HostFile::default() })],
            ..Default::default()
        };
        let variable = |value: &str| Identities {
            environment: BTreeMap::from([("V".to_owned(), value.to_owned())]),
            ..Default::default()
        };
        let specs = [
            spec(&["false"], "p"),
            spec(&["true"], "q"),
            ActionSpec { network: true, ..base.clone() },
            ActionSpec { sandbox: SandboxMode::Off, ..base.clone() },
            ActionSpec { outputs: vec!["p/out".to_owned()], ..base.clone() },
            ActionSpec { path: vec!["node_modules/.bin".to_owned()], ..base.clone() },
            ActionSpec { platform: BTreeMap::from([("arch".to_owned(), "arm".to_owned())]), ..base.clone() },
        ];
        let mut keys: Vec<Digest> = specs.iter().map(|spec| key(spec, &none)).collect();
        keys.extend([tool(b"1"), tool(b"2"), variable("1"), variable("2")].iter().map(|other| key(&base, other)));
        keys.push(key(&base, &none));
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "two of them have one key");
    }

    #[test]
    fn scripts_cannot_reach_into_each_other() {
        let argv = command_line(&spec(&["cd sub", "pwd"], "it's"));
        assert_eq!(argv[3], "cd 'it'\\''s'\n(\ncd sub\n)\n(\npwd\n)");
    }
}
