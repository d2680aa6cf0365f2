//! Directories.

use buildnet_digest::tree::{Node, TreeBuilder, check_canonical, check_relative, flatten};
use buildnet_digest::{DigestFunction, reapi};
use prost::Message;

pub(super) const WORDS: &[&str] = &["..", ".", "/", "a", "\0", "//", "../", "a/b", "-"];

const FUNCTION: DigestFunction = DigestFunction::Sha256;
const MAX_NODES: usize = 10_000;

/// A `Tree` message. Its paths, if it is taken, make a tree again.
pub(super) fn tree(input: &[u8]) {
    if let Ok(directory) = reapi::Directory::decode(input)
        && check_canonical(&directory).is_ok()
    {
        for name in
            directory.files.iter().map(|node| &node.name).chain(directory.directories.iter().map(|node| &node.name))
        {
            assert!(check_relative(name).is_ok() && !name.contains('/'), "{name:?}");
        }
    }
    let Ok(tree) = reapi::Tree::decode(input) else { return };
    let Ok(nodes) = flatten(&tree, FUNCTION, MAX_NODES) else { return };
    let mut builder = TreeBuilder::new(FUNCTION);
    for (path, node) in nodes {
        check_relative(&path).expect("a path of a tree is relative");
        builder.add(&path, node).expect("a tree has no conflicts");
    }
    builder.build().to_tree().expect("a tree that was built is whole");
}

pub(super) fn tree_seeds() -> Vec<Vec<u8>> {
    let digest = FUNCTION.digest(b"content");
    let file = Node::File { digest, executable: true };
    let mut builder = TreeBuilder::new(FUNCTION);
    for (path, node) in [
        ("a", file.clone()),
        ("b/c/d", file.clone()),
        ("b/link", Node::Symlink { target: "../a".into() }),
        ("empty", Node::Directory),
        ("x/c/d", file),
    ] {
        builder.add(path, node).expect("the seed has no conflicts");
    }
    let built = builder.build();
    let tree = built.to_tree().expect("the seed is whole");
    // A tree in which a directory is its own child as far as names can say it, and one that lacks a child.
    let empty = reapi::Directory::default();
    let child = |name: &str| reapi::DirectoryNode {
        name: name.into(),
        digest: Some(FUNCTION.digest(&empty.encode_to_vec()).to_reapi()),
    };
    let wide = reapi::Directory { directories: vec![child("a"), child("b")], ..Default::default() };
    let lacking = reapi::Tree { root: Some(wide.clone()), children: vec![] };
    let whole = reapi::Tree { root: Some(wide), children: vec![empty] };
    let directories = built.directories.into_values();
    [tree.encode_to_vec(), lacking.encode_to_vec(), whole.encode_to_vec()].into_iter().chain(directories).collect()
}

/// One path to a line: what is taken neither leaves the directory nor has two readings.
pub(super) fn path(input: &[u8]) {
    let mut builder = TreeBuilder::new(FUNCTION);
    for path in String::from_utf8_lossy(input).lines() {
        let relative = check_relative(path).is_ok();
        let inside =
            !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0');
        assert!(!relative || inside, "{path:?}");
        assert!(relative || builder.add(path, Node::Directory).is_err(), "{path:?}");
        // Conflicts are errors, not panics.
        let _ = builder.add(path, Node::Symlink { target: "x".into() });
    }
    builder.build().to_tree().expect("a tree that was built is whole");
}

pub(super) fn path_seeds() -> Vec<Vec<u8>> {
    vec![b"a\nb/c\nb/c/d\n../e\n/f\ng/./h\n\n".to_vec(), "deep/".repeat(300).into_bytes()]
}
