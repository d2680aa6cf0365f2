//! What functions are compiled to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::native::Comparison;
use crate::{Text, Value};

/// A function that stopped so often is not run here any more.
const STOPS: u32 = 32;

/// A function, by itself or inside another.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: Text,
    /// The slots of its parameters are the first ones; each may have a constant default.
    pub(super) parameters: Vec<(Text, Option<Value>)>,
    /// Whether one more parameter takes the remaining arguments as a tuple.
    pub(super) rest: bool,
    /// How many local names it has.
    pub(super) slots: usize,
    pub(super) body: Vec<Statement>,
    pub(super) uses: Uses,
}

/// How often a function ran, and how often Python had to do it after all. Estimates: threads may overtake each other.
#[derive(Debug, Default)]
pub(super) struct Uses {
    runs: AtomicU32,
    stops: AtomicU32,
}

impl Function {
    /// Counts one more run, unless most of them stop before their end.
    pub(super) fn is_worth_it(&self) -> bool {
        let stops = self.uses.stops.load(Ordering::Relaxed);
        let runs = self.uses.runs.fetch_add(1, Ordering::Relaxed);
        stops < STOPS || stops < runs / 2
    }

    /// Counts a run that stopped.
    pub(super) fn stopped(&self) {
        self.uses.stops.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) enum Statement {
    Expression(Expression),
    Assign(Vec<Target>, Expression),
    Augment(Target, Operator, Expression),
    If(Vec<(Expression, Vec<Self>)>, Vec<Self>),
    For {
        target: Target,
        over: Expression,
        body: Vec<Self>,
        other: Vec<Self>,
    },
    While {
        test: Expression,
        body: Vec<Self>,
        other: Vec<Self>,
    },
    Return(Option<Expression>),
    Break,
    Continue,
    Pass,
    /// A function inside this one.
    Define(u16, Arc<Function>),
    /// `raise bb.parse.SkipRecipe(…)`.
    Skip(Expression),
    /// `raise` of anything else.
    Raise,
    /// A `try`: whatever raises is left to Python, so no handler ever runs here.
    Try {
        body: Vec<Self>,
        other: Vec<Self>,
        last: Vec<Self>,
    },
}

#[derive(Debug)]
pub(super) enum Target {
    Slot(u16),
    Tuple(Vec<Self>),
    Index(Expression, Expression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
}

#[derive(Debug)]
pub(super) enum Expression {
    Constant(Value),
    /// A local name: of the function itself (0), or of one around it, and its slot.
    Local(u16, u16),
    /// A function of the metadata, or a built-in one.
    Global(Text),
    /// Something in a module, by its dotted name.
    Path(Text),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    Set(Vec<Self>),
    Dict(Vec<(Self, Self)>),
    /// An f-string: its parts as text, one after the other.
    Concat(Vec<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    If(Box<[Self; 3]>),
    Compare(Box<Self>, Vec<(Comparison, Self)>),
    Binary(Operator, Box<Self>, Box<Self>),
    Negative(Box<Self>),
    Index(Box<Self>, Box<Self>),
    Slice(Box<Self>, Option<Box<Self>>, Option<Box<Self>>),
    Attribute(Box<Self>, Text),
    Method(Box<Self>, Text, Arguments),
    Call(Box<Self>, Arguments),
    /// A comprehension; a generator is taken for a list where it is used up at once.
    Each(Kind, Vec<Loop>, Box<Self>),
    /// `{key: value for …}`.
    EachPair(Vec<Loop>, Box<(Self, Self)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Set,
    /// `any(… for …)`: the first true element ends it.
    Any,
    /// `all(… for …)`: the first false element ends it.
    All,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) target: Target,
    pub(super) over: Expression,
    pub(super) conditions: Vec<Expression>,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) plain: Vec<Expression>,
    pub(super) named: Vec<(Text, Expression)>,
}
