//! The signature generators that `BB_SIGNATURE_HANDLER` names.

/// How the hashes of tasks are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureHandler {
    /// `noop`, and any name that is none: a task's hash is that of its name.
    #[default]
    Noop,
    /// `basic`: metadata and dependencies, dependencies left out by `BB_TASKHASH_IGNORE_TASKS`; stamps carry no hash.
    Basic,
    /// `basichash`: the same, with the hash in the names of stamps.
    BasicHash,
    /// `OEBasicHash`: openembedded-core's rules of which dependencies count, and locked signatures.
    OeBasicHash,
    /// `OEEquivHash`: the same, with the unified hashes of a hash equivalence server.
    OeEquivHash,
    /// `TestEquivHash`: `basichash` with such a server.
    TestEquivHash,
}

impl SignatureHandler {
    /// The generator of a name, as BitBake chooses it.
    pub fn named(name: &str) -> Self {
        match name {
            "basic" => Self::Basic,
            "basichash" => Self::BasicHash,
            "OEBasicHash" => Self::OeBasicHash,
            "OEEquivHash" => Self::OeEquivHash,
            "TestEquivHash" => Self::TestEquivHash,
            _ => Self::Noop,
        }
    }

    /// Whether openembedded-core's rules say which dependencies count.
    pub fn is_oe(self) -> bool {
        matches!(self, Self::OeBasicHash | Self::OeEquivHash)
    }

    /// Whether the names of stamps carry hashes.
    pub fn stamps_by_hash(self) -> bool {
        !matches!(self, Self::Noop | Self::Basic)
    }

    /// Whether a hash equivalence server is asked.
    pub fn asks_server(self) -> bool {
        matches!(self, Self::OeEquivHash | Self::TestEquivHash)
    }
}
