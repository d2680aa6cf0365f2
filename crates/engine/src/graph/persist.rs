//! The graph as bytes, and back.
//!
//! A damaged or foreign state is never half used: either the checksum, the format, the host's fingerprint and every kind's
//! version agree, or the graph starts empty and says why. `docs/design/engine.md` draws the layout.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use buildnet_digest::{Diagnostic, DigestFunction, ErrorCategory};
use hashbrown::DefaultHashBuilder;

use super::codec::{Reader, put, put_slice};
use super::handle::Graph;
use super::key::{AnyKey, Holder, Key, hash_of};
use super::node::{Dependency, Node, NodeId, Slot, Validity};
use super::services::Services;
use super::state::State;

const MAGIC: &[u8; 8] = b"BNgraph1";
const CHECKSUM: usize = 32;
/// Encoded slots are addressed with 32 bits.
const MAX_BYTES: u64 = u32::MAX as u64;

/// The kinds of keys that a persisted state may hold.
#[derive(Clone, Debug)]
pub struct Registry {
    fingerprint: String,
    kinds: HashMap<&'static str, Kind>,
}

/// From a key's bytes to the key and its hash.
type Decode = fn(&[u8], &DefaultHashBuilder) -> Option<(Arc<dyn AnyKey>, u64)>;

#[derive(Clone, Copy, Debug)]
struct Kind {
    version: u32,
    decode: Decode,
}

impl Registry {
    /// No kinds. A state written under another `fingerprint`, such as the program's version, is discarded.
    pub fn new(fingerprint: impl Into<String>) -> Self {
        Self { fingerprint: fingerprint.into(), kinds: HashMap::new() }
    }

    /// With keys of type `K`.
    ///
    /// # Panics
    /// If another type has the same [`Key::KIND`]; the names are constants of the program.
    #[must_use]
    pub fn with<K: Key>(mut self) -> Self {
        let before = self.kinds.insert(K::KIND, Kind { version: K::VERSION, decode: decode::<K> });
        assert!(before.is_none(), "two kinds of keys are called {}", K::KIND);
        self
    }
}

fn decode<K: Key>(bytes: &[u8], hasher: &DefaultHashBuilder) -> Option<(Arc<dyn AnyKey>, u64)> {
    let (key, rest) = postcard::take_from_bytes::<K>(bytes).ok()?;
    let hash = hash_of(hasher, &key);
    rest.is_empty().then(|| (Arc::new(Holder(key)) as Arc<dyn AnyKey>, hash))
}

/// Why a graph starts empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discarded {
    /// There was no state.
    #[error("there is no saved state yet")]
    Missing,
    /// It cannot be read.
    #[error("the saved state cannot be read: {0}")]
    Unreadable(String),
    /// Written by something else.
    #[error("the saved state has another format")]
    Format,
    /// Truncated or changed since it was written.
    #[error("the saved state is damaged")]
    Damaged,
    /// Written under another fingerprint.
    #[error("the saved state was written by `{0}`")]
    Fingerprint(String),
    /// It holds keys of an unknown kind or another version.
    #[error("the saved state holds `{0}` in another version")]
    Kind(String),
}

/// Why a graph was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A key or value cannot be encoded.
    #[error("{key} cannot be encoded: {error}")]
    Encode {
        /// The key.
        key: String,
        /// What the encoder says.
        error: postcard::Error,
    },
    /// There are keys of a kind that is not in the registry; they could not be loaded again.
    #[error("keys of kind `{0}` are not registered")]
    Unregistered(&'static str),
    /// The state takes 4 GiB or more.
    #[error("the state would take {0} bytes, more than 4 GiB")]
    TooLarge(u64),
    /// The file cannot be written.
    #[error("{path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
}

impl Diagnostic for SaveError {
    fn category(&self) -> ErrorCategory {
        match self {
            Self::Encode { .. } | Self::Unregistered(_) | Self::TooLarge(_) => ErrorCategory::Internal,
            Self::Write { .. } => ErrorCategory::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::Write { .. })
            .then(|| "Check that the directory is writable and the disk not full. The next build starts cold.".into())
    }
}

/// One node as it is written.
struct Written {
    id: NodeId,
    key: Arc<dyn AnyKey>,
    value: Slot,
    validity: Validity,
    dependencies: Box<[Dependency]>,
    changed_at: u64,
    verified_at: u64,
}

impl Graph {
    /// The graph saved in the file, or an empty one and the reason.
    pub fn load(path: &Path, registry: &Registry, services: Services) -> (Self, Option<Discarded>) {
        match fs::read(path) {
            Ok(bytes) => Self::from_bytes(bytes, registry, services),
            Err(error) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                let reason = if missing { Discarded::Missing } else { Discarded::Unreadable(error.to_string()) };
                (Self::new(services), Some(reason))
            }
        }
    }

    /// The graph that [`to_bytes`](Self::to_bytes) wrote, or an empty one and the reason.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>, registry: &Registry, services: Services) -> (Self, Option<Discarded>) {
        match parse(Arc::new(bytes.into()), registry) {
            Ok(state) => (Self::with_state(state, services), None),
            Err(reason) => (Self::new(services), Some(reason)),
        }
    }

    /// Writes the graph to a file, replacing it in one step. Returns its size in bytes.
    ///
    /// The file is not forced to disk: after a crash of the machine it may be the old one or damaged, and the latter is found
    /// out when it is loaded. What is lost is time only.
    pub fn save(&self, path: &Path, registry: &Registry) -> Result<u64, SaveError> {
        self.inner.state.lock().unsaved = false;
        let saved = self.write(path, registry);
        if saved.is_err() {
            // What is on disk is older than the graph.
            self.inner.state.lock().unsaved = true;
        }
        saved
    }

    fn write(&self, path: &Path, registry: &Registry) -> Result<u64, SaveError> {
        static SAVES: AtomicU64 = AtomicU64::new(0);
        let bytes = self.to_bytes(registry)?;
        let number = SAVES.fetch_add(1, Ordering::Relaxed);
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}-{number}.tmp", process::id()));
        let temporary = path.with_file_name(name);
        let written = (|| {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            drop(file);
            fs::rename(&temporary, path)
        })();
        written.map_err(|error| {
            let _ = fs::remove_file(&temporary);
            SaveError::Write { path: path.display().to_string(), error }
        })?;
        Ok(bytes.len() as u64)
    }

    /// The graph as bytes. Failures, and values of kinds that are not [persistent](Key::PERSISTENT), are left out.
    pub fn to_bytes(&self, registry: &Registry) -> Result<Vec<u8>, SaveError> {
        let (nodes, source, clock) = {
            let state = self.inner.state.lock();
            let nodes: Vec<Written> = state.ids().filter_map(|id| written(&state, id)).collect();
            (nodes, state.bytes.clone(), state.clock)
        };
        let mut kinds: Vec<(&'static str, u32)> = Vec::new();
        let mut kind_numbers: HashMap<&'static str, u64> = HashMap::new();
        let mut numbers: HashMap<NodeId, u64> = HashMap::with_capacity(nodes.len());
        for (number, node) in nodes.iter().enumerate() {
            numbers.insert(node.id, number as u64);
            kind_numbers.entry(node.key.kind()).or_insert_with(|| {
                kinds.push((node.key.kind(), node.key.version()));
                kinds.len() as u64 - 1
            });
        }
        if let Some((kind, _)) = kinds.iter().find(|(kind, _)| !registry.kinds.contains_key(kind)) {
            return Err(SaveError::Unregistered(kind));
        }
        let mut out = Vec::with_capacity(source.len() + 64 * nodes.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; CHECKSUM]);
        put_slice(&mut out, registry.fingerprint.as_bytes());
        put(&mut out, kinds.len() as u64);
        for (kind, version) in kinds {
            put_slice(&mut out, kind.as_bytes());
            put(&mut out, u64::from(version));
        }
        put(&mut out, clock);
        put(&mut out, nodes.len() as u64);
        for node in &nodes {
            let encode = |error| SaveError::Encode { key: node.key.to_string(), error };
            put(&mut out, kind_numbers[node.key.kind()]);
            put_slice(&mut out, &node.key.encode().map_err(encode)?);
            put(&mut out, node.changed_at);
            put(&mut out, node.verified_at);
            put(&mut out, node.dependencies.len() as u64);
            for dependency in &node.dependencies {
                // A node that is written is there, and so is what it depends on.
                put(&mut out, numbers[&dependency.id()] << 1 | u64::from(dependency.together()));
            }
            out.push(match (&node.value, node.validity) {
                (Slot::Empty, _) => 0,
                (_, Validity::Clean) => 1,
                (_, Validity::Suspect) => 2,
                (_, Validity::Dirty) => 3,
            });
            match &node.value {
                Slot::Empty => {}
                Slot::Ready(value) => put_slice(&mut out, &node.key.encode_value(value).map_err(encode)?),
                Slot::Encoded(range) => put_slice(&mut out, &source[range.start as usize..range.end as usize]),
            }
        }
        if out.len() as u64 > MAX_BYTES {
            return Err(SaveError::TooLarge(out.len() as u64));
        }
        let checksum = checksum(&out);
        out[MAGIC.len()..MAGIC.len() + CHECKSUM].copy_from_slice(&checksum);
        Ok(out)
    }
}

/// What is written of a node: nothing if it has no value and nobody depends on it.
fn written(state: &State, id: NodeId) -> Option<Written> {
    let node = state.node(id);
    let value = if node.key.persistent() { node.value.clone() } else { Slot::Empty };
    if matches!(value, Slot::Empty) && node.dependents.is_empty() {
        return None;
    }
    Some(Written {
        id,
        key: node.key.clone(),
        value,
        validity: node.validity,
        dependencies: node.dependencies.clone(),
        changed_at: node.changed_at,
        verified_at: node.verified_at,
    })
}

/// BLAKE3 of everything behind the checksum.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(DigestFunction::Blake3.digest(&bytes[MAGIC.len() + CHECKSUM..]).hash());
    checksum
}

fn parse(bytes: Arc<Vec<u8>>, registry: &Registry) -> Result<State, Discarded> {
    let start = MAGIC.len() + CHECKSUM;
    if !bytes.starts_with(MAGIC) {
        return Err(Discarded::Format);
    }
    if bytes.len() < start || bytes.len() as u64 > MAX_BYTES || bytes[MAGIC.len()..start] != checksum(&bytes) {
        return Err(Discarded::Damaged);
    }
    let source = bytes.clone();
    let mut reader = Reader::new(&source, start);
    let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let fingerprint = text(reader.slice()).ok_or(Discarded::Damaged)?;
    if fingerprint != registry.fingerprint {
        return Err(Discarded::Fingerprint(fingerprint));
    }
    let count = reader.count().ok_or(Discarded::Damaged)?;
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = text(reader.slice()).ok_or(Discarded::Damaged)?;
        let version = reader.number().ok_or(Discarded::Damaged)?;
        let known = registry.kinds.get(kind.as_str()).filter(|known| u64::from(known.version) == version);
        kinds.push(*known.ok_or(Discarded::Kind(kind))?);
    }
    let mut state = State::default();
    state.bytes = bytes;
    nodes(&mut reader, &kinds, &mut state).ok_or(Discarded::Damaged)?;
    state.unsaved = false;
    Ok(state)
}

/// Reads the nodes; nothing if the bytes are not what [`Graph::to_bytes`] writes.
fn nodes(reader: &mut Reader<'_>, kinds: &[Kind], state: &mut State) -> Option<()> {
    state.clock = reader.number()?;
    let count = reader.count()?;
    state.reserve(count);
    for _ in 0..count {
        let node = node(reader, kinds, state, count)?;
        state.insert(node);
    }
    state.link();
    (reader.remaining() == 0).then_some(())
}

fn node(reader: &mut Reader<'_>, kinds: &[Kind], state: &State, count: usize) -> Option<Node> {
    let kind = kinds.get(usize::try_from(reader.number()?).ok()?)?;
    let (key, hash) = (kind.decode)(reader.slice()?, &state.hasher)?;
    if state.contains(&*key, hash) {
        return None;
    }
    let mut node = Node::new(key, hash);
    node.changed_at = reader.number()?;
    node.verified_at = reader.number()?;
    let length = reader.count()?;
    let dependencies = (0..length).map(|_| {
        let dependency = reader.number()?;
        let id = NodeId::try_from(dependency >> 1).ok().filter(|id| (*id as usize) < count)?;
        Some(Dependency::new(id, dependency & 1 == 1))
    });
    node.dependencies = dependencies.collect::<Option<_>>()?;
    node.validity = match reader.byte()? {
        1 => Validity::Clean,
        2 => Validity::Suspect,
        0 => return Some(node),
        3 => Validity::Dirty,
        _ => return None,
    };
    let length = reader.slice()?.len();
    let end = reader.position();
    node.value = Slot::Encoded(u32::try_from(end - length).ok()?..u32::try_from(end).ok()?);
    Some(node)
}
