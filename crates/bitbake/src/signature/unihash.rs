//! Unified hashes: what stands for a task's hash where an equal output is known to come of other inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Whatever knows unified hashes: a hash equivalence server, or its database.
pub trait Equivalences {
    /// The unified hash of each (method, taskhash), where there is one, in their order.
    ///
    /// # Errors
    ///
    /// Why nothing can be asked, in words.
    fn unihashes(&mut self, queries: &[(&str, &str)]) -> Result<Vec<Option<String>>, String>;

    /// Its address, for messages.
    fn address(&self) -> &str;
}

/// The unified hash that each task had when it was last looked up: as long as its taskhash is the same, it is not asked for again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnihashCache {
    /// `MULTICONFIG:RECIPE:TASK` → taskhash and unified hash.
    entries: BTreeMap<String, (String, String)>,
}

impl UnihashCache {
    fn key(multiconfig: &str, recipe: &str, task: &str) -> String {
        format!("{multiconfig}:{recipe}:{task}")
    }

    /// The unified hash of a task, if it still has that taskhash.
    pub fn get(&self, multiconfig: &str, recipe: &str, task: &str, taskhash: &str) -> Option<&str> {
        let (known, unihash) = self.entries.get(&Self::key(multiconfig, recipe, task))?;
        (known == taskhash).then_some(unihash)
    }

    /// Those that are another than the taskhash: worth keeping, while for the others an equivalent may become known.
    #[must_use]
    pub fn equivalents(&self) -> Self {
        let other = self.entries.iter().filter(|(_, (taskhash, unihash))| taskhash != unihash);
        Self { entries: other.map(|(key, hashes)| (key.clone(), hashes.clone())).collect() }
    }

    /// Remembers a task's unified hash.
    pub fn set(&mut self, multiconfig: &str, recipe: &str, task: &str, taskhash: &str, unihash: &str) {
        self.entries.insert(Self::key(multiconfig, recipe, task), (taskhash.to_owned(), unihash.to_owned()));
    }
}

/// Whether a text is a unified hash: 64 hexadecimal digits in lower case.
pub fn is_unihash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
