//! Cycles are named, not waited for.

use std::fmt;
use std::sync::Arc;

use crate::support::{Leaf, SharedWorld, World, evaluate, graph};
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_engine::graph::{ComputeError, Context, Failure, Graph, Key, Request};
use serde::{Deserialize, Serialize};

/// Follows the chain in which leaf `n` says what comes after `n`; counts its length.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Link(u32);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link{:03}", self.0)
    }
}

impl Key for Link {
    type Value = u32;
    const KIND: &'static str = "link";

    async fn compute(&self, ctx: &Context) -> Result<u32, ComputeError> {
        let next = ctx.get(&Leaf(self.0)).await?;
        match u32::try_from(next) {
            Ok(next) => Ok(ctx.get(&Self(next)).await? + 1),
            Err(_) => Ok(0),
        }
    }

    fn same(old: &u32, new: &u32) -> bool {
        old == new
    }
}

fn ring(length: u32) -> SharedWorld {
    let world = World::default();
    for index in 0..length {
        world.put(index, i64::from((index + 1) % length));
    }
    Arc::new(world)
}

async fn cycle(graph: &Graph, start: u32) -> Vec<String> {
    match evaluate(graph, &Link(start)).await.values.pop().unwrap() {
        Err(failure @ Failure::Cycle(_)) => {
            assert_eq!(failure.category(), ErrorCategory::User);
            let Failure::Cycle(cycle) = failure else { unreachable!("matched above") };
            cycle.keys().to_vec()
        }
        other => panic!("no cycle: {other:?}"),
    }
}

#[tokio::test]
async fn the_shortest_cycle_is_one_key() {
    assert_eq!(cycle(&graph(&ring(1)), 0).await, ["link000"]);
}

#[tokio::test]
async fn a_cycle_is_reported_from_its_smallest_key_wherever_it_is_entered() {
    let world = ring(3);
    world.put(7, 2);
    let failure = evaluate(&graph(&world), &Link(7)).await.values.pop().unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "dependency cycle: link000 -> link001 -> link002 -> link000");
    assert_eq!(failure.hint().unwrap(), "Remove one of the dependencies, for example the one of link002 on link000.");
}

#[tokio::test]
async fn a_long_cycle_is_found_too() {
    let keys = cycle(&graph(&ring(500)), 3).await;
    assert_eq!(keys.len(), 500);
    assert_eq!((keys[0].as_str(), keys[499].as_str()), ("link000", "link499"));
}

#[tokio::test]
async fn a_chain_of_any_depth_is_no_cycle_and_needs_no_stack() {
    let depth = 10_000;
    let world = ring(depth);
    world.put(depth - 1, -1);
    let graph = graph(&world);
    assert_eq!(evaluate(&graph, &Link(0)).await.values.pop().unwrap().unwrap(), depth - 1);
    let mut transaction = graph.begin();
    transaction.invalidate(&Leaf(depth - 1));
    transaction.commit();
    let evaluation = evaluate(&graph, &Link(0)).await;
    assert_eq!((evaluation.statistics.computed, evaluation.statistics.verified), (1, u64::from(depth)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_evaluations_that_close_a_cycle_together_do_not_wait_for_ever() {
    for _ in 0..50 {
        let graph = graph(&ring(8));
        let all: Vec<Link> = (0..8).map(Link).collect();
        let evaluations: Vec<_> = (0..4)
            .map(|index| {
                let (graph, all) = (graph.clone(), all[index * 2..index * 2 + 2].to_vec());
                tokio::spawn(async move { graph.evaluate(&all, &Request::default()).await.values })
            })
            .collect();
        for evaluation in evaluations {
            for value in evaluation.await.unwrap() {
                assert!(matches!(value, Err(Failure::Cycle(cycle)) if cycle.keys().len() == 8));
            }
        }
    }
}

#[tokio::test]
async fn a_cycle_that_is_opened_is_forgotten() {
    let world = ring(4);
    let graph = graph(&world);
    cycle(&graph, 0).await;
    let mut transaction = graph.begin();
    transaction.set(&Leaf(3), -1);
    transaction.commit();
    assert_eq!(evaluate(&graph, &Link(0)).await.values.pop().unwrap().unwrap(), 3);
    // Turned round: what was above is now below, and the recorded dependencies are no cycle.
    let mut transaction = graph.begin();
    for (leaf, next) in [(3, 2), (2, 1), (1, 0), (0, -1)] {
        transaction.set(&Leaf(leaf), next);
    }
    transaction.commit();
    assert_eq!(evaluate(&graph, &Link(3)).await.values.pop().unwrap().unwrap(), 3);
}
