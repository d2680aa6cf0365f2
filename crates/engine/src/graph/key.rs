//! What the graph computes: typed keys, and their form without a type inside the graph.

use std::any::{Any, TypeId};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::{BuildHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Context;
use super::error::ComputeError;

/// One question that the graph can answer, such as "the outputs of task T".
///
/// `compute` must be a function of the values it gets through its [`Context`] alone. A [leaf](Self::LEAF) is where the
/// outside world enters: its `compute` reads files or the environment, and the host says when to read again
/// ([`Transaction::invalidate`](super::Transaction::invalidate)).
pub trait Key: Clone + Eq + Hash + Debug + Display + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The answer; cloned for everybody who asks, so usually an `Arc`.
    type Value: Clone + Send + Sync + Serialize + DeserializeOwned + 'static;

    /// Stable name of this kind of key in the persisted state.
    const KIND: &'static str;

    /// Version of the encoding of keys and values of this kind. A persisted state with another one is discarded.
    const VERSION: u32 = 0;

    /// Whether values come from outside: a leaf asks for no other key.
    const LEAF: bool = false;

    /// Whether `compute` ends itself soon after [`Context::cancelled`], for example to stop a process and wait for it.
    /// Otherwise cancelling drops its future.
    const CLEANS_UP: bool = false;

    /// Whether values are written to the persisted state. A value that is not is computed again in the next process, and
    /// what depends on it is computed again too.
    const PERSISTENT: bool = true;

    /// Computes the value; a leaf reads the outside world.
    fn compute(&self, ctx: &Context) -> impl Future<Output = Result<Self::Value, ComputeError>> + Send;

    /// Whether two values are interchangeable for everything that depends on them (early cutoff).
    fn same(old: &Self::Value, new: &Self::Value) -> bool;
}

/// A value without its type.
pub(super) type AnyValue = Arc<dyn Any + Send + Sync>;

/// The future of [`AnyKey::compute`].
pub(super) type ComputeFuture<'a> = Pin<Box<dyn Future<Output = Result<AnyValue, ComputeError>> + Send + 'a>>;

/// A key without its type. Every `AnyValue` passed in is one of the key's own type.
pub(super) trait AnyKey: Display + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn kind(&self) -> &'static str;
    fn version(&self) -> u32;
    fn leaf(&self) -> bool;
    fn cleans_up(&self) -> bool;
    fn persistent(&self) -> bool;
    fn equals(&self, other: &dyn AnyKey) -> bool;
    fn compute<'a>(&'a self, ctx: &'a Context) -> ComputeFuture<'a>;
    fn same(&self, old: &AnyValue, new: &AnyValue) -> bool;
    fn encode(&self) -> Result<Vec<u8>, postcard::Error>;
    fn encode_value(&self, value: &AnyValue) -> Result<Vec<u8>, postcard::Error>;
    fn decode_value(&self, bytes: &[u8]) -> Result<AnyValue, postcard::Error>;
}

/// Holds a key behind [`AnyKey`]; a wrapper, so that the two traits' methods are never mixed up.
pub(super) struct Holder<K>(pub(super) K);

impl<K: Key> Display for Holder<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl<K: Key> AnyKey for Holder<K> {
    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn kind(&self) -> &'static str {
        K::KIND
    }

    fn version(&self) -> u32 {
        K::VERSION
    }

    fn leaf(&self) -> bool {
        K::LEAF
    }

    fn cleans_up(&self) -> bool {
        K::CLEANS_UP
    }

    fn persistent(&self) -> bool {
        K::PERSISTENT
    }

    fn equals(&self, other: &dyn AnyKey) -> bool {
        other.as_any().downcast_ref::<K>() == Some(&self.0)
    }

    fn compute<'a>(&'a self, ctx: &'a Context) -> ComputeFuture<'a> {
        Box::pin(async move { Ok(Arc::new(self.0.compute(ctx).await?) as AnyValue) })
    }

    fn same(&self, old: &AnyValue, new: &AnyValue) -> bool {
        match (old.downcast_ref::<K::Value>(), new.downcast_ref::<K::Value>()) {
            (Some(old), Some(new)) => K::same(old, new),
            _ => false,
        }
    }

    fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(&self.0)
    }

    fn encode_value(&self, value: &AnyValue) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(typed::<K>(value))
    }

    fn decode_value(&self, bytes: &[u8]) -> Result<AnyValue, postcard::Error> {
        let (value, rest) = postcard::take_from_bytes::<K::Value>(bytes)?;
        if rest.is_empty() { Ok(Arc::new(value)) } else { Err(postcard::Error::DeserializeBadEncoding) }
    }
}

/// The typed value behind an erased one of a key of type `K`.
pub(super) fn typed<K: Key>(value: &AnyValue) -> &K::Value {
    // A node's values are made by its own key alone, and nodes are found by the key's type.
    value.downcast_ref::<K::Value>().expect("a node holds values of its key's type")
}

/// The hash by which a key is found.
pub(super) fn hash_of<K: Key>(hasher: &DefaultHashBuilder, key: &K) -> u64 {
    let mut state = hasher.build_hasher();
    TypeId::of::<K>().hash(&mut state);
    key.hash(&mut state);
    state.finish()
}
