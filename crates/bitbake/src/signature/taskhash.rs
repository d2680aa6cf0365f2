//! The taskhash: a task's basehash with the hashes of what it depends on and of its local files.

use sha2::{Digest as _, Sha256};

use super::checksums::{FileChecksum, clean_path};

/// A task that another depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskDependency {
    /// Recipe and task, `PN:do_task`, with `mc:NAME:` before it in a named multiconfig.
    pub name: String,
    /// Its id in the task graph: recipe file (with its variant) and task.
    pub id: String,
    /// Its unified hash; its taskhash, where no hash server says otherwise.
    pub unihash: String,
}

/// SHA-256 in hexadecimal of the basehash, the dependencies' hashes, the files' checksums and the taint.
///
/// `dependencies` are those that [`super::Pruning`] keeps, in any order; so are `files`. The taint of a task that leaves no stamp
/// is its random number alone.
pub fn taskhash(
    basehash: &str,
    dependencies: &[TaskDependency],
    files: &[FileChecksum],
    taint: Option<&str>,
) -> String {
    let mut digest = Sha256::new();
    digest.update(basehash);
    let mut dependencies: Vec<&TaskDependency> = dependencies.iter().collect();
    dependencies.sort_unstable_by_key(|dependency| (&dependency.name, &dependency.id));
    for dependency in dependencies {
        digest.update(&dependency.unihash);
    }
    // Sorting is stable twice: files of one name follow the order of their checksums.
    let mut files: Vec<&FileChecksum> = files.iter().collect();
    files.sort_by(|a, b| a.md5.cmp(&b.md5));
    files.sort_by_key(|a| clean_path(&a.path));
    for file in files {
        if let Some(tail) = file.path.split("/./").nth(1) {
            digest.update("./");
            digest.update(tail);
        }
        digest.update(&file.md5);
    }
    if let Some(taint) = taint {
        digest.update(taint.strip_prefix("nostamp:").unwrap_or(taint));
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(text: &str) -> String {
        hex::encode(Sha256::digest(text))
    }

    #[test]
    fn order_of_inputs_does_not_matter() {
        let dep = |name: &str, unihash: &str| TaskDependency {
            name: name.into(),
            id: format!("/r/{name}"),
            unihash: unihash.into(),
        };
        let file = |path: &str, md5: &str| FileChecksum { path: path.into(), md5: md5.into() };
        let deps = [dep("b:do_x", "22"), dep("a:do_y", "11"), dep("a-native:do_y", "33")];
        let files = [file("/w/files/./sub/z", "e1"), file("/w/files/y", "d1"), file("/v/files/y", "c1")];
        let expected = sha256("00331122./sub/ze1c1d1taint");
        assert_eq!(taskhash("00", &deps, &files, Some("taint")), expected);
        let reversed: Vec<_> = deps.iter().rev().cloned().collect();
        assert_eq!(taskhash("00", &reversed, &files, Some("nostamp:taint")), expected);
        assert_eq!(taskhash("00", &[], &[], None), sha256("00"));
    }
}
