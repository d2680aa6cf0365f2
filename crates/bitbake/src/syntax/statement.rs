//! What a file says.

use crate::{Sym, Text};

/// A file's statements, in order, and what could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The statements.
    pub statements: Vec<Statement>,
    /// The errors, in order.
    pub errors: Vec<SyntaxError>,
    /// What BitBake warns about: place and words.
    pub warnings: Vec<SyntaxError>,
}

/// What is not BitBake's language, or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// How many characters, at least 1; as far as they lie in this line.
    pub width: u32,
    /// What is wrong.
    pub message: String,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The line BitBake counts it at, from 1: its last one, and a function's closing line.
    pub line: u32,
    /// What it says.
    pub kind: StatementKind,
}

/// The kinds of statements.
#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    /// `VAR = "value"` and its kin.
    Assign(Assignment),
    /// `include` or `require`: the files, unexpanded.
    Include {
        /// Text that names files.
        files: Text,
        /// Whether a missing file is an error.
        required: bool,
    },
    /// `include_all`: a file in every layer.
    IncludeAll(Text),
    /// `export VAR`.
    Export(Sym),
    /// `unset VAR`.
    Unset(Sym),
    /// `unset VAR[flag]`.
    UnsetFlag(Sym, Sym),
    /// `inherit`: the classes, unexpanded.
    Inherit(Text),
    /// `inherit_defer`.
    InheritDefer(Text),
    /// `EXPORT_FUNCTIONS`, with the class it stands in.
    ExportFunctions {
        /// The functions.
        names: Vec<Sym>,
        /// The class.
        class: Text,
    },
    /// `addtask`; all three texts are unexpanded.
    AddTask {
        /// The tasks.
        tasks: Text,
        /// What they come before.
        before: Text,
        /// What they come after.
        after: Text,
    },
    /// `deltask`.
    DelTask(Text),
    /// `addhandler`.
    AddHandler(Vec<Sym>),
    /// `addpylib DIR NAMESPACE`.
    AddPylib {
        /// The directory, unexpanded.
        directory: Text,
        /// The package in it.
        namespace: Text,
    },
    /// `addfragments PREFIX LIST FLAGGED BUILTIN`.
    AddFragments([Text; 4]),
    /// A shell or Python function, or an anonymous Python function.
    Function(Function),
    /// `def`: plain Python.
    Def {
        /// The function.
        name: Sym,
        /// Its text, with the blank lines and comments that follow it.
        text: Text,
        /// How many lines the text has.
        lines: u32,
        /// A digest of the text, to tell definitions apart.
        digest: u64,
    },
}

/// The operators of assignments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Set,
    /// `:=`
    Immediate,
    /// `?=`
    Default,
    /// `??=`
    WeakDefault,
    /// `+=`
    Append,
    /// `=+`
    Prepend,
    /// `.=`
    AppendDot,
    /// `=.`
    PrependDot,
}

/// An assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The variable's name with its overrides; it may contain references.
    pub var: Sym,
    /// The flag.
    pub flag: Option<Sym>,
    /// The operator.
    pub operator: Operator,
    /// Whether `export` stands before it.
    pub export: bool,
    /// The text between the quotes.
    pub value: Text,
}

/// A function.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The name; `None` when anonymous.
    pub name: Option<Sym>,
    /// The text between the braces.
    pub body: Text,
    /// How many lines the body has, as BitBake counts them.
    pub lines: u32,
    /// Whether it is Python.
    pub python: bool,
    /// Whether it runs under fakeroot.
    pub fakeroot: bool,
}
