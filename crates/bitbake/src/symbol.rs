//! Interned names.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use rustc_hash::FxBuildHasher;

/// A name (variable, flag, override, task), interned for the life of the process.
///
/// Metadata uses some ten thousand names again and again, in every recipe; a symbol is four bytes and compares as an integer.
/// `Ord` is the order of interning, which means nothing: sort by [`Sym::as_str`] where order shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sym(u32);

/// Locks are per shard, so that two parsing threads seldom wait for each other.
const SHARDS: usize = 16;
/// Names are in chunks of growing size (the n-th holds `FIRST << n`), which never move: reading a name takes no lock.
const FIRST: usize = 4096;
const CHUNKS: usize = 20;

type Shard = RwLock<HashMap<&'static str, u32, FxBuildHasher>>;

static IDS: LazyLock<[Shard; SHARDS]> = LazyLock::new(|| std::array::from_fn(|_| Shard::default()));
/// So many names a thread keeps near: those of the configuration and of some recipes.
const MET: usize = 1 << 15;

thread_local! {
    /// The names this thread has met: most look-ups end here, where they wait for nobody.
    static NEAR: RefCell<HashMap<&'static str, Sym, FxBuildHasher>> = RefCell::default();
}

static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
static NAMES: [OnceLock<Box<[OnceLock<&'static str>]>>; CHUNKS] = [const { OnceLock::new() }; CHUNKS];

impl Sym {
    /// The symbol of a name.
    ///
    /// # Panics
    ///
    /// After four thousand million names.
    pub fn new(name: &str) -> Self {
        if let Some(sym) = Self::find(name) {
            return sym;
        }
        let mut shard = shard(name).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = shard.get(name) {
            return Self(id);
        }
        let id = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Names live as long as the process: the same metadata names come back on every parse.
        let name: &'static str = Box::leak(name.into());
        let (chunk, at) = place(id);
        let slots = NAMES
            .get(chunk)
            .expect("fewer than 2^32 names")
            .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(FIRST << chunk).collect());
        slots[at].set(name).expect("an id is given out once");
        shard.insert(name, id);
        Self(id)
    }

    /// The symbol of a name that is already interned. A name that is not cannot be a key of any datastore.
    pub fn find(name: &str) -> Option<Self> {
        NEAR.with_borrow_mut(|near| {
            if let Some(known) = near.get(name) {
                return Some(*known);
            }
            let found = shard(name).read().unwrap_or_else(PoisonError::into_inner).get(name).copied().map(Self)?;
            if near.len() >= MET {
                near.clear();
            }
            near.insert(found.as_str(), found);
            Some(found)
        })
    }

    /// Its place in the order of interning: for tables by symbol.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The name.
    ///
    /// # Panics
    ///
    /// Never: a symbol exists only once its name is stored.
    pub fn as_str(self) -> &'static str {
        let (chunk, at) = place(self.0);
        NAMES[chunk]
            .get()
            .and_then(|slots| slots[at].get())
            .expect("a symbol's name is stored before the symbol exists")
    }
}

fn shard(name: &str) -> &'static Shard {
    let hash = FxBuildHasher.hash_one(name);
    &IDS[(hash >> 32) as usize % SHARDS]
}

/// The chunk and the index in it of an id.
fn place(id: u32) -> (usize, usize) {
    let n = id as usize / FIRST + 1;
    let chunk = n.ilog2() as usize;
    (chunk, id as usize - FIRST * ((1 << chunk) - 1))
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

impl serde::Serialize for Sym {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Sym {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl serde::de::Visitor<'_> for Name {
            type Value = Sym;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Sym, E> {
                Ok(Sym::new(name))
            }
        }
        from.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNKS, FIRST, Sym, place};

    #[test]
    fn one_name_is_one_symbol() {
        assert_eq!(Sym::new("WORKDIR"), Sym::new("WORKDIR"));
        assert_ne!(Sym::new("WORKDIR"), Sym::new("WORKDI"));
        assert_eq!(Sym::new("WORKDIR").as_str(), "WORKDIR");
        assert_eq!(Sym::find("a name nobody interned"), None);
    }

    #[test]
    fn chunks_follow_each_other() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(4095), (0, 4095));
        assert_eq!(place(4096), (1, 0));
        assert_eq!(place(3 * 4096), (2, 0));
        let (chunk, at) = place(u32::MAX - 4096);
        assert!(chunk <= CHUNKS && at < FIRST << chunk);
    }
}
