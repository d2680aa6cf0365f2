//! What the incremental graph promises.

use std::sync::Arc;

use crate::support::{Formula, Leaf, SharedWorld, World, evaluate, graph, value};
use buildnet_engine::graph::Statistics;

fn world(leaves: &[(u32, i64)]) -> SharedWorld {
    let world = World::default();
    for &(leaf, value) in leaves {
        world.put(leaf, value);
    }
    Arc::new(world)
}

#[tokio::test]
async fn computes_once_and_answers_from_memory() {
    let world = world(&[(1, 2), (2, 3)]);
    let graph = graph(&world);
    let sum = Formula::Sum(vec![1, 2]);
    assert_eq!(value(&graph, &sum).await, 5);
    assert_eq!(world.take_computed(), ["leaf1", "leaf2", "sum[1, 2]"]);
    let again = evaluate(&graph, &sum).await;
    assert_eq!(again.statistics, Statistics { reused: 1, ..Statistics::default() });
    assert!(world.take_computed().is_empty());
}

#[tokio::test]
async fn a_value_that_stays_the_same_stops_the_change() {
    let world = world(&[(1, 2)]);
    let graph = graph(&world);
    let positive = Formula::Positive(Box::new(Formula::Sum(vec![1])));
    let root = Formula::Positive(Box::new(positive));
    assert_eq!(value(&graph, &root).await, 1);
    world.take_computed();

    world.put(1, 7);
    let mut transaction = graph.begin();
    transaction.invalidate(&Leaf(1));
    transaction.commit();
    let evaluation = evaluate(&graph, &root).await;
    assert_eq!(world.take_computed(), ["leaf1", "positive(sum[1])", "sum[1]"]);
    let expected = Statistics { verified: 1, computed: 3, cut_off: 1, ..Statistics::default() };
    assert_eq!(evaluation.statistics, expected);
}
