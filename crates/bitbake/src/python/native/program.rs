//! A compiled expression.

use crate::Value;

/// An expression that can be tried without Python.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) root: Node,
    /// How many loop variables it has.
    pub(super) locals: usize,
}

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Value),
    /// A loop variable, by its number.
    Local(usize),
    List(Vec<Node>),
    Tuple(Vec<Node>),
    /// An f-string: its parts as text, one after the other.
    Concat(Vec<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// `body if test else other`.
    If {
        test: Box<Node>,
        body: Box<Node>,
        other: Box<Node>,
    },
    Compare {
        left: Box<Node>,
        rest: Vec<(Comparison, Node)>,
    },
    Add(Box<Node>, Box<Node>),
    /// `text % values`.
    Format(Box<Node>, Box<Node>),
    Index(Box<Node>, Box<Node>),
    Slice {
        of: Box<Node>,
        from: Option<Box<Node>>,
        to: Option<Box<Node>>,
    },
    Call(Function, Vec<Node>),
    Method(Method, Box<Node>, Vec<Node>),
    /// A comprehension with one loop, as a list.
    Each {
        local: usize,
        over: Box<Node>,
        conditions: Vec<Node>,
        element: Box<Node>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::python) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    IsNone,
    IsNotNone,
}

/// A function; the datastore is not among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    GetVar,
    GetVarRaw,
    GetVarFlag,
    Expand,
    Contains,
    ContainsAny,
    Filter,
    ToBoolean,
    InheritsClass,
    VarsFromFile,
    /// `oe.utils.conditional`.
    Conditional,
    /// `oe.utils.prune_suffix`.
    PruneSuffix,
    Str,
    Int,
    Bool,
    Len,
    Sorted,
    Dirname,
    Basename,
    Normpath,
    JoinPath,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::python) enum Method {
    Split,
    Rsplit,
    Replace,
    Strip,
    Lstrip,
    Rstrip,
    Upper,
    Lower,
    StartsWith,
    EndsWith,
    Join,
}

impl Method {
    /// The method of a name, with so many arguments.
    pub(in crate::python) fn of(name: &str, arguments: usize) -> Option<Self> {
        Some(match (name, arguments) {
            ("split", 0..=2) => Self::Split,
            ("rsplit", 1..=2) => Self::Rsplit,
            ("replace", 2) => Self::Replace,
            ("strip", 0..=1) => Self::Strip,
            ("lstrip", 0..=1) => Self::Lstrip,
            ("rstrip", 0..=1) => Self::Rstrip,
            ("upper", 0) => Self::Upper,
            ("lower", 0) => Self::Lower,
            ("startswith", 1) => Self::StartsWith,
            ("endswith", 1) => Self::EndsWith,
            ("join", 1) => Self::Join,
            _ => return None,
        })
    }
}
