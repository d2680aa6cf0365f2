//! Random programs, random changes: every value equals the one computed from nothing, and nothing is computed without need.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use buildnet_engine::graph::{ComputeError, Context, Graph, Key, Registry, Request, Services};
use parking_lot::Mutex;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::support::Refused;

const LEAVES: u8 = 5;
const CELLS: u8 = 10;

/// Something that has a value: a leaf, or a cell of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    Leaf(u8),
    Cell(u8),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(index) => write!(f, "leaf{index}"),
            Self::Cell(index) => write!(f, "cell{index}"),
        }
    }
}

/// Adds up names step by step; which ones a step adds depends on the sum so far. Cells ask only for cells before them.
#[derive(Clone, Debug)]
struct Cell {
    steps: Vec<[Vec<Name>; 2]>,
    /// Small: values often come out the same.
    modulus: i64,
    /// Fails if the sum leaves this remainder on division by 5.
    fails_at: Option<i64>,
    /// Takes the failure of something it asks for as 1.
    catches: bool,
}

type Program = Vec<Cell>;

#[derive(Debug)]
struct Computed {
    name: Name,
    /// What was asked for and seen.
    trace: Vec<(Name, Option<i64>)>,
    outcome: Option<i64>,
}

#[derive(Default)]
struct Host {
    program: Program,
    leaves: Mutex<Vec<i64>>,
    log: Mutex<Vec<Computed>>,
}

type SharedHost = Arc<Host>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct LeafKey(u8);

impl fmt::Display for LeafKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Name::Leaf(self.0).fmt(f)
    }
}

impl Key for LeafKey {
    type Value = i64;
    const KIND: &'static str = "leaf";
    const LEAF: bool = true;

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        let host = ctx.host::<SharedHost>();
        let value = host.leaves.lock()[usize::from(self.0)];
        let outcome = (value >= 0).then_some(value);
        host.log.lock().push(Computed { name: Name::Leaf(self.0), trace: Vec::new(), outcome });
        Ok(outcome.ok_or_else(|| Refused("negative".into()))?)
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct CellKey(u8);

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Name::Cell(self.0).fmt(f)
    }
}

impl Key for CellKey {
    type Value = i64;
    const KIND: &'static str = "cell";

    async fn compute(&self, ctx: &Context) -> Result<i64, ComputeError> {
        let host = ctx.host::<SharedHost>();
        let cell = &host.program[usize::from(self.0)];
        let mut trace = Vec::new();
        let mut sum = Some(0);
        for step in &cell.steps {
            let Some(before) = sum else { break };
            let names = Cell::asks(step, before);
            let leaves: Vec<LeafKey> = names.iter().filter_map(|name| name.leaf().map(LeafKey)).collect();
            let cells: Vec<CellKey> = names.iter().filter_map(|name| name.cell().map(CellKey)).collect();
            let mut values: Vec<Option<i64>> = ctx.get_all(&leaves).await.into_iter().map(Result::ok).collect();
            values.extend(ctx.get_all(&cells).await.into_iter().map(Result::ok));
            let asked = leaves.iter().map(|leaf| Name::Leaf(leaf.0)).chain(cells.iter().map(|cell| Name::Cell(cell.0)));
            trace.extend(asked.zip(values.iter().copied()));
            sum = cell.add(before, &values);
        }
        let outcome = cell.finish(sum);
        host.log.lock().push(Computed { name: Name::Cell(self.0), trace, outcome });
        Ok(outcome.ok_or_else(|| Refused("failed".into()))?)
    }

    fn same(old: &i64, new: &i64) -> bool {
        old == new
    }
}

impl Name {
    fn leaf(self) -> Option<u8> {
        if let Self::Leaf(index) = self { Some(index) } else { None }
    }

    fn cell(self) -> Option<u8> {
        if let Self::Cell(index) = self { Some(index) } else { None }
    }
}

impl Cell {
    fn asks(step: &[Vec<Name>; 2], sum: i64) -> &[Name] {
        &step[usize::from(sum % 2 == 1)]
    }

    fn add(&self, sum: i64, values: &[Option<i64>]) -> Option<i64> {
        let values = values.iter().map(|value| value.or(self.catches.then_some(1)));
        values.sum::<Option<i64>>().map(|more| sum + more)
    }

    fn finish(&self, sum: Option<i64>) -> Option<i64> {
        sum.filter(|sum| self.fails_at != Some(sum % 5)).map(|sum| sum % self.modulus)
    }
}

/// The value computed from nothing.
fn truth(program: &Program, leaves: &[i64], name: Name) -> Option<i64> {
    match name {
        Name::Leaf(index) => Some(leaves[usize::from(index)]).filter(|value| *value >= 0),
        Name::Cell(index) => {
            let cell = &program[usize::from(index)];
            let sum = cell.steps.iter().try_fold(0, |sum, step| {
                let values: Vec<_> = Cell::asks(step, sum).iter().map(|&name| truth(program, leaves, name)).collect();
                cell.add(sum, &values)
            });
            cell.finish(sum)
        }
    }
}

/// What the model knows of the last success of each name.
#[derive(Default)]
struct Memory {
    time: u64,
    success: HashMap<Name, Success>,
    changed_at: HashMap<Name, u64>,
    invalidated: HashSet<Name>,
}

struct Success {
    at: u64,
    value: i64,
    trace: Vec<(Name, Option<i64>)>,
}

impl Memory {
    fn set(&mut self, name: Name, value: i64) {
        self.time += 1;
        if self.success.get(&name).is_none_or(|success| success.value != value) {
            self.changed_at.insert(name, self.time);
        }
        self.success.insert(name, Success { at: self.time, value, trace: Vec::new() });
        self.invalidated.remove(&name);
    }

    /// Checks that each computation of one evaluation had a reason, and learns from it.
    fn learn(&mut self, log: Vec<Computed>) -> Result<(), TestCaseError> {
        self.time += 1;
        let mut seen = HashSet::new();
        let failing: HashSet<Name> = log.iter().filter(|one| one.outcome.is_none()).map(|one| one.name).collect();
        // In the order of their ends: what a computation asked for comes before it.
        for Computed { name, trace, outcome } in log {
            prop_assert!(seen.insert(name), "{name} computed twice");
            if let Some(success) = self.success.get(&name) {
                let changed = |dependency: &Name| self.changed_at.get(dependency).is_some_and(|&at| at > success.at);
                let needed = self.invalidated.contains(&name)
                    || success.trace.iter().any(|(dependency, value)| {
                        value.is_none() || failing.contains(dependency) || changed(dependency)
                    });
                prop_assert!(needed, "{name} computed though nothing it was computed from changed");
            }
            if let Some(value) = outcome {
                if self.success.get(&name).is_none_or(|success| success.value != value) {
                    self.changed_at.insert(name, self.time);
                }
                self.success.insert(name, Success { at: self.time, value, trace });
                self.invalidated.remove(&name);
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Action {
    /// Changes the outside world and says so.
    Write(u8, i64),
    /// Gives the leaf its value.
    Set(u8, i64),
    Invalidate(u8),
    Evaluate(Vec<u8>),
    Reload,
    Forget(Vec<u8>),
}

fn name(below: u8) -> BoxedStrategy<Name> {
    let leaf = (0..LEAVES).prop_map(Name::Leaf);
    if below == 0 { leaf.boxed() } else { prop_oneof![leaf, (0..below).prop_map(Name::Cell)].boxed() }
}

fn program() -> impl Strategy<Value = Program> {
    let cells: Vec<_> = (0..CELLS)
        .map(|index| {
            let group = || prop::collection::vec(name(index), 0..4);
            let step = (group(), group()).prop_map(|(even, odd)| [even, odd]);
            let steps = prop::collection::vec(step, 1..4);
            let fails_at = prop::option::weighted(0.3, 0..5_i64);
            (steps, prop_oneof![Just(2_i64), Just(3), Just(1000)], fails_at, any::<bool>())
                .prop_map(|(steps, modulus, fails_at, catches)| Cell { steps, modulus, fails_at, catches })
        })
        .collect();
    cells
}

fn action() -> impl Strategy<Value = Action> {
    let cells = || prop::collection::vec(0..CELLS, 1..4);
    prop_oneof![
        3 => (0..LEAVES, -1..4_i64).prop_map(|(leaf, value)| Action::Write(leaf, value)),
        2 => (0..LEAVES, 0..4_i64).prop_map(|(leaf, value)| Action::Set(leaf, value)),
        1 => (0..CELLS).prop_map(Action::Invalidate),
        5 => cells().prop_map(Action::Evaluate),
        1 => Just(Action::Reload),
        1 => cells().prop_map(Action::Forget),
    ]
}

fn registry() -> Registry {
    Registry::new("model").with::<LeafKey>().with::<CellKey>()
}

async fn check(program: Program, actions: Vec<Action>) -> Result<(), TestCaseError> {
    let leaves = vec![1; usize::from(LEAVES)];
    let host = Arc::new(Host { program, leaves: Mutex::new(leaves), log: Mutex::default() });
    let services = || Services::new().with(host.clone());
    let mut graph = Graph::new(services());
    let mut memory = Memory::default();
    for action in actions {
        match action {
            Action::Write(leaf, value) => {
                host.leaves.lock()[usize::from(leaf)] = value;
                let mut transaction = graph.begin();
                transaction.invalidate(&LeafKey(leaf));
                transaction.commit();
                memory.invalidated.insert(Name::Leaf(leaf));
            }
            Action::Set(leaf, value) => {
                host.leaves.lock()[usize::from(leaf)] = value;
                let mut transaction = graph.begin();
                transaction.set(&LeafKey(leaf), value);
                transaction.commit();
                memory.set(Name::Leaf(leaf), value);
            }
            Action::Invalidate(cell) => {
                let mut transaction = graph.begin();
                transaction.invalidate(&CellKey(cell));
                transaction.commit();
                memory.invalidated.insert(Name::Cell(cell));
            }
            Action::Evaluate(cells) => {
                let keys: Vec<CellKey> = cells.iter().copied().map(CellKey).collect();
                let evaluation = graph.evaluate(&keys, &Request::default()).await;
                let leaves = host.leaves.lock().clone();
                for (key, value) in keys.iter().zip(evaluation.values) {
                    prop_assert_eq!(value.ok(), truth(&host.program, &leaves, Name::Cell(key.0)), "{}", key);
                }
                let log = std::mem::take(&mut *host.log.lock());
                prop_assert_eq!(evaluation.statistics.computed, log.len() as u64);
                check_dependencies(&graph, &log)?;
                memory.learn(log)?;
            }
            Action::Reload => {
                let bytes = graph.to_bytes(&registry()).unwrap();
                let (loaded, discarded) = Graph::from_bytes(bytes, &registry(), services());
                prop_assert_eq!(discarded, None);
                graph = loaded;
            }
            Action::Forget(cells) => {
                let wanted = |key: Option<&CellKey>| key.is_some_and(|key| cells.contains(&key.0));
                prop_assert!(graph.retain(|entry| wanted(entry.key::<CellKey>())).is_some());
                memory.success.retain(|&name, _| match name {
                    Name::Leaf(leaf) => graph.contains(&LeafKey(leaf)),
                    Name::Cell(cell) => graph.contains(&CellKey(cell)),
                });
            }
        }
    }
    Ok(())
}

/// What was recorded is what was asked for: in order, without repetition, and nothing of older computations.
fn check_dependencies(graph: &Graph, log: &[Computed]) -> Result<(), TestCaseError> {
    for one in log {
        let Name::Cell(cell) = one.name else { continue };
        if one.outcome.is_none() {
            continue;
        }
        let mut seen = HashSet::new();
        let asked = one.trace.iter().map(|(name, _)| *name).filter(|name| seen.insert(*name));
        let asked: Vec<String> = asked.map(|name| name.to_string()).collect();
        prop_assert_eq!(graph.dependencies(&CellKey(cell), |entry| entry.to_string()), Some(asked));
    }
    Ok(())
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_time().build().unwrap()
}

/// Several evaluations at once, some cancelled, with changes in between; when all is quiet, every value is right.
async fn check_concurrent(program: Program, rounds: Vec<(Vec<u8>, u8, i64, bool)>) -> Result<(), TestCaseError> {
    let leaves = vec![1; usize::from(LEAVES)];
    let host = Arc::new(Host { program, leaves: Mutex::new(leaves), log: Mutex::default() });
    let graph = Graph::new(Services::new().with(host.clone()));
    let mut running = Vec::new();
    for (cells, leaf, value, cancel) in rounds {
        let request = Request::default();
        running.push(tokio::spawn({
            let (graph, request) = (graph.clone(), request.clone());
            let keys: Vec<CellKey> = cells.into_iter().map(CellKey).collect();
            async move { graph.evaluate(&keys, &request).await.values.len() }
        }));
        tokio::task::yield_now().await;
        host.leaves.lock()[usize::from(leaf)] = value;
        let mut transaction = graph.begin();
        if value % 2 == 0 {
            transaction.set(&LeafKey(leaf), value);
        } else {
            transaction.invalidate(&LeafKey(leaf));
        }
        transaction.commit();
        if cancel {
            request.cancel.cancel();
        }
    }
    for evaluation in running {
        evaluation.await.unwrap();
    }
    let keys: Vec<CellKey> = (0..CELLS).map(CellKey).collect();
    let leaves = host.leaves.lock().clone();
    for (key, value) in keys.iter().zip(graph.evaluate(&keys, &Request::default()).await.values) {
        prop_assert_eq!(value.ok(), truth(&host.program, &leaves, Name::Cell(key.0)), "{}", key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn values_are_right_and_nothing_is_computed_without_need(
        program in program(),
        actions in prop::collection::vec(action(), 1..40),
    ) {
        runtime(1).block_on(check(program, actions))?;
    }

    #[test]
    fn concurrent_evaluations_changes_and_cancellations_leave_right_values(
        program in program(),
        rounds in prop::collection::vec((prop::collection::vec(0..CELLS, 1..4), 0..LEAVES, 0..4_i64, any::<bool>()), 1..12),
    ) {
        runtime(3).block_on(check_concurrent(program, rounds))?;
    }
}
