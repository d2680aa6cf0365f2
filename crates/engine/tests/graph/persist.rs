//! Saving and loading: a loaded graph is as good as the one saved, and a damaged state is never used.

use std::fmt;
use std::sync::Arc;

use crate::support::{Formula, Leaf, SharedWorld, World, evaluate, graph, value};
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_engine::graph::{ComputeError, Context, Discarded, Graph, Key, Registry, Services, Statistics};
use serde::{Deserialize, Serialize};

fn registry() -> Registry {
    Registry::new("test 1").with::<Leaf>().with::<Formula>()
}

fn world() -> SharedWorld {
    let world = World::default();
    world.put(1, 2);
    world.put(2, 3);
    Arc::new(world)
}

fn services(world: &SharedWorld) -> Services {
    Services::new().with(world.clone())
}

fn root() -> Formula {
    let positive = Formula::Positive(Box::new(Formula::Sum(vec![1])));
    Formula::If(Box::new(positive), Box::new(Formula::Sum(vec![1, 2])), Box::new(Formula::Sum(vec![9])))
}

#[tokio::test]
async fn a_loaded_graph_knows_what_it_knew() {
    let world = world();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("graph");
    let (first, reason) = Graph::load(&path, &registry(), services(&world));
    assert_eq!(reason, Some(Discarded::Missing));
    assert_eq!(value(&first, &root()).await, 5);
    assert!(first.unsaved());
    first.save(&path, &registry()).unwrap();
    assert!(!first.unsaved());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
    world.take_computed();

    let (second, reason) = Graph::load(&path, &registry(), services(&world));
    assert_eq!(reason, None);
    assert_eq!(second.len(), first.len());
    let evaluation = evaluate(&second, &root()).await;
    assert_eq!(evaluation.statistics, Statistics { reused: 1, ..Statistics::default() });
    assert!(!second.unsaved());
    // What was not decoded is written as it was read.
    assert_eq!(second.to_bytes(&registry()).unwrap().len(), std::fs::read(&path).unwrap().len());

    let leaves = second.leaves::<Leaf>();
    let mut values: Vec<_> = leaves.iter().map(|leaf| (leaf.key().0, leaf.value(), leaf.clean())).collect();
    values.sort_unstable();
    assert_eq!(values, [(1, Some(2), true), (2, Some(3), true)]);
    let mut transaction = second.begin();
    transaction.set(&Leaf(2), 40);
    assert_eq!(transaction.commit().changed, 1);
    assert_eq!(value(&second, &root()).await, 42);
    assert_eq!(world.take_computed().len(), 2, "the sum over leaf 2 and the root");
}

#[tokio::test]
async fn an_invalidation_survives_saving() {
    let world = world();
    let first = graph(&world);
    value(&first, &root()).await;
    let mut transaction = first.begin();
    transaction.invalidate(&Leaf(1));
    transaction.commit();
    let bytes = first.to_bytes(&registry()).unwrap();
    world.put(1, -5);
    world.put(9, 9);
    let (second, reason) = Graph::from_bytes(bytes, &registry(), services(&world));
    assert_eq!(reason, None);
    assert_eq!(value(&second, &root()).await, 9);
}

/// Reads leaf 1 without saying so; not persisted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Fleeting;

impl fmt::Display for Fleeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fleeting")
    }
}

impl Key for Fleeting {
    type Value = i64;
    const KIND: &'static str = "fleeting";
    const PERSISTENT: bool = false;

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        Ok(ctx.host::<SharedWorld>().leaves.lock()[&1])
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

/// Twice [`Fleeting`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Twice;

impl fmt::Display for Twice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("twice")
    }
}

impl Key for Twice {
    type Value = i64;
    const KIND: &'static str = "twice";

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        Ok(2 * ctx.get(&Fleeting).await?)
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

#[tokio::test]
async fn what_is_not_persisted_is_computed_again_with_all_above_it() {
    let world = world();
    let registry = Registry::new("test").with::<Fleeting>().with::<Twice>();
    let first = graph(&world);
    assert_eq!(evaluate(&first, &Twice).await.values.pop().unwrap().unwrap(), 4);
    let bytes = first.to_bytes(&registry).unwrap();
    world.put(1, 21);
    let (second, reason) = Graph::from_bytes(bytes, &registry, services(&world));
    assert_eq!(reason, None);
    assert_eq!(second.peek(&Twice), None);
    assert_eq!(evaluate(&second, &Twice).await.values.pop().unwrap().unwrap(), 42);
}

#[tokio::test]
async fn a_state_that_cannot_be_written_stays_unsaved() {
    let world = world();
    let graph = graph(&world);
    value(&graph, &root()).await;
    let directory = tempfile::tempdir().unwrap();
    let error = graph.save(&directory.path().join("missing").join("graph"), &registry()).unwrap_err();
    assert_eq!(error.category(), ErrorCategory::Environment);
    assert!(graph.unsaved());
    let unregistered =
        graph.save(&directory.path().join("graph"), &Registry::new("test 1").with::<Leaf>()).unwrap_err();
    assert_eq!(unregistered.to_string(), "keys of kind `formula` are not registered");
    assert!(graph.unsaved());
}

#[tokio::test]
async fn other_versions_are_discarded() {
    let world = world();
    let graph = graph(&world);
    value(&graph, &root()).await;
    let bytes = graph.to_bytes(&registry()).unwrap();
    let load = |registry: &Registry| {
        let (graph, reason) = Graph::from_bytes(bytes.clone(), registry, Services::new());
        assert!(graph.is_empty());
        reason.unwrap()
    };
    let other = Registry::new("test 2").with::<Leaf>().with::<Formula>();
    assert_eq!(load(&other), Discarded::Fingerprint("test 1".into()));
    assert_eq!(load(&Registry::new("test 1").with::<Leaf>()), Discarded::Kind("formula".into()));
}

#[tokio::test]
async fn no_truncated_or_changed_byte_goes_unnoticed() {
    let world = world();
    let graph = graph(&world);
    value(&graph, &root()).await;
    let bytes = graph.to_bytes(&registry()).unwrap();
    for length in 0..bytes.len() {
        let (graph, reason) = Graph::from_bytes(&bytes[..length], &registry(), Services::new());
        assert!(graph.is_empty() && reason.is_some(), "cut to {length} bytes");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (graph, reason) = Graph::from_bytes(damaged, &registry(), Services::new());
        assert!(graph.is_empty() && reason.is_some(), "bit {bit} flipped");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Graph::from_bytes(longer, &registry(), Services::new()).1, Some(Discarded::Damaged));
}
