//! What shared state does not have, and why: BitBake's `-S printdiff`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Planned, Workbench, Written, newest_signature, read_signature};
use crate::error::Result;
use crate::graph::HashedTask;
use crate::signature::{Difference, differences};

/// Tasks whose objects have names without an architecture.
const FOR_ALL: [&str; 5] = ["fetch", "unpack", "patch", "populate_lic", "preconfigure"];
/// Longest name of a file.
const LONGEST: usize = 254;

/// A task where a build cannot go on with what shared state has.
#[derive(Clone, Debug)]
pub struct Unusable {
    /// BitBake's name of the task.
    pub id: String,
    /// `RECIPE:TASK`.
    pub name: String,
    /// The hash that is needed.
    pub hash: String,
    /// The signature file of the last other run of it, and what differs.
    pub before: Option<(PathBuf, Vec<Difference>)>,
}

/// The name of a task's signature in shared state, below `SSTATE_DIR`, from `BB_HASHFILENAME`: whether it is native, and the names of
/// objects with and without an architecture.
fn shared_name(hash_name: &str, host: &str, task: &str, hash: &str) -> Option<String> {
    let parts: Vec<&str> = hash_name.split(' ').collect();
    let task = task.strip_prefix("do_").unwrap_or(task);
    let plain = parts.get(2).filter(|spec| !spec.is_empty() && FOR_ALL.contains(&task));
    let (spec, above) = match plain {
        Some(spec) => (*spec, String::new()),
        None if parts.first() == Some(&"True") => (*parts.get(1)?, format!("{host}/")),
        None => (*parts.get(1)?, String::new()),
    };
    let end = format!("{hash}_{task}.tar.zst.siginfo");
    let mut name = format!("{spec}{end}");
    if name.len() > LONGEST {
        let mut fields: Vec<String> = spec.split(':').map(str::to_owned).collect();
        let kept: usize = [0, 1, 5, 6].iter().filter_map(|at| fields.get(*at)).map(String::len).sum();
        let room = LONGEST.saturating_sub(end.len() + kept + 7) / 3;
        for field in fields.iter_mut().skip(2).take(3) {
            *field = field.chars().take(room).collect();
        }
        name = fields.join(":") + &end;
    }
    Some(format!("{above}{}/{}/{name}", hash.get(..2)?, hash.get(2..4)?))
}

impl Workbench {
    /// The first tasks of a plan, from what nothing depends on upward, that shared state does not have; with what makes them differ from
    /// the last other run beside the stamps. Their signature files are written already.
    pub fn unusable(&self, planned: &Planned, tasks: &[HashedTask], written: &Written) -> Result<Vec<Unusable>> {
        let (directory, host) = (self.setting("SSTATE_DIR")?, self.setting("NATIVELSBSTRING")?);
        let nodes = &planned.graph.nodes;
        let recipe = |at: usize| &planned.universe.recipes[nodes[at].recipe];
        let noexec: Vec<bool> = (0..nodes.len())
            .map(|at| recipe(at).tasks.flags.get("noexec").is_some_and(|of| of.contains_key(nodes[at].task.as_str())))
            .collect();
        let is_there = |at: usize| {
            let name = written.names.get(&recipe(at).file)?;
            let name = shared_name(name, &host, nodes[at].task.as_str(), &tasks[at].unihash)?;
            Some(!directory.is_empty() && Path::new(&directory).join(name).exists())
        };
        let mut valid: Vec<bool> = (0..nodes.len()).map(|at| !noexec[at] && is_there(at).unwrap_or(false)).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            node.depends.iter().for_each(|dep| users[*dep as usize].push(at));
        }
        // What only tasks need that do nothing, and whose nothing can be shared, is not missed.
        let does_nothing = |at: usize| noexec[at] && nodes[at].setscene;
        for at in (0..nodes.len()).filter(|at| does_nothing(*at)) {
            for dep in nodes[at].depends.iter().map(|dep| *dep as usize) {
                valid[dep] |= users[dep].iter().all(|user| does_nothing(*user));
            }
        }
        let mut roots = BTreeSet::new();
        let mut seen = vec![false; nodes.len()];
        let mut waiting: Vec<usize> = planned.graph.targets.iter().map(|at| *at as usize).collect();
        // Down from the targets; below an object that shared state has, only to the other objects that it needs.
        while let Some(at) = waiting.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let depends = || nodes[at].depends.iter().map(|dep| *dep as usize);
            if !valid[at] {
                if !noexec[at] && depends().all(|dep| valid[dep]) {
                    roots.insert(at);
                }
                waiting.extend(depends().filter(|dep| !valid[*dep] || noexec[at]));
            } else if nodes[at].setscene {
                waiting.extend(planned.objects_below(at));
            } else {
                waiting.extend(depends());
            }
        }
        let told = roots.into_iter().map(|at| {
            let (task, stamp) = (nodes[at].task.as_str(), Path::new(&recipe(at).stamp));
            let hash = tasks[at].unihash.clone();
            let beside = stamp.parent().unwrap_or(stamp);
            let before = newest_signature(beside, stamp, task, false, Some(&hash));
            let own = format!("{}.{task}.sigdata.{hash}", recipe(at).stamp);
            let before = before.and_then(|path| {
                let (old, new) = (read_signature(&path).ok()?, read_signature(Path::new(&own)).ok()?);
                Some((path, differences(&old, &new)))
            });
            let name = planned.name(u32::try_from(at).unwrap_or(u32::MAX));
            Unusable { id: tasks[at].id.clone(), name, hash, before }
        });
        Ok(told.collect())
    }
}

impl Planned {
    /// The tasks with objects in shared state that a task needs, directly or through tasks without.
    fn objects_below(&self, task: usize) -> Vec<usize> {
        let nodes = &self.graph.nodes;
        let (mut found, mut seen, mut waiting) = (Vec::new(), BTreeSet::new(), vec![task]);
        while let Some(at) = waiting.pop() {
            for dep in nodes[at].depends.iter().map(|dep| *dep as usize).filter(|dep| seen.insert(*dep)) {
                if nodes[dep].setscene { found.push(dep) } else { waiting.push(dep) }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_shared_state() {
        let spec = "True sstate:makedevs-native:x86_64-linux:1.0.1:r0:x86_64:14: sstate:makedevs-native::1.0.1:r0::14:";
        let hash = "1318".to_owned() + &"0".repeat(60);
        assert_eq!(
            shared_name(spec, "debian-12", "do_populate_sysroot", &hash).expect("a name"),
            format!(
                "debian-12/13/18/sstate:makedevs-native:x86_64-linux:1.0.1:r0:x86_64:14:{hash}_populate_sysroot.tar.zst.siginfo"
            )
        );
        assert_eq!(
            shared_name(spec, "debian-12", "do_fetch", &hash).expect("a name"),
            format!("13/18/sstate:makedevs-native::1.0.1:r0::14:{hash}_fetch.tar.zst.siginfo")
        );
        let long = format!("False sstate:{0}:{0}:{0}:{0}:arch:14: ", "n".repeat(60));
        let name = shared_name(&long, "", "do_package", &hash).expect("a name");
        assert!(name.len() - "13/18/".len() <= LONGEST, "{name}");
        assert!(name.contains(":arch:14:"), "{name}");
    }
}
