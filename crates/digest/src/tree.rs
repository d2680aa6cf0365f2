//! Merkle trees of directories, in REAPI's canonical form.
//!
//! A directory is a [`reapi::Directory`] message with its children sorted by name; its digest is the digest of the encoded
//! message, so that equal trees have equal root digests (`remote_execution.proto`, message `Directory`).

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::function::DigestFunction;
use crate::reapi;

/// Deepest nesting of a tree; deeper ones are refused, since every tool that walks them would need as deep a stack.
pub const MAX_DEPTH: usize = 256;

/// A tree that cannot be built or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A path is absolute, empty, or has an empty, `.` or `..` segment.
    #[error("`{path}` is no relative path without `.` and `..`")]
    BadPath {
        /// The path.
        path: String,
    },
    /// One path is given twice with different contents, or is both a file and a directory.
    #[error("`{path}` is given twice with different contents")]
    Conflict {
        /// The path.
        path: String,
    },
    /// More than [`MAX_DEPTH`] levels.
    #[error("`{}…` lies more than {MAX_DEPTH} directories deep", path.chars().take(80).collect::<String>())]
    TooDeep {
        /// The path.
        path: String,
    },
    /// A message that is no `Directory` or `Tree`, or not in canonical form.
    #[error("malformed directory message: {0}")]
    Malformed(String),
    /// A directory that the tree refers to is not in it.
    #[error("directory {digest} is referred to but missing")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
}

/// What a path in a tree is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Node {
    /// A regular file.
    File {
        /// Its content.
        digest: Digest,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: String,
    },
    /// A directory without children.
    Directory,
}

/// Collects paths and makes the Merkle tree of them.
#[derive(Debug)]
pub struct TreeBuilder {
    function: DigestFunction,
    root: Building,
}

#[derive(Debug, Default)]
struct Building {
    leaves: BTreeMap<String, Node>,
    directories: BTreeMap<String, Building>,
}

/// A Merkle tree: the root's digest and every directory once.
#[derive(Clone, Debug)]
pub struct MerkleTree {
    /// Digest of the root directory.
    pub root: Digest,
    /// Encoded directories by digest, the root among them.
    pub directories: HashMap<Digest, Vec<u8>>,
}

impl TreeBuilder {
    /// An empty tree.
    pub fn new(function: DigestFunction) -> Self {
        Self { function, root: Building::default() }
    }

    /// Adds a node at a relative path; adding an equal node again changes nothing.
    pub fn add(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        check_relative(path)?;
        let conflict = || TreeError::Conflict { path: path.to_owned() };
        let mut directory = &mut self.root;
        let (parents, name) = path.rsplit_once('/').map_or((None, path), |(parents, name)| (Some(parents), name));
        for parent in parents.into_iter().flat_map(|parents| parents.split('/')) {
            if directory.leaves.contains_key(parent) {
                return Err(conflict());
            }
            // `entry` would need an owned key for each of the many look-ups that find the directory there.
            if !directory.directories.contains_key(parent) {
                directory.directories.insert(parent.to_owned(), Building::default());
            }
            directory = directory.directories.get_mut(parent).ok_or_else(conflict)?;
        }
        if let Node::Directory = node {
            if directory.leaves.contains_key(name) {
                return Err(conflict());
            }
            directory.directories.entry(name.to_owned()).or_default();
            return Ok(());
        }
        if directory.directories.contains_key(name) {
            return Err(conflict());
        }
        match directory.leaves.get(name) {
            Some(present) if *present != node => Err(conflict()),
            Some(_) => Ok(()),
            None => {
                directory.leaves.insert(name.to_owned(), node);
                Ok(())
            }
        }
    }

    /// Computes the tree.
    pub fn build(self) -> MerkleTree {
        let mut directories = HashMap::new();
        let root = self.root.encode(self.function, &mut |digest, bytes| {
            directories.insert(digest, bytes);
        });
        MerkleTree { root, directories }
    }
}

impl Building {
    // Recursion is bounded by MAX_DEPTH, which `add` enforces.
    fn encode(self, function: DigestFunction, keep: &mut dyn FnMut(Digest, Vec<u8>)) -> Digest {
        let mut message = reapi::Directory::default();
        for (name, node) in self.leaves {
            match node {
                Node::File { digest, executable } => message.files.push(reapi::FileNode {
                    name,
                    digest: Some(digest.to_reapi()),
                    is_executable: executable,
                    node_properties: None,
                }),
                Node::Symlink { target } => {
                    message.symlinks.push(reapi::SymlinkNode { name, target, node_properties: None });
                }
                Node::Directory => {}
            }
        }
        for (name, directory) in self.directories {
            let digest = directory.encode(function, keep);
            message.directories.push(reapi::DirectoryNode { name, digest: Some(digest.to_reapi()) });
        }
        let bytes = message.encode_to_vec();
        let digest = function.digest(&bytes);
        keep(digest, bytes);
        digest
    }
}

impl MerkleTree {
    /// As REAPI's `Tree` message: the root, then the other directories in the order of a walk from it.
    pub fn to_tree(&self) -> Result<reapi::Tree, TreeError> {
        let mut tree = reapi::Tree { root: Some(self.decode(&self.root)?), children: Vec::new() };
        let mut seen = std::collections::HashSet::new();
        let mut pending: Vec<reapi::Directory> = tree.root.iter().cloned().collect();
        while let Some(directory) = pending.pop() {
            for child in directory.directories.iter().rev() {
                let digest = node_digest(self.root.function(), child.digest.as_ref())?;
                if seen.insert(digest) {
                    let message = self.decode(&digest)?;
                    tree.children.push(message.clone());
                    pending.push(message);
                }
            }
        }
        Ok(tree)
    }

    fn decode(&self, digest: &Digest) -> Result<reapi::Directory, TreeError> {
        let bytes = self.directories.get(digest).ok_or(TreeError::Missing { digest: *digest })?;
        reapi::Directory::decode(bytes.as_slice()).map_err(|error| TreeError::Malformed(error.to_string()))
    }
}

/// Every path of a `Tree` message with what it is, parents before children; empty directories included.
///
/// Checks what comes from outside: names are single segments, sorted and unique; children are found by their digest; nesting is
/// at most [`MAX_DEPTH`] and there are at most `max_nodes` paths, so that a small message cannot expand without bound.
pub fn flatten(
    tree: &reapi::Tree,
    function: DigestFunction,
    max_nodes: usize,
) -> Result<Vec<(String, Node)>, TreeError> {
    let root = tree.root.as_ref().ok_or_else(|| TreeError::Malformed("no root".to_owned()))?;
    let children: HashMap<Digest, &reapi::Directory> =
        tree.children.iter().map(|child| (function.digest(&child.encode_to_vec()), child)).collect();
    let mut nodes = Vec::new();
    let mut pending = vec![(String::new(), root, 0)];
    while let Some((prefix, directory, depth)) = pending.pop() {
        check_canonical(directory)?;
        if depth > MAX_DEPTH {
            return Err(TreeError::TooDeep { path: prefix });
        }
        let path = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        for file in &directory.files {
            let digest = node_digest(function, file.digest.as_ref())?;
            nodes.push((path(&file.name), Node::File { digest, executable: file.is_executable }));
        }
        for link in &directory.symlinks {
            nodes.push((path(&link.name), Node::Symlink { target: link.target.clone() }));
        }
        for child in &directory.directories {
            let digest = node_digest(function, child.digest.as_ref())?;
            let message = children.get(&digest).copied().ok_or(TreeError::Missing { digest })?;
            nodes.push((path(&child.name), Node::Directory));
            pending.push((path(&child.name), message, depth + 1));
        }
        if nodes.len() > max_nodes {
            return Err(TreeError::Malformed(format!("more than {max_nodes} paths")));
        }
    }
    Ok(nodes)
}

/// Checks that a directory is in canonical form: single-segment names, sorted within each list, unique over all lists.
pub fn check_canonical(directory: &reapi::Directory) -> Result<(), TreeError> {
    fn sorted<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), TreeError> {
        let mut last: Option<&str> = None;
        names.try_for_each(|name| {
            if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
                return Err(TreeError::BadPath { path: name.to_owned() });
            }
            if last.is_some_and(|last| last >= name) {
                return Err(TreeError::Malformed(format!("`{name}` is out of order or given twice")));
            }
            last = Some(name);
            Ok(())
        })
    }
    sorted(directory.files.iter().map(|node| node.name.as_str()))?;
    sorted(directory.directories.iter().map(|node| node.name.as_str()))?;
    sorted(directory.symlinks.iter().map(|node| node.name.as_str()))?;
    let mut names: Vec<&str> = directory.files.iter().map(|node| node.name.as_str()).collect();
    names.extend(directory.directories.iter().map(|node| node.name.as_str()));
    names.extend(directory.symlinks.iter().map(|node| node.name.as_str()));
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(TreeError::Malformed(format!("`{}` is given twice", pair[0]))),
        None => Ok(()),
    }
}

/// Checks that a path is relative, `/`-separated, not too deep, and has no empty, `.` or `..` segment.
pub fn check_relative(path: &str) -> Result<(), TreeError> {
    let mut depth = 0;
    for segment in path.split('/') {
        depth += 1;
        if segment.is_empty() || segment == "." || segment == ".." || segment.contains('\0') {
            return Err(TreeError::BadPath { path: path.to_owned() });
        }
    }
    if depth > MAX_DEPTH {
        return Err(TreeError::TooDeep { path: path.to_owned() });
    }
    Ok(())
}

fn node_digest(function: DigestFunction, digest: Option<&reapi::Digest>) -> Result<Digest, TreeError> {
    let digest = digest.ok_or_else(|| TreeError::Malformed("a node without digest".to_owned()))?;
    Digest::from_reapi(function, digest).map_err(|error| TreeError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: DigestFunction = DigestFunction::Sha256;

    fn file(content: &str) -> Node {
        Node::File { digest: FUNCTION.digest(content.as_bytes()), executable: false }
    }

    fn build(paths: &[(&str, Node)]) -> MerkleTree {
        let mut builder = TreeBuilder::new(FUNCTION);
        for (path, node) in paths {
            builder.add(path, node.clone()).unwrap();
        }
        builder.build()
    }

    #[test]
    fn the_empty_tree_is_the_empty_blob() {
        assert_eq!(build(&[]).root, Digest::empty(FUNCTION));
    }

    #[test]
    fn order_of_adding_does_not_matter_but_contents_do() {
        let one = build(&[("a/x", file("1")), ("b", file("2")), ("a/y", file("3"))]);
        let other = build(&[("b", file("2")), ("a/y", file("3")), ("a/x", file("1"))]);
        assert_eq!(one.root, other.root);
        assert_ne!(one.root, build(&[("a/x", file("1")), ("b", file("2")), ("a/y", file("4"))]).root);
    }

    #[test]
    fn a_tree_message_gives_back_its_paths() {
        let paths = [
            ("bin/tool", Node::File { digest: FUNCTION.digest(b"elf"), executable: true }),
            ("bin/link", Node::Symlink { target: "tool".to_owned() }),
            ("empty", Node::Directory),
            ("lib/a/b", file("b")),
            ("lib2/a/b", file("b")),
        ];
        let tree = build(&paths).to_tree().unwrap();
        let flat: HashMap<String, Node> = flatten(&tree, FUNCTION, 100).unwrap().into_iter().collect();
        for (path, node) in &paths {
            assert_eq!(flat.get(*path), Some(node), "{path}");
        }
        assert!(flatten(&tree, FUNCTION, 3).is_err());
    }

    #[test]
    fn refuses_paths_that_leave_or_clash() {
        let mut builder = TreeBuilder::new(FUNCTION);
        for path in ["", "/etc", "a/../b", "./a", "a//b", "a\0b"] {
            assert!(matches!(builder.add(path, file("")), Err(TreeError::BadPath { .. })), "{path:?}");
        }
        builder.add("a", file("1")).unwrap();
        builder.add("a", file("1")).unwrap();
        assert!(matches!(builder.add("a", file("2")), Err(TreeError::Conflict { .. })));
        assert!(matches!(builder.add("a/b", file("2")), Err(TreeError::Conflict { .. })));
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        assert!(matches!(builder.add(&deep, file("")), Err(TreeError::TooDeep { .. })));
    }

    #[test]
    fn refuses_messages_that_are_not_canonical() {
        let node = |name: &str| reapi::FileNode { name: name.to_owned(), ..Default::default() };
        for names in [vec!["b", "a"], vec!["a", "a"], vec!["x/y"], vec![".."]] {
            let files = names.iter().map(|name| node(name)).collect();
            let directory = reapi::Directory { files, ..Default::default() };
            assert!(check_canonical(&directory).is_err(), "{names:?}");
        }
    }
}
