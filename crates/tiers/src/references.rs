//! Every blob that a result needs.

use std::collections::HashSet;

use buildnet_digest::{Digest, DigestFunction, reapi};
use prost::Message;

use crate::error::{BackendError, Failure};

/// Most blobs that one result may name, its trees included.
const MAX_BLOBS: usize = 1 << 20;

/// The blobs that a result names itself, by what must be done with them.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// Contents.
    pub(crate) blobs: Vec<Digest>,
    /// `Tree` messages, which name further blobs.
    pub(crate) trees: Vec<Digest>,
    /// `Directory` messages, which name further blobs and directories.
    pub(crate) directories: Vec<Digest>,
}

impl References {
    pub(crate) fn of(function: DigestFunction, result: &reapi::ActionResult) -> Result<Self, BackendError> {
        let parse = |digest: &reapi::Digest| parse(function, digest);
        let files = result.output_files.iter().filter_map(|file| file.digest.as_ref());
        let files = files.chain(&result.stdout_digest).chain(&result.stderr_digest);
        let trees = result.output_directories.iter().filter_map(|directory| directory.tree_digest.as_ref());
        let roots = result.output_directories.iter().filter_map(|directory| directory.root_directory_digest.as_ref());
        Ok(Self {
            blobs: files.map(parse).collect::<Result<_, _>>()?,
            trees: trees.map(parse).collect::<Result<_, _>>()?,
            directories: roots.map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// Adds what a `Tree` names.
    pub(crate) fn add_tree(&mut self, function: DigestFunction, bytes: &[u8]) -> Result<(), BackendError> {
        let tree = reapi::Tree::decode(bytes).map_err(|error| damaged(&format!("a tree is damaged: {error}")))?;
        for directory in tree.root.iter().chain(&tree.children) {
            self.add_files(function, directory)?;
        }
        Ok(())
    }

    /// Adds what a `Directory` names; returns its subdirectories.
    pub(crate) fn add_directory(
        &mut self,
        function: DigestFunction,
        bytes: &[u8],
    ) -> Result<Vec<Digest>, BackendError> {
        let directory =
            reapi::Directory::decode(bytes).map_err(|error| damaged(&format!("a directory is damaged: {error}")))?;
        self.add_files(function, &directory)?;
        let children = directory.directories.iter().filter_map(|child| child.digest.as_ref());
        children.map(|digest| parse(function, digest)).collect()
    }

    fn add_files(&mut self, function: DigestFunction, directory: &reapi::Directory) -> Result<(), BackendError> {
        for digest in directory.files.iter().filter_map(|file| file.digest.as_ref()) {
            self.blobs.push(parse(function, digest)?);
        }
        if self.blobs.len() > MAX_BLOBS {
            return Err(BackendError::new(Failure::Refused, format!("a result names more than {MAX_BLOBS} blobs")));
        }
        Ok(())
    }
}

/// Each digest once, without empty blobs, which are everywhere.
pub(crate) fn distinct(digests: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
    let mut seen = HashSet::new();
    digests.into_iter().filter(|digest| digest.size() > 0 && seen.insert(*digest)).collect()
}

fn parse(function: DigestFunction, digest: &reapi::Digest) -> Result<Digest, BackendError> {
    Digest::from_reapi(function, digest).map_err(|error| damaged(&format!("a result names no digest: {error}")))
}

fn damaged(what: &str) -> BackendError {
    BackendError::new(Failure::Damaged, what)
}
