//! `oe.license.check_license_format` of openembedded-core, for licenses there is nothing to say about.
//!
//! It runs in every recipe and parses the same few expressions again and again. What is done here is its way through a recipe
//! whose licenses are SPDX identifiers, not deprecated, joined by `AND`, `OR` and brackets; all others are Python's.

use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashSet;
use sha2::{Digest as _, Sha256};

use super::Stop;
use super::object::Object;
use super::run::{Machine, Outcome};
use crate::Text;

/// The modules that are done here, below the library's directory, with the SHA-256 of their texts.
const MODULES: [(&str, &str); 2] = [
    ("oe/license.py", "a4f8cce907ebf197c5435dc7f55076f8ff6678ebaaa3d2fce1f1bc357e8a5b88"),
    ("oe/spdx_license.py", "8a8c452988effb6484324f52b2debdcfa306324b26386cf2f08a73c9af9dd463"),
];
/// Expressions nested deeper are Python's.
const DEEPEST: u32 = 20;

/// The identifiers that need no comment, in lower case.
pub(super) type Licenses = FxHashSet<Text>;

/// Reads the identifiers, where the library is the one that is done here.
pub(super) fn read(directories: &[Text]) -> Option<Licenses> {
    let [directory] = directories else { return None };
    let directory = Path::new(&**directory);
    for (module, digest) in MODULES {
        let text = std::fs::read(directory.join(module)).ok()?;
        if hex::encode(Sha256::digest(text)) != digest {
            return None;
        }
    }
    let list = std::fs::read(directory.parent()?.join("files/spdx-licenses.json")).ok()?;
    let list: serde_json::Value = serde_json::from_slice(&list).ok()?;
    let good = list["licenses"].as_array()?.iter().filter(|license| license["isDeprecatedLicenseId"] == false);
    Some(good.filter_map(|license| license["licenseId"].as_str()).map(|id| id.to_lowercase().into()).collect())
}

/// Whether an expression is one that needs no comment.
fn is_plain(licenses: &Licenses, expression: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b" ().+-".contains(&byte);
    if !expression.bytes().all(known) {
        return false;
    }
    let spaced = expression.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut operand) = (0, false);
    for word in spaced.split(' ').filter(|word| !word.is_empty()) {
        operand = match (word, operand) {
            ("(", false) if depth < DEEPEST => {
                depth += 1;
                false
            }
            (")", true) if depth > 0 => {
                depth -= 1;
                true
            }
            ("AND" | "OR", true) => false,
            (word, false) if licenses.contains(&*word.to_ascii_lowercase()) => true,
            _ => return false,
        };
    }
    operand && depth == 0
}

impl Machine<'_> {
    /// The function itself.
    pub(super) fn check_license_format(&mut self, store: usize) -> Outcome {
        let licenses = Arc::clone(&self.session.shared).functions.licenses(&self.session.library_directories());
        let licenses = licenses.ok_or(Stop::Python)?;
        self.get(store, &"PN".into(), true)?;
        let Object::Str(packages) = self.get(store, &"PACKAGES".into(), true)? else { return Err(Stop::Python) };
        let packages = super::super::native::words(&packages).ok_or(Stop::Python)?;
        for var in std::iter::once("LICENSE".into()).chain(packages.map(|package| format!("LICENSE:{package}"))) {
            match self.get(store, &var.into(), true)? {
                Object::None => {}
                Object::Str(text) if text.is_empty() || *text == *"INVALID" || is_plain(&licenses, &text) => {}
                _ => return Err(Stop::Python),
            }
        }
        Ok(Object::None)
    }
}

#[cfg(test)]
mod tests {
    use super::{Licenses, is_plain};

    #[test]
    fn only_expressions_without_doubt_are_plain() {
        let licenses: Licenses = ["mit", "gpl-2.0-only", "bsd-3-clause"].into_iter().map(Into::into).collect();
        for plain in ["MIT", "GPL-2.0-only AND MIT", "(MIT OR bsd-3-clause) AND GPL-2.0-only", "((MIT))"] {
            assert!(is_plain(&licenses, plain), "{plain}");
        }
        for odd in ["", "MIT MIT", "MIT AND", "(MIT", "MIT)", "MIT & MIT", "MIT and MIT", "GPLv2", "MIT\n", "AND", "()"]
        {
            assert!(!is_plain(&licenses, odd), "{odd}");
        }
    }
}
