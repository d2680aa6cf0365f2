//! What a task made: a flat list of paths, and its form in REAPI's messages.

use buildnet_cas::Store;
use buildnet_digest::tree::{self, Node, TreeBuilder};
use buildnet_digest::{Digest, DigestFunction, reapi};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::collect::Pattern;
use crate::error::ExecutorError;

/// Most paths in one output directory that is taken from an action result.
const MAX_NODES: usize = 1 << 20;

/// One path that a task made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Output {
    /// Path relative to the workspace root.
    pub path: String,
    /// What it is. A directory stands before what it holds.
    pub node: Node,
}

/// All paths that a task made, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outputs {
    entries: Vec<Output>,
}

impl Outputs {
    /// From paths in any order.
    pub fn new(mut entries: Vec<Output>) -> Self {
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries.dedup_by(|one, other| one.path == other.path);
        Self { entries }
    }

    /// The paths, sorted.
    pub fn entries(&self) -> &[Output] {
        &self.entries
    }

    /// What lies at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        let index = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        Some(&self.entries[index].node)
    }

    /// The first path that is neither one of the declared outputs nor in one.
    pub fn undeclared(&self, declared: &[String]) -> Result<Option<&str>, ExecutorError> {
        let declared = declared.iter().map(|pattern| Pattern::parse(pattern)).collect::<Result<Vec<_>, _>>()?;
        let within = |path: &str| declared.iter().any(|pattern| pattern.holds(path));
        Ok(self.entries.iter().map(|entry| entry.path.as_str()).find(|path| !within(path)))
    }

    /// The digest of the Merkle tree of all paths.
    pub fn digest(&self) -> Result<Digest, ExecutorError> {
        let mut builder = TreeBuilder::new(DigestFunction::Blake3);
        for entry in &self.entries {
            builder.add(&entry.path, entry.node.clone())?;
        }
        Ok(builder.build().root)
    }

    /// Fills the output fields of an `ActionResult`; the `Tree` messages of directories go into the store.
    pub fn to_result(&self, store: &Store, result: &mut reapi::ActionResult) -> Result<(), ExecutorError> {
        let mut directories: Vec<(&str, TreeBuilder)> = Vec::new();
        for Output { path, node } in &self.entries {
            let holder = directories.iter_mut().find_map(|(root, builder)| {
                let below = path.strip_prefix(*root)?.strip_prefix('/')?;
                Some((below, builder))
            });
            match (holder, node) {
                (Some((below, builder)), node) => builder.add(below, node.clone())?,
                (None, Node::Directory) => directories.push((path, TreeBuilder::new(DigestFunction::Blake3))),
                (None, Node::File { digest, executable }) => result.output_files.push(reapi::OutputFile {
                    path: path.clone(),
                    digest: Some(digest.to_reapi()),
                    is_executable: *executable,
                    ..Default::default()
                }),
                (None, Node::Symlink { target }) => result.output_symlinks.push(reapi::OutputSymlink {
                    path: path.clone(),
                    target: target.clone(),
                    node_properties: None,
                }),
            }
        }
        for (path, builder) in directories {
            let merkle = builder.build();
            let tree = merkle.to_tree()?.encode_to_vec();
            let digest = store.put_bytes(DigestFunction::Blake3, &tree)?;
            result.output_directories.push(reapi::OutputDirectory {
                path: path.to_owned(),
                tree_digest: Some(digest.to_reapi()),
                is_topologically_sorted: false,
                root_directory_digest: None,
            });
        }
        Ok(())
    }

    /// From the output fields of an `ActionResult`; none if a blob of it is gone. Every path is checked to be confined.
    pub fn from_result(store: &Store, result: &reapi::ActionResult) -> Result<Option<Self>, ExecutorError> {
        let mut entries = Vec::new();
        for file in &result.output_files {
            tree::check_relative(&file.path)?;
            let digest = parse(file.digest.as_ref())?;
            let node = Node::File { digest, executable: file.is_executable };
            entries.push(Output { path: file.path.clone(), node });
        }
        for link in &result.output_symlinks {
            tree::check_relative(&link.path)?;
            entries.push(Output { path: link.path.clone(), node: Node::Symlink { target: link.target.clone() } });
        }
        for directory in &result.output_directories {
            tree::check_relative(&directory.path)?;
            let Some(bytes) = store.read(&parse(directory.tree_digest.as_ref())?)? else { return Ok(None) };
            let message = reapi::Tree::decode(&*bytes)
                .map_err(|error| tree::TreeError::Malformed(format!("of `{}`: {error}", directory.path)))?;
            entries.push(Output { path: directory.path.clone(), node: Node::Directory });
            for (below, node) in tree::flatten(&message, DigestFunction::Blake3, MAX_NODES)? {
                entries.push(Output { path: format!("{}/{below}", directory.path), node });
            }
        }
        Ok(Some(Self::new(entries)))
    }
}

fn parse(digest: Option<&reapi::Digest>) -> Result<Digest, tree::TreeError> {
    let digest = digest.ok_or_else(|| tree::TreeError::Malformed("an output without digest".to_owned()))?;
    Digest::from_reapi(DigestFunction::Blake3, digest).map_err(|error| tree::TreeError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_did_not_declare_is_found() {
        let outputs = |paths: &[&str]| {
            Outputs::new(paths.iter().map(|path| Output { path: (*path).to_owned(), node: Node::Directory }).collect())
        };
        let declared = ["p/out".to_owned(), "p/lib*.a".to_owned(), "top".to_owned()];
        let good = outputs(&["p/out", "p/out/a/b", "p/libx.a", "p/libx.a/in", "top/x"]);
        assert_eq!(good.undeclared(&declared).unwrap(), None);
        for bad in ["p", "p/outer", "p/src/lib.a", "q/out", "topper", "lib.a"] {
            assert_eq!(outputs(&[bad]).undeclared(&declared).unwrap(), Some(bad));
        }
        assert_eq!(outputs(&["x"]).undeclared(&[]).unwrap(), Some("x"));
    }
}
