//! The kinds of nodes and tokens of the syntax tree.

use super::statement::StatementKind;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The kind of a node or a token.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum SyntaxKind {
            $($(#[$doc])* $name,)*
        }

        const ALL: &[SyntaxKind] = &[$(SyntaxKind::$name,)*];
    };
}

kinds! {
    /// Node: a whole file.
    File,
    /// Node: `VAR = "value"` and its kin.
    Assignment,
    /// Node: `include`.
    Include,
    /// Node: `require`.
    Require,
    /// Node: `include_all`.
    IncludeAll,
    /// Node: `inherit`.
    Inherit,
    /// Node: `inherit_defer`.
    InheritDefer,
    /// Node: `export VAR`.
    Export,
    /// Node: `unset VAR` or `unset VAR[flag]`.
    Unset,
    /// Node: `EXPORT_FUNCTIONS`.
    ExportFunctions,
    /// Node: `addtask`.
    AddTask,
    /// Node: `deltask`.
    DelTask,
    /// Node: `addhandler`.
    AddHandler,
    /// Node: `addpylib`.
    AddPylib,
    /// Node: `addfragments`.
    AddFragments,
    /// Node: a shell or Python function.
    Function,
    /// Node: plain Python.
    Def,
    /// Node: what is no statement.
    Error,
    /// Token: a word that begins a statement, or `python` and `fakeroot` before a function.
    Keyword,
    /// Token: the name of a variable, with its overrides, or of a function.
    Name,
    /// Token: the name of a flag.
    Flag,
    /// Token: an operator.
    Operator,
    /// Token: the text between the quotes.
    Value,
    /// Token: what follows a keyword; several where the statement has several parts.
    Argument,
    /// Token: the lines of a function.
    Body,
    /// Token: the brace that closes a function.
    Close,
    /// Token: brackets, quotes, parentheses, and what cannot be read.
    Text,
    /// Token: from `#` to the end of the line.
    Comment,
    /// Token: white space within a line.
    Space,
    /// Token: a backslash that continues a line, with what follows it up to the next line.
    Continuation,
    /// Token: the end of a line.
    Newline,
}

impl SyntaxKind {
    /// The kind of a statement's node.
    pub(super) fn of(statement: &StatementKind) -> Self {
        match statement {
            StatementKind::Assign(_) => Self::Assignment,
            StatementKind::Include { required: false, .. } => Self::Include,
            StatementKind::Include { required: true, .. } => Self::Require,
            StatementKind::IncludeAll(_) => Self::IncludeAll,
            StatementKind::Export(_) => Self::Export,
            StatementKind::Unset(_) | StatementKind::UnsetFlag(..) => Self::Unset,
            StatementKind::Inherit(_) => Self::Inherit,
            StatementKind::InheritDefer(_) => Self::InheritDefer,
            StatementKind::ExportFunctions { .. } => Self::ExportFunctions,
            StatementKind::AddTask { .. } => Self::AddTask,
            StatementKind::DelTask(_) => Self::DelTask,
            StatementKind::AddHandler(_) => Self::AddHandler,
            StatementKind::AddPylib { .. } => Self::AddPylib,
            StatementKind::AddFragments(_) => Self::AddFragments,
            StatementKind::Function(_) => Self::Function,
            StatementKind::Def { .. } => Self::Def,
        }
    }
}

/// The language, for `rowan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BitBake {}

impl rowan::Language for BitBake {
    type Kind = SyntaxKind;

    fn kind_from_raw(raw: rowan::SyntaxKind) -> SyntaxKind {
        ALL[usize::from(raw.0)]
    }

    fn kind_to_raw(kind: SyntaxKind) -> rowan::SyntaxKind {
        rowan::SyntaxKind(kind as u16)
    }
}
