//! The graph of tasks, and its renderings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use buildnet_event::TaskName;
use serde::Serialize;

use crate::error::WorkspaceErrors;
use crate::lower::Request;
use crate::model::Workspace;

/// Tasks with their direct dependencies. Serialises as the JSON rendering does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskGraph {
    /// The tasks, sorted by name.
    pub tasks: Vec<GraphTask>,
}

/// A task of a [`TaskGraph`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GraphTask {
    /// `package:task`.
    pub name: String,
    /// The package.
    pub package: String,
    /// The task.
    pub task: String,
    /// The package's directory; empty for the root.
    pub directory: String,
    /// `package:task` of the tasks that it waits for, sorted.
    pub dependencies: Vec<String>,
}

impl Workspace {
    /// The graph of the requested tasks and all that they wait for.
    pub fn graph(&self, request: &Request) -> Result<TaskGraph, WorkspaceErrors> {
        let requested = self.requested(request)?;
        let ids = self.index.closure(requested.iter().filter_map(|name| self.index.id(name)));
        let text = |name: &TaskName| name.to_string();
        let tasks = ids.into_iter().map(|id| {
            let name = &self.index.names[id as usize];
            GraphTask {
                name: text(name),
                package: name.package.to_string(),
                task: name.task.to_string(),
                directory: self.packages[&name.package].directory.clone(),
                dependencies: self.index.edges[id as usize]
                    .iter()
                    .map(|&id| text(&self.index.names[id as usize]))
                    .collect(),
            }
        });
        Ok(TaskGraph { tasks: tasks.collect() })
    }
}

impl TaskGraph {
    /// As Graphviz reads it; arrows lead from a task to what it waits for.
    pub fn to_dot(&self) -> String {
        let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut out = String::from("digraph buildnet {\n  rankdir=LR;\n  node [shape=box];\n");
        for task in &self.tasks {
            writeln!(out, "  {};", quote(&task.name)).expect(INFALLIBLE);
            for dependency in &task.dependencies {
                writeln!(out, "  {} -> {};", quote(&task.name), quote(dependency)).expect(INFALLIBLE);
            }
        }
        out.push_str("}\n");
        out
    }

    /// As JSON, indented.
    ///
    /// # Panics
    /// Never: names and lists are plain JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("names and lists are plain JSON");
        text.push('\n');
        text
    }

    /// As a tree for people: what nothing waits for at the margin, below each task what it waits for. What was shown before is
    /// not shown again below its second mention, which ends in `(see above)`.
    pub fn to_text(&self) -> String {
        let by_name: BTreeMap<&str, &GraphTask> = self.tasks.iter().map(|task| (task.name.as_str(), task)).collect();
        let mut waited: BTreeMap<&str, bool> = by_name.keys().map(|&name| (name, false)).collect();
        for dependency in self.tasks.iter().flat_map(|task| &task.dependencies) {
            waited.insert(dependency, true);
        }
        let mut shown = BTreeSet::new();
        let mut out = String::new();
        let roots = self.tasks.iter().filter(|task| !waited[task.name.as_str()]);
        // A stack instead of recursion: a graph may be thousands of tasks deep.
        let mut stack: Vec<(&str, String, String)> = Vec::new();
        for root in roots {
            stack.push((&root.name, String::new(), String::new()));
            while let Some((name, prefix, below)) = stack.pop() {
                let task = by_name[name];
                let again = !shown.insert(name) && !task.dependencies.is_empty();
                writeln!(out, "{prefix}{name}{}", if again { " (see above)" } else { "" }).expect(INFALLIBLE);
                if again {
                    continue;
                }
                for (index, dependency) in task.dependencies.iter().enumerate().rev() {
                    let last = index + 1 == task.dependencies.len();
                    let (branch, line) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
                    stack.push((dependency, format!("{below}{branch}"), format!("{below}{line}")));
                }
            }
        }
        out
    }
}

const INFALLIBLE: &str = "writing to a string succeeds";
