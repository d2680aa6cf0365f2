//! What can be wrong with a workspace, each with its place in a file.

use std::fmt;
use std::path::PathBuf;

use buildnet_digest::{Diagnostic, ErrorCategory};

use crate::text::Location;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// No workspace at or above a directory.
    #[error("no workspace in `{}` or any directory above it", .0.display())]
    NoWorkspace(PathBuf),
    /// A file or directory that could not be read.
    #[error("cannot read `{path}`: {reason}")]
    Unreadable {
        /// The file or directory.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// A file that would have to be overwritten.
    #[error("`{0}` exists already")]
    Exists(String),
    /// A file that is not what its name says: YAML, JSON or TOML.
    #[error("invalid {format}: {reason}")]
    Syntax {
        /// `YAML`, `JSON` or `TOML`.
        format: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// A key that means nothing.
    #[error("unknown key `{key}` in {context}")]
    UnknownKey {
        /// The key.
        key: String,
        /// What it was found in.
        context: String,
    },
    /// A key that is given twice.
    #[error("`{0}` is given twice")]
    DuplicateKey(String),
    /// A key that must be there.
    #[error("`{key}` is missing in {context}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// Where it is missing.
        context: String,
    },
    /// A value of another type than expected.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What the key takes.
        expected: String,
        /// What was written.
        found: String,
    },
    /// A value of the right type that means nothing.
    #[error("`{value}` is no {expected}")]
    InvalidValue {
        /// The value.
        value: String,
        /// What the key takes.
        expected: String,
    },
    /// Two packages of one name.
    #[error("two packages are named `{0}`")]
    DuplicatePackage(String),
    /// Two packages in one directory.
    #[error("packages `{first}` and `{second}` are both in `{path}`")]
    SharedDirectory {
        /// The package that was there before.
        first: String,
        /// The package found later.
        second: String,
        /// The directory.
        path: String,
    },
    /// A package whose directory is not there.
    #[error("package `{package}`: `{path}` is no directory")]
    MissingDirectory {
        /// The package.
        package: String,
        /// Its path, as written.
        path: String,
    },
    /// A dependency on a package that is not there.
    #[error("package `{package}` depends on `{dependency}`, which is no package of this workspace")]
    MissingDependency {
        /// The package.
        package: String,
        /// What it names.
        dependency: String,
    },
    /// A task that depends on a task that is not there.
    #[error("task `{task}` depends on `{dependency}`, which does not exist")]
    MissingTask {
        /// The task.
        task: String,
        /// What it names.
        dependency: String,
    },
    /// A package name in a request.
    #[error("there is no package `{0}`")]
    NoPackage(String),
    /// A task name in a request.
    #[error("no package has a task `{0}`")]
    NoTask(String),
    /// A task that one requested package lacks.
    #[error("package `{package}` has no task `{task}`")]
    NoTaskInPackage {
        /// The package.
        package: String,
        /// The task.
        task: String,
    },
    /// Tasks that wait for each other. The first is repeated at the end.
    #[error("dependency cycle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// Two tasks that would write the same place.
    #[error("`{first}` and `{second}` both write `{path}`")]
    OverlappingOutputs {
        /// One task.
        first: String,
        /// The other.
        second: String,
        /// The place, relative to the root.
        path: String,
    },
    /// An output outside its package.
    #[error("output `{path}` of task `{task}` lies outside its package")]
    OutputOutsidePackage {
        /// The task.
        task: String,
        /// The output, as written.
        path: String,
    },
    /// An absolute path where a relative one belongs.
    #[error("`{0}` is an absolute path")]
    AbsolutePath(String),
    /// A path that leaves the workspace.
    #[error("`{0}` leaves its directory by `..`")]
    ParentPath(String),
    /// A pattern that cannot be read.
    #[error("`{pattern}` is no pattern: {reason}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// A value from a flag or an environment variable.
    #[error("{source_name}: {reason}")]
    InvalidOverride {
        /// The flag or variable.
        source_name: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One thing that is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: Box<ProblemKind>,
    /// Where, if it has a place.
    pub location: Option<Location>,
    /// Further places with what stands there.
    pub notes: Vec<(String, Location)>,
    /// What to do next.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a place.
    pub fn new(kind: ProblemKind) -> Self {
        Self { kind: Box::new(kind), location: None, notes: Vec::new(), hint: None }
    }

    /// The same at a place.
    #[must_use]
    pub fn at(mut self, location: impl Into<Option<Location>>) -> Self {
        self.location = location.into();
        self
    }

    /// The same with a further place.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>, location: Option<Location>) -> Self {
        self.notes.extend(location.map(|location| (text.into(), location)));
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn category(&self) -> ErrorCategory {
        match *self.kind {
            ProblemKind::Unreadable { .. } => ErrorCategory::Environment,
            _ => ErrorCategory::User,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(location) = &self.location {
            write!(f, "\n{location}")?;
        }
        for (text, location) in &self.notes {
            write!(f, "\n  note: {text}\n{location}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  help: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn category(&self) -> ErrorCategory {
        self.category()
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// Everything that is wrong with a workspace, found in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceErrors {
    /// The problems, in the order in which they were found; at least one.
    pub problems: Vec<Problem>,
}

impl From<Problem> for WorkspaceErrors {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for WorkspaceErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                write!(f, "\n\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for WorkspaceErrors {}

impl Diagnostic for WorkspaceErrors {
    /// The environment's only if nothing is the user's.
    fn category(&self) -> ErrorCategory {
        if self.problems.iter().all(|problem| problem.category() == ErrorCategory::Environment) {
            ErrorCategory::Environment
        } else {
            ErrorCategory::User
        }
    }
}

/// A single problem, where only one can arise.
pub type WorkspaceError = Problem;
