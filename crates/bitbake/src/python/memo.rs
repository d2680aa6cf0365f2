//! Remembering what Python code did.
//!
//! A piece of metadata code is, as far as a parse is concerned, a function of what it asks its datastore. So the conversation is
//! remembered as a tree: a node is what the code asks next (a read, or a write, whose answer is always nothing), its branches are
//! the answers. When the same code runs again, the tree is walked with the store's real answers, and the writes on the way are
//! carried out; only where an answer is new does Python have to run, and then it is told all answers so far at once.
//!
//! This holds for code whose only inputs are its datastore, the file system (which does not change during a parse) and the process.
//! Code that mentions the clock, process numbers or randomness is never remembered.

use std::hash::BuildHasher as _;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::marshal;
use crate::persist::Seen;
use crate::{Sym, Text, Value};

/// Conversations longer than this are not remembered.
pub(super) const LONGEST: usize = 5000;
/// After this many runs a tree must have helped in one of four, or it grows no more.
const TRIAL: u32 = 48;

/// What code asks: the operation and its arguments. A datastore is named by its number in the conversation: 0 is the code's own.
pub(super) type Request = Arc<Vec<Value>>;

/// What it is told.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// A value.
    Value(Value),
    /// A datastore, by its number in the conversation.
    Store(usize),
    /// An exception: its kind and its text.
    Refused(&'static str, String),
}

impl Answer {
    /// A key that is equal exactly for equal answers; `None` where that cannot be told.
    pub(super) fn key(&self) -> Option<Box<[u8]>> {
        let mut bytes = Vec::new();
        match self {
            Self::Value(value) => {
                if holds_object(value) {
                    return None;
                }
                bytes.push(b'v');
                marshal::encode(value, &mut bytes);
            }
            Self::Store(number) => {
                bytes.push(b's');
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            Self::Refused(kind, text) => {
                bytes.push(b'x');
                bytes.extend_from_slice(kind.as_bytes());
                bytes.push(0);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        if bytes.len() > 64 {
            bytes = blake3::hash(&bytes).as_bytes().to_vec();
        }
        Some(bytes.into())
    }
}

fn holds_object(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.iter().any(holds_object),
        Value::Dict(items) => items.iter().any(|(key, value)| holds_object(key) || holds_object(value)),
        _ => false,
    }
}

/// How a conversation ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// With a value.
    Value(Value),
    /// By skipping the recipe.
    Skip(String),
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    /// The code asks.
    Ask(Request),
    /// It has ended, having looked at this on its way.
    End(Outcome, Arc<[Seen]>),
}

/// A point in a conversation.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) step: OnceLock<Step>,
    next: RwLock<FxHashMap<Box<[u8]>, Arc<Node>>>,
    /// Where the first known answer leads: what to expect after an unknown one.
    hint: OnceLock<Arc<Node>>,
}

impl Node {
    /// Where an answer leads, if it was heard before.
    pub(super) fn after(&self, key: &[u8]) -> Option<Arc<Self>> {
        self.next.read().get(key).cloned()
    }

    /// Where the first answer led.
    pub(super) fn expected(&self) -> Option<Arc<Self>> {
        self.hint.get().cloned()
    }

    fn grow(&self, key: Box<[u8]>) -> Arc<Self> {
        let node = Arc::clone(self.next.write().entry(key).or_default());
        // The first one stays; that others come later is no error.
        let _ = self.hint.set(Arc::clone(&node));
        node
    }
}

/// All conversations of one piece of code.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: Arc<Node>,
    uses: Mutex<Uses>,
    /// What was asked after what, the last time: by the hash of the request. A wrong guess costs time only.
    after: RwLock<FxHashMap<u64, Request>>,
}

#[derive(Debug, Default)]
struct Uses {
    hits: u32,
    misses: u32,
}

impl Tree {
    /// What was asked after a request, the last time; of another recipe perhaps, whose name is replaced by this one's.
    pub(super) fn usually_after(&self, request: &Request, name: Option<&str>) -> Option<Request> {
        let next = self.after.read().get(&hash(&rename(request, name, Some(PLACEHOLDER)))).cloned()?;
        Some(rename(&next, Some(PLACEHOLDER), name))
    }

    pub(super) fn hit(&self) {
        self.uses.lock().hits += 1;
    }

    /// Notes a conversation that was new, and remembers it if this code's conversations repeat at all.
    pub(super) fn learn(
        &self,
        trace: &[(Request, Answer)],
        outcome: Option<Outcome>,
        seen: &Arc<[Seen]>,
        name: Option<&str>,
    ) {
        let keep = {
            let mut uses = self.uses.lock();
            uses.misses += 1;
            uses.misses < TRIAL || uses.hits >= uses.misses / 4
        };
        let mut after = self.after.write();
        let mut last = None;
        for (request, _) in trace {
            let request = rename(request, name, Some(PLACEHOLDER));
            if let Some(last) = last.replace(hash(&request)) {
                after.insert(last, request);
            }
        }
        drop(after);
        let Some(outcome) = outcome.filter(|_| keep && trace.len() <= LONGEST) else { return };
        let mut node = Arc::clone(&self.root);
        for (request, answer) in trace {
            let Some(key) = answer.key() else { return };
            let step = node.step.get_or_init(|| Step::Ask(Arc::clone(request)));
            // Code that asks something else after the same answers does not depend on them alone.
            if !matches!(step, Step::Ask(known) if known == request) {
                return;
            }
            node = node.grow(key);
        }
        let _ = node.step.set(Step::End(outcome, Arc::clone(seen)));
    }
}

/// Stands for the recipe's name in requests of any recipe.
const PLACEHOLDER: &str = "\u{1}";

/// The request with one name for another in its texts.
fn rename(request: &Request, old: Option<&str>, new: Option<&str>) -> Request {
    let (Some(old), Some(new)) = (old, new) else { return Arc::clone(request) };
    let holds = |part: &Value| part.as_str().is_some_and(|text| text.contains(old));
    if !request.iter().any(holds) {
        return Arc::clone(request);
    }
    let replaced = |part: &Value| match part.as_str() {
        Some(text) if text.contains(old) => text.replace(old, new).into(),
        _ => part.clone(),
    };
    Arc::new(request.iter().map(replaced).collect())
}

fn hash(request: &Request) -> u64 {
    let mut bytes = Vec::with_capacity(64);
    request.iter().for_each(|part| marshal::encode(part, &mut bytes));
    FxBuildHasher.hash_one(bytes)
}

/// Which conversations are the same code's: its text, and every `def` function it may reach.
pub(super) type Key = (Text, Vec<(Sym, u64)>);

/// The trees of all code.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    trees: RwLock<FxHashMap<Key, Arc<Tree>>>,
    names: RwLock<FxHashMap<Text, Arc<[Sym]>>>,
}

impl Memory {
    /// Forgets every conversation: what code looked at is no longer what it was.
    pub(crate) fn forget(&self) {
        self.trees.write().clear();
    }

    pub(super) fn tree(&self, key: Key) -> Arc<Tree> {
        if let Some(tree) = self.trees.read().get(&key) {
            return Arc::clone(tree);
        }
        Arc::clone(self.trees.write().entry(key).or_default())
    }

    /// The names in a text of code, each once.
    pub(super) fn names(&self, text: &Text) -> Arc<[Sym]> {
        if let Some(names) = self.names.read().get(text) {
            return Arc::clone(names);
        }
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        let mut names: Vec<Sym> = words.map(Sym::new).collect();
        names.sort_unstable();
        names.dedup();
        let names: Arc<[Sym]> = names.into();
        self.names.write().insert(Arc::clone(text), Arc::clone(&names));
        names
    }
}

/// Whether code makes something that is never the same twice, in ways that Python does not tell of.
pub(super) fn is_random(text: &str) -> bool {
    ["random.", "uuid1(", "uuid4(", ".now(", ".utcnow(", ".today("].iter().any(|word| text.contains(word))
}

/// Whether code depends on more than what it asks. Comments, which like to speak of time, do not.
pub(super) fn is_fickle(text: &str) -> bool {
    let words = ["time.", "random", "uuid", "datetime", "subprocess", "bb.process"];
    let speaks = |text: &str| words.iter().any(|word| text.contains(word));
    speaks(text) && text.lines().any(|line| !line.trim_start().starts_with('#') && speaks(line))
}

/// Whether an operation only reads. All others answer nothing.
pub(super) fn is_read(operation: &str) -> bool {
    matches!(
        operation,
        "get"
            | "getflag"
            | "flags"
            | "expand"
            | "refs"
            | "keys"
            | "withflag"
            | "hasoverrides"
            | "overrides"
            | "history"
            | "arguments"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str) -> Request {
        Arc::new(vec!["get".into(), Value::Int(0), name.into()])
    }

    fn told(text: &str) -> Answer {
        Answer::Value(text.into())
    }

    #[test]
    fn a_known_conversation_leads_to_its_end() {
        let tree = Tree::default();
        let trace = [(ask("A"), told("1")), (ask("B"), told("2"))];
        tree.learn(&trace, Some(Outcome::Value("done".into())), &Arc::default(), None);
        let mut node = Arc::clone(&tree.root);
        for (request, answer) in &trace {
            assert!(matches!(node.step.get(), Some(Step::Ask(known)) if known == request));
            node = node.after(&answer.key().expect("text has a key")).expect("the answer is known");
        }
        assert!(matches!(node.step.get(), Some(Step::End(Outcome::Value(Value::Str(text)), _)) if &**text == "done"));
        assert!(tree.root.after(&told("3").key().expect("text has a key")).is_none());
    }

    #[test]
    fn what_comes_next_is_known_for_another_recipe() {
        let tree = Tree::default();
        let trace = [(ask("PACKAGES"), told("zlib")), (ask("FILES:zlib-dev"), told("")), (ask("X"), told(""))];
        tree.learn(&trace, None, &Arc::default(), Some("zlib"));
        assert_eq!(tree.usually_after(&ask("PACKAGES"), Some("bzip2")), Some(ask("FILES:bzip2-dev")));
        assert_eq!(tree.usually_after(&ask("FILES:bzip2-dev"), Some("bzip2")), Some(ask("X")));
        assert_eq!(tree.usually_after(&ask("X"), Some("bzip2")), None);
    }

    #[test]
    fn objects_and_clocks_are_not_remembered() {
        assert!(Answer::Value(Value::List(Arc::new(vec![Value::Object(1)]))).key().is_none());
        assert!(is_fickle("time.strftime('%Y')"));
        assert!(!is_fickle("d.getVar('RUNTIME')"));
        assert!(!is_fickle("# at build time.\nd.getVar('A')"));
        assert!(is_fickle("d.getVar('A') # now\ntime.time()"));
    }
}
