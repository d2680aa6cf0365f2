//! Which blobs an action result names.

use buildnet_digest::{Digest, ParseDigestError, reapi};

/// The blobs that an action result names itself, by what must be done with them.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// Blobs that only must be present.
    pub(crate) blobs: Vec<Digest>,
    /// `Tree` messages, whose files must be present too.
    pub(crate) trees: Vec<Digest>,
    /// Root `Directory` messages, whose files and subdirectories must be present too.
    pub(crate) directories: Vec<Digest>,
}

impl References {
    /// Of an action whose digests use the function of `action`, as REAPI requires.
    pub(crate) fn of(action: &Digest, result: &reapi::ActionResult) -> Result<Self, ParseDigestError> {
        let function = action.function();
        let mut references = Self::default();
        let files = result.output_files.iter().filter_map(|file| file.digest.as_ref());
        for digest in files.chain(&result.stdout_digest).chain(&result.stderr_digest) {
            references.blobs.push(Digest::from_reapi(function, digest)?);
        }
        for directory in &result.output_directories {
            if let Some(tree) = &directory.tree_digest {
                references.trees.push(Digest::from_reapi(function, tree)?);
            }
            if let Some(root) = &directory.root_directory_digest {
                references.directories.push(Digest::from_reapi(function, root)?);
            }
        }
        Ok(references)
    }
}

/// The files of all directories of a `Tree`. Directories are part of the message and need no blobs of their own.
pub(crate) fn files_of_tree(tree: &Digest, message: &reapi::Tree) -> Result<Vec<Digest>, ParseDigestError> {
    let directories = message.root.iter().chain(&message.children);
    let files = directories.flat_map(|directory| &directory.files);
    files.filter_map(|file| file.digest.as_ref()).map(|digest| Digest::from_reapi(tree.function(), digest)).collect()
}
