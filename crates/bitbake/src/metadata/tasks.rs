//! The task list: `addtask`, `deltask`, and what a finalised recipe says of its tasks.

use std::collections::BTreeMap;

use super::files::{Reader, list};
use crate::data::{Origin, Store};
use crate::error::Result;
use crate::{Sym, Text, Value};

/// Flags of tasks that the run queue reads.
const FLAGS: [&str; 11] = [
    "mcdepends",
    "depends",
    "rdepends",
    "deptask",
    "rdeptask",
    "recrdeptask",
    "recideptask",
    "nostamp",
    "fakeroot",
    "noexec",
    "umask",
];

/// What a finalised recipe says of its tasks.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TaskTable {
    /// The tasks in the order they were added.
    pub tasks: Vec<Sym>,
    /// Task → the tasks of the recipe that come before it.
    pub parents: BTreeMap<Text, Vec<Text>>,
    /// Flag → task → its expanded value, for the flags that the run queue reads.
    #[serde(deserialize_with = "known_flags")]
    pub flags: BTreeMap<&'static str, BTreeMap<Text, Text>>,
}

/// Flags by the names that this program knows; others are an error.
fn known_flags<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<BTreeMap<&'static str, BTreeMap<Text, Text>>, D::Error> {
    let flags: BTreeMap<String, BTreeMap<Text, Text>> = serde::Deserialize::deserialize(from)?;
    let known = |(flag, tasks): (String, _)| {
        let flag = FLAGS.into_iter().find(|known| *known == flag);
        flag.map(|flag| (flag, tasks)).ok_or_else(|| serde::de::Error::custom("an unknown flag"))
    };
    flags.into_iter().map(known).collect()
}

fn with_prefix(task: &str) -> String {
    if task.starts_with("do_") { task.to_owned() } else { format!("do_{task}") }
}

fn tasks_var() -> Sym {
    Sym::new("__BBTASKS")
}

fn deps_flag() -> Sym {
    Sym::new("deps")
}

impl Reader<'_> {
    pub(super) fn add_task(&mut self, store: &mut Store, task: &str, before: &str, after: &str) -> Result<()> {
        let name = with_prefix(task);
        let task = Sym::new(&name);
        let origin = Origin::internal();
        store.set_flag(self.session, task, Sym::new("task"), Value::Int(1), origin)?;
        let mut tasks = list(store.get_raw(self.session, tasks_var())?);
        if !tasks.iter().any(|t| t.as_str() == Some(&*name)) {
            tasks.push(name.as_str().into());
        }
        store.set(self.session, tasks_var(), Value::List(tasks.into()), origin)?;
        let mut deps = list(store.flag_raw(task, deps_flag()));
        for entry in after.split_whitespace().map(with_prefix) {
            if !deps.iter().any(|d| d.as_str() == Some(&*entry)) {
                deps.push(entry.into());
            }
        }
        store.set_flag(self.session, task, deps_flag(), Value::List(deps.into()), origin)?;
        for entry in before.split_whitespace().map(|entry| Sym::new(&with_prefix(entry))) {
            let mut deps = list(store.flag_raw(entry, deps_flag()));
            if !deps.iter().any(|d| d.as_str() == Some(&*name)) {
                deps.insert(0, name.as_str().into());
                store.set_flag(self.session, entry, deps_flag(), Value::List(deps.into()), origin)?;
            }
        }
        Ok(())
    }

    pub(super) fn delete_task(&mut self, store: &mut Store, task: &str) -> Result<()> {
        let name = with_prefix(task);
        let task = Sym::new(&name);
        let origin = Origin::internal();
        let mut tasks = list(store.get_raw(self.session, tasks_var())?);
        if let Some(at) = tasks.iter().position(|t| t.as_str() == Some(&*name)) {
            tasks.remove(at);
            store.delete_flag(task, Sym::new("task"), origin);
            store.set(self.session, tasks_var(), Value::List(tasks.clone().into()), origin)?;
        }
        store.delete_flag(task, deps_flag(), origin);
        for other in tasks.iter().filter_map(Value::as_str).map(Sym::new) {
            let mut deps = list(store.flag_raw(other, deps_flag()));
            if let Some(at) = deps.iter().position(|d| d.as_str() == Some(&*name)) {
                deps.remove(at);
                store.set_flag(self.session, other, deps_flag(), Value::List(deps.into()), origin)?;
            }
        }
        Ok(())
    }

    /// The recipe's tasks, by name.
    pub(super) fn task_names(&mut self, store: &mut Store) -> Result<Vec<Sym>> {
        Ok(list(store.get_raw(self.session, tasks_var())?).iter().filter_map(Value::as_str).map(Sym::new).collect())
    }

    /// Expands the tasks with their flags and parents.
    pub(super) fn task_table(&mut self, store: &mut Store) -> Result<TaskTable> {
        let mut table = TaskTable::default();
        for task in self.task_names(store)? {
            let name = store.expand(self.session, task.as_str())?;
            let task = Sym::new(&name);
            store.set_flag(self.session, task, Sym::new("task"), Value::Int(1), Origin::internal())?;
            if !table.tasks.contains(&task) {
                table.tasks.push(task);
            }
            let flags = store.flags(task);
            for flag in FLAGS {
                if let Some((_, value)) = flags.iter().find(|(own, _)| own.as_str() == flag) {
                    let value = store.expand(self.session, &value.to_text())?;
                    if matches!(flag, "noexec" | "fakeroot" | "nostamp") && &*value != "1" {
                        let text = format!("the flag {flag} of {task} should be 1, and is {value}");
                        self.session.messages.push(crate::python::Message { level: 30, text });
                    }
                    table.flags.entry(flag).or_default().insert(Text::clone(&name), value);
                }
            }
            let mut parents = Vec::new();
            if let Some((_, Value::List(deps))) = flags.iter().find(|(own, _)| *own == deps_flag()) {
                for dep in deps.iter().filter_map(Value::as_str) {
                    parents.push(store.expand(self.session, dep)?);
                }
            }
            table.parents.insert(name, parents);
        }
        Ok(table)
    }
}
