//! One recipe with all its variants.

use std::io::Read as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fact::Hash;
use crate::Sym;
use crate::config::RecipeFile;
use crate::recipe::RecipeInfo;

/// Compression of what is kept: speed counts.
const LEVEL: i32 = 1;
/// A recipe whose variants unpack to more than this is not believed.
const LARGEST: u64 = 256 << 20;

/// What a recipe came to, and what that depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The recipe and its place.
    pub(crate) file: RecipeFile,
    /// What was looked at, by the numbers of facts.
    pub(crate) facts: Vec<u32>,
    /// Variables of the configuration that do not last, with digests of their values; `None` for one that was not set.
    pub(crate) settings: Vec<(Sym, Option<Hash>)>,
    /// What was logged: level, text.
    pub(crate) messages: Vec<(i64, String)>,
    /// Its variants, packed.
    infos: Vec<u8>,
    /// A row of each variant, packed, if somebody asked for them.
    rows: Option<Vec<u8>>,
}

fn pack<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    zstd::encode_all(postcard::to_stdvec(value).ok()?.as_slice(), LEVEL).ok()
}

fn unpack<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    let mut text = Vec::new();
    zstd::stream::Decoder::new(bytes).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
    postcard::from_bytes(&text).ok()
}

impl Entry {
    /// An entry whose dependencies are to be filled in; `None` where it cannot be kept.
    pub(crate) fn new(
        file: RecipeFile,
        infos: &[Arc<RecipeInfo>],
        rows: Option<&Vec<String>>,
        messages: Vec<(i64, String)>,
    ) -> Option<Self> {
        let infos = pack(&infos)?;
        let rows = rows.map(pack);
        if rows == Some(None) {
            return None;
        }
        Some(Self { file, facts: Vec::new(), settings: Vec::new(), messages, infos, rows: rows.flatten() })
    }

    pub(crate) fn infos(&self) -> Option<Vec<Arc<RecipeInfo>>> {
        unpack(&self.infos)
    }

    pub(crate) fn rows(&self) -> Option<Vec<String>> {
        unpack(self.rows.as_ref()?)
    }
}
