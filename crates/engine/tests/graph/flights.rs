//! Computations under way: sharing, overlapping, failing, being cancelled, and changes in the middle of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Formula, Leaf, Refused, SharedWorld, World, evaluate, graph, value};
use buildnet_digest::{Diagnostic, ErrorCategory};
use buildnet_engine::graph::{ComputeError, Context, Failure, Graph, Key, Request, Services, Statistics};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Barrier, Semaphore};

/// What the keys of this file do, by number.
#[derive(Default)]
struct Stage {
    /// Who may pass.
    gates: Mutex<HashMap<u32, Arc<Semaphore>>>,
    entered: AtomicUsize,
    dropped: AtomicUsize,
    cleaned: AtomicUsize,
    arrived: Semaphore0,
}

/// A semaphore without permits.
struct Semaphore0(Semaphore);

impl Default for Semaphore0 {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Stage {
    fn gate(&self, number: u32) -> Arc<Semaphore> {
        self.gates.lock().entry(number).or_insert_with(|| Arc::new(Semaphore::new(0))).clone()
    }

    /// Waits until one more key has read its leaf and stands before its gate.
    async fn arrival(&self) {
        self.arrived.0.acquire().await.unwrap().forget();
    }
}

type SharedStage = Arc<Stage>;

/// Reads its leaf, then waits before its gate, then has the leaf's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Gated(u32);

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gated{}", self.0)
    }
}

struct CountDrop<'a>(&'a AtomicUsize);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Key for Gated {
    type Value = i64;
    const KIND: &'static str = "gated";

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        let value = ctx.get(&Leaf(self.0)).await?;
        let stage = ctx.host::<SharedStage>();
        stage.entered.fetch_add(1, Ordering::SeqCst);
        let _dropped = CountDrop(&stage.dropped);
        stage.arrived.0.add_permits(1);
        let _pass = stage.gate(self.0).acquire_owned().await;
        Ok(value)
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

/// A leaf that takes a while to read: reads, then waits before its gate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct SlowLeaf(u32);

impl fmt::Display for SlowLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slow{}", self.0)
    }
}

impl Key for SlowLeaf {
    type Value = i64;
    const KIND: &'static str = "slow";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        let value = ctx.host::<SharedWorld>().leaves.lock()[&self.0];
        let stage = ctx.host::<SharedStage>();
        stage.arrived.0.add_permits(1);
        let _pass = stage.gate(self.0).acquire_owned().await;
        Ok(value)
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

/// Waits for its cancellation and then cleans up, which takes a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Process;

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("process")
    }
}

impl Key for Process {
    type Value = i64;
    const KIND: &'static str = "process";
    const CLEANS_UP: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        let stage = ctx.host::<SharedStage>();
        stage.arrived.0.add_permits(1);
        ctx.cancelled().await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        stage.cleaned.fetch_add(1, Ordering::SeqCst);
        Err(Failure::Cancelled.into())
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

/// Asks for [`Process`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Above;

impl fmt::Display for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("above")
    }
}

impl Key for Above {
    type Value = i64;
    const KIND: &'static str = "above";

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        Ok(ctx.get(&Process).await?)
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

/// Panics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Panics;

impl fmt::Display for Panics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panics")
    }
}

impl Key for Panics {
    type Value = ();
    const KIND: &'static str = "panics";

    async fn compute(&self, ctx: &Context) -> Result<(), ComputeError> {
        ctx.get(&Leaf(1)).await?;
        panic!("boo {}", 1)
    }

    fn same((): &(), (): &()) -> bool {
        true
    }
}

/// Meets all others of its kind at a barrier, so that it ends only if all run at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Meeting(u32);

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "meeting{}", self.0)
    }
}

impl Key for Meeting {
    type Value = ();
    const KIND: &'static str = "meeting";

    async fn compute(&self, ctx: &Context) -> Result<(), ComputeError> {
        if self.0 == 0 {
            let others: Vec<Self> = (1..=5).map(Self).collect();
            for other in ctx.get_all(&others).await {
                other?;
            }
        } else {
            ctx.host::<Arc<Barrier>>().wait().await;
        }
        Ok(())
    }

    fn same((): &(), (): &()) -> bool {
        true
    }
}

struct Fixture {
    world: SharedWorld,
    stage: SharedStage,
    graph: Graph,
}

fn fixture() -> Fixture {
    let world = SharedWorld::default();
    let stage = SharedStage::default();
    world.put(1, 10);
    let graph = Graph::new(Services::new().with(world.clone()).with(stage.clone()));
    Fixture { world, stage, graph }
}

fn start<K: Key>(graph: &Graph, key: K, request: &Request) -> tokio::task::JoinHandle<Result<K::Value, Failure>> {
    let (graph, request) = (graph.clone(), request.clone());
    tokio::spawn(async move { graph.evaluate(&[key], &request).await.values.pop().unwrap() })
}

#[tokio::test]
async fn what_is_requested_together_runs_together() {
    let graph = Graph::new(Services::new().with(Arc::new(Barrier::new(5))));
    evaluate(&graph, &Meeting(0)).await.values.pop().unwrap().unwrap();
}

#[tokio::test]
async fn concurrent_evaluations_share_a_computation() {
    let Fixture { stage, graph, .. } = fixture();
    let first = start(&graph, Gated(1), &Request::default());
    stage.arrival().await;
    let second = start(&graph, Gated(1), &Request::default());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    stage.gate(1).add_permits(1);
    assert_eq!(first.await.unwrap().unwrap(), 10);
    assert_eq!(second.await.unwrap().unwrap(), 10);
    assert_eq!(stage.entered.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn cancelling_drops_what_nobody_else_wants() {
    let Fixture { stage, graph, .. } = fixture();
    let (first, second) = (Request::default(), Request::default());
    let one = start(&graph, Gated(1), &first);
    stage.arrival().await;
    let two = start(&graph, Gated(1), &second);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    first.cancel.cancel();
    assert!(one.await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(stage.dropped.load(Ordering::SeqCst), 0, "the second still wants it");
    second.cancel.cancel();
    assert!(two.await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(stage.dropped.load(Ordering::SeqCst), 1);
    assert_eq!(graph.peek(&Gated(1)), None);

    stage.gate(1).add_permits(1);
    assert_eq!(start(&graph, Gated(1), &Request::default()).await.unwrap().unwrap(), 10, "as if nothing had happened");
}

#[tokio::test]
async fn a_cancelled_evaluation_waits_for_what_cleans_up() {
    let Fixture { stage, graph, .. } = fixture();
    let request = Request::default();
    let evaluation = start(&graph, Above, &request);
    stage.arrival().await;
    request.cancel.cancel();
    assert!(evaluation.await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(stage.cleaned.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_dropped_evaluation_cancels_what_it_began() {
    let Fixture { stage, graph, .. } = fixture();
    let evaluation = start(&graph, Gated(1), &Request::default());
    stage.arrival().await;
    evaluation.abort();
    while stage.dropped.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    stage.gate(1).add_permits(1);
    assert_eq!(start(&graph, Gated(1), &Request::default()).await.unwrap().unwrap(), 10);
}

#[tokio::test]
async fn a_change_in_the_middle_of_a_computation_is_not_lost() {
    let Fixture { world, stage, graph } = fixture();
    let before = start(&graph, Gated(1), &Request::default());
    stage.arrival().await;
    world.put(1, 11);
    let mut transaction = graph.begin();
    transaction.invalidate(&Leaf(1));
    transaction.commit();
    // Joins the computation that began before the change, and must not be content with it.
    let after = start(&graph, Gated(1), &Request::default());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    stage.gate(1).add_permits(1);
    assert_eq!(before.await.unwrap().unwrap(), 10, "right when it was asked for");
    assert_eq!(after.await.unwrap().unwrap(), 11);
    assert_eq!(graph.peek(&Gated(1)), Some(11));
}

#[tokio::test]
async fn a_leaf_set_in_the_middle_of_a_computation_is_not_lost() {
    let Fixture { stage, graph, .. } = fixture();
    let before = start(&graph, Gated(1), &Request::default());
    stage.arrival().await;
    let mut transaction = graph.begin();
    transaction.set(&Leaf(1), 12);
    transaction.commit();
    stage.gate(1).add_permits(1);
    assert_eq!(before.await.unwrap().unwrap(), 10);
    assert_eq!(graph.peek(&Gated(1)), None);
    assert_eq!(start(&graph, Gated(1), &Request::default()).await.unwrap().unwrap(), 12);
}

#[tokio::test]
async fn a_leaf_that_changes_while_it_is_read_is_read_again() {
    let Fixture { world, stage, graph } = fixture();
    let before = start(&graph, SlowLeaf(1), &Request::default());
    stage.arrival().await;
    world.put(1, 11);
    let mut transaction = graph.begin();
    transaction.invalidate(&SlowLeaf(1));
    transaction.commit();
    let after = start(&graph, SlowLeaf(1), &Request::default());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    stage.gate(1).add_permits(1);
    assert_eq!(before.await.unwrap().unwrap(), 10);
    assert_eq!(after.await.unwrap().unwrap(), 11);
}

#[tokio::test]
async fn a_leaf_that_is_set_while_it_is_read_keeps_what_it_was_set_to() {
    let Fixture { stage, graph, .. } = fixture();
    let before = start(&graph, SlowLeaf(1), &Request::default());
    stage.arrival().await;
    let mut transaction = graph.begin();
    transaction.set(&SlowLeaf(1), 12);
    transaction.commit();
    stage.gate(1).add_permits(1);
    assert_eq!(before.await.unwrap().unwrap(), 12);
    assert_eq!(graph.peek(&SlowLeaf(1)), Some(12));
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_key() {
    let Fixture { graph, .. } = fixture();
    let failure = evaluate(&graph, &Panics).await.values.pop().unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "panics: the computation panicked: boo 1");
    assert_eq!(failure.category(), ErrorCategory::Internal);
    assert_eq!(evaluate(&graph, &Leaf(1)).await.values.pop().unwrap().unwrap(), 10, "the graph works on");
}

#[tokio::test]
async fn a_missing_service_is_a_failure_too() {
    let graph = Graph::new(Services::new());
    let failure = evaluate(&graph, &Leaf(1)).await.values.pop().unwrap().unwrap_err();
    assert!(failure.to_string().starts_with("leaf1: the computation panicked: the host gives no "));
}

#[tokio::test]
async fn a_failure_is_seen_by_dependents_and_tried_again_in_the_next_evaluation() {
    let world = Arc::new(World::default());
    let graph = graph(&world);
    let sum = Formula::Sum(vec![1]);
    let root = Formula::OrElse(Box::new(sum.clone()));
    let failure = evaluate(&graph, &sum).await.values.pop().unwrap().unwrap_err();
    assert_eq!(failure.key(), Some("leaf1"));
    assert_eq!(failure.error::<Refused>().unwrap().0, "no leaf 1");
    world.take_computed();

    assert_eq!(value(&graph, &root).await, -1);
    assert_eq!(world.take_computed(), ["leaf1", "orelse(sum[1])", "sum[1]"]);
    world.put(1, 4);
    assert_eq!(value(&graph, &root).await, 4, "without an invalidation");
    world.take_computed();
    assert_eq!(value(&graph, &root).await, 4);
    assert!(world.take_computed().is_empty());
}

#[tokio::test]
async fn inputs_that_return_to_what_they_were_make_the_old_value_right_again() {
    let world = Arc::new(World::default());
    world.put(1, 4);
    let graph = graph(&world);
    let root = Formula::Positive(Box::new(Formula::Sum(vec![1])));
    assert_eq!(value(&graph, &root).await, 1);
    let invalidate = || {
        let mut transaction = graph.begin();
        transaction.invalidate(&Leaf(1));
        transaction.commit();
    };
    world.leaves.lock().clear();
    invalidate();
    assert!(evaluate(&graph, &root).await.values[0].is_err());
    world.take_computed();

    world.put(1, 4);
    let evaluation = evaluate(&graph, &root).await;
    assert_eq!(*evaluation.values[0].as_ref().unwrap(), 1);
    assert_eq!(world.take_computed(), ["leaf1"]);
    assert_eq!(evaluation.statistics, Statistics { verified: 2, computed: 1, cut_off: 1, ..Statistics::default() });
}

#[tokio::test]
async fn forgetting_keeps_what_wanted_keys_need() {
    let world = Arc::new(World::default());
    for leaf in 1..=3 {
        world.put(leaf, 1);
    }
    let graph = graph(&world);
    let (kept, forgotten) = (Formula::Sum(vec![1, 2]), Formula::Sum(vec![2, 3]));
    value(&graph, &kept).await;
    value(&graph, &forgotten).await;
    assert_eq!(graph.dependencies(&kept, |entry| entry.to_string()).unwrap(), ["leaf1", "leaf2"]);
    assert_eq!(graph.retain(|entry| entry.key::<Formula>() == Some(&kept)), Some(2));
    assert_eq!(graph.len(), 3);
    assert_eq!(graph.dependents(&Leaf(2), |entry| entry.to_string()), ["sum[1, 2]"]);
    world.take_computed();
    assert_eq!(value(&graph, &kept).await, 2);
    assert!(world.take_computed().is_empty());
    assert_eq!(value(&graph, &forgotten).await, 2);
    assert_eq!(world.take_computed(), ["leaf3", "sum[2, 3]"]);
}

#[tokio::test]
async fn a_leaf_asks_nobody() {
    /// Wrong: a leaf with a dependency.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct Asking;

    impl fmt::Display for Asking {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("asking")
        }
    }

    impl Key for Asking {
        type Value = i64;
        const KIND: &'static str = "asking";
        const LEAF: bool = true;

        async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
            Ok(ctx.get(&Leaf(1)).await?)
        }

        fn same(old: &i64, new: &i64) -> bool {
            old == new
        }
    }

    let Fixture { graph, .. } = fixture();
    let failure = evaluate(&graph, &Asking).await.values.pop().unwrap().unwrap_err();
    assert_eq!(failure.to_string(), "asking: a leaf asked for another key");
}
