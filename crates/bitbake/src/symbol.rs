//! Interned names.

use std::collections::HashMap;
use std::fmt;
use std::sync::{LazyLock, RwLock};

/// A name (variable, flag, override, task), interned for the life of the process.
///
/// Metadata uses some ten thousand names again and again, in every recipe; a symbol is four bytes and compares as an integer.
/// `Ord` is the order of interning, which means nothing: sort by [`Sym::as_str`] where order shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sym(u32);

#[derive(Default)]
struct Table {
    ids: HashMap<&'static str, u32>,
    names: Vec<&'static str>,
}

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

impl Sym {
    /// The symbol of a name.
    ///
    /// # Panics
    ///
    /// After four thousand million names.
    pub fn new(name: &str) -> Self {
        if let Some(&id) = read().ids.get(name) {
            return Self(id);
        }
        let mut table = TABLE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(&id) = table.ids.get(name) {
            return Self(id);
        }
        let id = u32::try_from(table.names.len()).expect("fewer than 2^32 names");
        // Names live as long as the process: the same metadata names come back on every parse.
        let name: &'static str = Box::leak(name.into());
        table.names.push(name);
        table.ids.insert(name, id);
        Self(id)
    }

    /// The symbol of a name that is already interned. A name that is not cannot be a key of any datastore.
    pub fn find(name: &str) -> Option<Self> {
        read().ids.get(name).copied().map(Self)
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        read().names[self.0 as usize]
    }
}

fn read() -> std::sync::RwLockReadGuard<'static, Table> {
    TABLE.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl fmt::Debug for Sym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Sym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&str> for Sym {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Sym;

    #[test]
    fn one_name_is_one_symbol() {
        assert_eq!(Sym::new("WORKDIR"), Sym::new("WORKDIR"));
        assert_ne!(Sym::new("WORKDIR"), Sym::new("WORKDI"));
        assert_eq!(Sym::new("WORKDIR").as_str(), "WORKDIR");
        assert_eq!(Sym::find("a name nobody interned"), None);
    }
}
