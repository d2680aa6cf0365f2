//! Which files a plan's tasks write.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use buildnet_engine::build::Plan;
use globset::{Glob, GlobSet, GlobSetBuilder};

/// The outputs of a plan, and the state of the workspace.
#[derive(Debug)]
pub(super) struct Written {
    root: PathBuf,
    paths: HashSet<PathBuf>,
    patterns: GlobSet,
}

impl Written {
    pub(super) fn of(root: &Path, plan: &Plan) -> Self {
        let mut paths = HashSet::from([PathBuf::from(super::opened::STATE_DIR)]);
        let mut patterns = GlobSetBuilder::new();
        for output in plan.tasks.values().flat_map(|spec| spec.outputs.iter().chain(&spec.state)) {
            match Glob::new(output) {
                Ok(pattern) if output.contains(['*', '?', '[', '{']) => {
                    patterns.add(pattern);
                }
                _ => {
                    paths.insert(PathBuf::from(output));
                }
            }
        }
        // A set that cannot be built only makes a watcher build once more than needed.
        Self { root: root.to_owned(), paths, patterns: patterns.build().unwrap_or_else(|_| GlobSet::empty()) }
    }

    /// Whether a file, by its absolute path, is an output or lies in one, or only holds outputs.
    pub(super) fn contains(&self, path: &Path) -> bool {
        let Ok(path) = path.strip_prefix(&self.root) else { return true };
        path.ancestors().any(|ancestor| self.paths.contains(ancestor) || self.patterns.is_match(ancestor))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use buildnet_engine::build::ActionSpec;
    use buildnet_event::TaskName;

    use super::*;

    #[test]
    fn outputs_are_known_with_what_lies_in_them() {
        let name = TaskName::new("a", "build");
        let spec =
            ActionSpec { outputs: vec!["a/out".into(), "a/lib*.a".into()], ..ActionSpec::new(name.clone(), "a") };
        let plan = Plan { root: "/w".into(), tasks: BTreeMap::from([(name, spec)]), requested: Vec::new() };
        let written = Written::of(Path::new("/w"), &plan);
        for output in ["/w/a/out", "/w/a/out/x/y", "/w/a/libx.a", "/w/.buildnet/graph", "/elsewhere"] {
            assert!(written.contains(Path::new(output)), "{output}");
        }
        for source in ["/w/a/src/x.c", "/w/a/lib.c", "/w/a", "/w/a/output", "/w"] {
            assert!(!written.contains(Path::new(source)), "{source}");
        }
    }
}
