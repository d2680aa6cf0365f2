//! A small language of keys: leaves that are set, and formulas over them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_engine::graph::{ComputeError, Context, Evaluation, Graph, Key, Request, Services};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The outside world: what each leaf reads, and who was computed.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) leaves: Mutex<HashMap<u32, i64>>,
    pub(crate) computed: Mutex<Vec<String>>,
}

pub(crate) type SharedWorld = Arc<World>;

impl World {
    pub(crate) fn put(&self, leaf: u32, value: i64) {
        self.leaves.lock().insert(leaf, value);
    }

    /// Who was computed since the last call, sorted.
    pub(crate) fn take_computed(&self) -> Vec<String> {
        let mut computed = std::mem::take(&mut *self.computed.lock());
        computed.sort();
        computed
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

impl Diagnostic for Refused {
    fn category(&self) -> ErrorCategory {
        ErrorCategory::User
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Leaf(pub(crate) u32);

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf{}", self.0)
    }
}

impl Key for Leaf {
    type Value = i64;
    const KIND: &'static str = "leaf";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        let world = ctx.host::<SharedWorld>();
        world.computed.lock().push(self.to_string());
        let value = world.leaves.lock().get(&self.0).copied();
        Ok(value.ok_or_else(|| Refused(format!("no leaf {}", self.0)))?)
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

/// A formula; the key is the formula itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Formula {
    /// Sum of leaves.
    Sum(Vec<u32>),
    /// Whether the other is positive: cuts off changes.
    Positive(Box<Formula>),
    /// The second if the first is positive, else the third.
    If(Box<Formula>, Box<Formula>, Box<Formula>),
    /// The other, or -1 if that fails.
    OrElse(Box<Formula>),
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum(leaves) => write!(f, "sum{leaves:?}"),
            Self::Positive(of) => write!(f, "positive({of})"),
            Self::If(condition, yes, no) => write!(f, "if({condition}, {yes}, {no})"),
            Self::OrElse(of) => write!(f, "orelse({of})"),
        }
    }
}

impl Key for Formula {
    type Value = i64;
    const KIND: &'static str = "formula";

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        ctx.host::<SharedWorld>().computed.lock().push(self.to_string());
        match self {
            Self::Sum(leaves) => {
                let leaves: Vec<Leaf> = leaves.iter().copied().map(Leaf).collect();
                let mut sum = 0;
                for value in ctx.get_all(&leaves).await {
                    sum += value?;
                }
                Ok(sum)
            }
            Self::Positive(of) => Ok(i64::from(ctx.get(&**of).await? > 0)),
            Self::If(condition, yes, no) => {
                let branch = if ctx.get(&**condition).await? > 0 { yes } else { no };
                Ok(ctx.get(&**branch).await?)
            }
            Self::OrElse(of) => Ok(ctx.get(&**of).await.unwrap_or(-1)),
        }
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

pub(crate) fn graph(world: &SharedWorld) -> Graph {
    Graph::new(Services::new().with(world.clone()))
}

pub(crate) async fn evaluate<K: Key>(graph: &Graph, key: &K) -> Evaluation<K::Value> {
    graph.evaluate(std::slice::from_ref(key), &Request::default()).await
}

/// The one value asked for.
pub(crate) async fn value(graph: &Graph, key: &Formula) -> i64 {
    evaluate(graph, key).await.values.pop().unwrap().unwrap()
}
