//! Running code: what it asks, what it is told, and what it is told in advance.
//!
//! A message to Python and back costs more than most answers are worth. So Python gets a script along with the code: the answers it
//! will probably ask for, as far as they can be known now. It takes them in order, without a message, as long as it asks exactly
//! that; writes it collects until it needs an answer that is not in the script, or is done.

use std::sync::Arc;

use super::local::Run;
use super::memo::{Answer, Key, Node, Outcome, Request, Step, Tree, is_fickle, is_random, is_read};
use super::session::{Session, raised};
use crate::data::Store;
use crate::error::{Error, Result};
use crate::persist::Seen;
use crate::{Sym, Text, Value};

/// So many answers are given in advance at most.
const SCRIPT: usize = 400;
/// So many of them may be guesses from single steps, which may go round in circles.
const GUESSES: usize = 24;

/// Code to run.
pub(super) struct Code<'a> {
    /// Its text: the same text does the same.
    pub(super) text: Text,
    /// What to call it in errors.
    pub(super) what: &'a str,
    /// What an event handler's event is made of.
    pub(super) arguments: Arc<Vec<Value>>,
}

/// A conversation with running code.
pub(super) struct Conversation {
    /// The datastores it may name; the first is its own.
    handles: Vec<u32>,
    pub(super) arguments: Arc<Vec<Value>>,
    trace: Vec<(Request, Answer)>,
    script: Vec<(Request, Answer)>,
    /// Where in the tree of known conversations it is, or would be if the last answer were the usual one.
    at: Option<Arc<Node>>,
    /// The recipe's name, where it is known.
    name: Option<Text>,
    /// The conversations of this code so far.
    tree: Option<Arc<Tree>>,
    /// Whether what it does can be remembered.
    sound: bool,
    /// What it looked at outside its datastores.
    seen: Arc<[Seen]>,
    /// So many requests at the start of the script were carried out already.
    done: usize,
}

impl Session {
    /// Runs code against a store, or does what it did the last time it was told the same.
    pub(super) fn execute(
        &mut self,
        store: &mut Store,
        code: &Code<'_>,
        kind: &str,
        rest: Vec<Value>,
    ) -> Result<Value> {
        if is_random(&code.text) {
            self.seen.insert(Seen::fickle(code.what));
        }
        let tree = (!is_fickle(&code.text)).then(|| self.shared.memory.tree(self.key(store, &code.text)));
        if store.handle == 0 {
            self.next_handle += 1;
            store.handle = self.next_handle;
        }
        let handle = store.handle;
        let functions = Arc::clone(&store.functions);
        self.stores.insert(handle, std::mem::take(store));
        self.open.push(Conversation {
            handles: vec![handle],
            arguments: Arc::clone(&code.arguments),
            trace: Vec::new(),
            script: Vec::new(),
            at: None,
            name: None,
            tree: tree.clone(),
            sound: tree.is_some(),
            seen: Arc::default(),
            done: 0,
        });
        let before = if self.check_native { self.stores.get(&handle).cloned() } else { None };
        let known = match self.run_locally(&functions, code, kind) {
            Run::Done(outcome) => {
                self.evaluations.native += 1;
                Some(outcome)
            }
            Run::Nothing => tree.as_ref().filter(|_| before.is_none()).and_then(|tree| self.recall(tree)),
            Run::Part => None,
        };
        if let (Some(before), Some(known), Some(_)) = (before, &known, &tree) {
            let result = self.compare_with_python(code, kind, rest, before, known);
            self.open.pop();
            if let Some(back) = self.stores.remove(&handle) {
                *store = back;
            }
            return result;
        }
        let result = match known {
            Some(Outcome::Value(value)) => Ok(value),
            Some(Outcome::Skip(reason)) => Err(Error::Skip(reason)),
            None => {
                self.evaluations.python += 1;
                self.run_python(code, kind, rest, tree.as_deref())
            }
        };
        let conversation = self.open.pop();
        if let Some(back) = self.stores.remove(&handle) {
            *store = back;
        }
        // Copies that only a remembered conversation made have no owner in Python.
        if let Some(conversation) = conversation
            && conversation.at.is_none()
        {
            for copy in &conversation.handles[1..] {
                self.stores.remove(copy);
            }
        }
        result
    }

    /// Has Python run what was just run without it, against the store as it was before, and compares what both asked, were told,
    /// wrote and came to.
    fn compare_with_python(
        &mut self,
        code: &Code<'_>,
        kind: &str,
        rest: Vec<Value>,
        before: Store,
        known: &Outcome,
    ) -> Result<Value> {
        let conversation = self.current();
        let trace = std::mem::take(&mut conversation.trace);
        conversation.handles.truncate(1);
        let handle = conversation.handles[0];
        self.stores.insert(handle, before);
        let result = self.run_python(code, kind, rest, None);
        let (ours, theirs) = (format!("{trace:?}"), format!("{:?}", self.current().trace));
        let same_end = match (&result, known) {
            (Ok(value), Outcome::Value(known)) => value == known,
            (Err(Error::Skip(reason)), Outcome::Skip(known)) => reason == known,
            _ => false,
        };
        if !same_end || ours != theirs {
            self.evaluations.different += 1;
            let at = ours.bytes().zip(theirs.bytes()).take_while(|(ours, theirs)| ours == theirs).count();
            let part = |text: &str| text.chars().skip(at.saturating_sub(80)).take(300).collect::<String>();
            let text = format!(
                "{}: without Python {known:?} after …{}, with it {result:?} after …{}",
                code.what,
                part(&ours),
                part(&theirs)
            );
            self.messages.push(super::session::Message { level: 40, text });
        }
        result
    }

    /// A request that concerns no store and is not worth remembering.
    pub(super) fn request(&mut self, mut request: Vec<Value>, what: &str) -> Result<Value> {
        let tag = request.remove(0);
        self.open.push(Conversation {
            handles: Vec::new(),
            arguments: Arc::default(),
            trace: Vec::new(),
            script: Vec::new(),
            at: None,
            name: None,
            tree: None,
            sound: false,
            seen: Arc::default(),
            done: 0,
        });
        let mut message = vec![tag, Value::List(Arc::default())];
        message.append(&mut request);
        let result = self.converse(message, what);
        self.open.pop();
        result
    }

    /// The text, and the metadata's functions that it reaches.
    fn key(&self, store: &Store, text: &Text) -> Key {
        let mut reached: Vec<(Sym, u64)> = Vec::new();
        let mut waiting = vec![self.shared.memory.names(text)];
        while let Some(names) = waiting.pop() {
            for name in names.iter() {
                if let Some(definition) = store.functions.get(name)
                    && !reached.iter().any(|(known, _)| known == name)
                {
                    reached.push((*name, definition.digest));
                    waiting.push(self.shared.memory.names(&definition.text));
                }
            }
        }
        reached.sort_unstable();
        (Text::clone(text), reached)
    }

    /// Carries out a request of code that runs here, and remembers it.
    pub(super) fn perform_noted(&mut self, request: Vec<Value>) -> Answer {
        let request = Arc::new(request);
        let answer = self.perform(&request);
        self.current().trace.push((request, answer.clone()));
        answer
    }

    /// How far the conversation is.
    pub(super) fn said(&self) -> (usize, usize) {
        self.open.last().map_or((0, 0), |open| (open.trace.len(), open.handles.len()))
    }

    /// Forgets what was asked since; false where that made a datastore.
    pub(super) fn unsay(&mut self, (requests, stores): (usize, usize)) -> bool {
        let conversation = self.current();
        conversation.trace.truncate(requests);
        conversation.handles.len() == stores
    }

    /// Calls a library's function in Python, as part of the conversation of code that runs here.
    ///
    /// Each argument is a tuple: `d` alone for the conversation's own datastore, or `v` and a value.
    pub(super) fn call_in_python(&mut self, path: &str, arguments: Vec<Value>) -> Result<Value> {
        let arguments = Value::List(Arc::new(arguments));
        let text: Text = format!("{path}{arguments}").into();
        let conversation = self.current();
        // What is remembered of the function numbers its datastores from its own on.
        if conversation.handles.len() != 1 {
            return Err(Error::Worker(format!("{path} is called with several datastores")));
        }
        let sound = !is_fickle(&self.shared.library_source(path).unwrap_or_default());
        let tree = self.shared.memory.tree((Text::clone(&text), Vec::new()));
        let conversation = self.current();
        let before = std::mem::take(&mut conversation.trace);
        let outer = (conversation.tree.replace(Arc::clone(&tree)), conversation.sound);
        conversation.sound = true;
        let known = if sound { self.recall(&tree) } else { None };
        let result = match known {
            Some(Outcome::Value(value)) => Ok(value),
            Some(Outcome::Skip(reason)) => Err(Error::Skip(reason)),
            None => {
                let code = Code { text, what: path, arguments: Arc::default() };
                let rest = vec![path.into(), arguments];
                self.run_python(&code, "call", rest, Some(&tree).filter(|_| sound).map(Arc::as_ref))
            }
        };
        let conversation = self.current();
        let complete = conversation.sound;
        (conversation.tree, conversation.sound) = outer;
        conversation.at = None;
        let after = std::mem::replace(&mut conversation.trace, before);
        conversation.trace.extend(after);
        if complete { result } else { Err(Error::Worker(format!("{path} does what cannot be repeated"))) }
    }

    fn current(&mut self) -> &mut Conversation {
        self.open.last_mut().expect("a conversation is open while its code runs")
    }

    /// Walks the tree with the store's answers. The outcome, when the whole conversation is known.
    fn recall(&mut self, tree: &Tree) -> Option<Outcome> {
        let mut node = Arc::clone(&tree.root);
        loop {
            let request = match node.step.get() {
                None => break,
                Some(Step::End(outcome, seen)) => {
                    tree.hit();
                    let outcome = outcome.clone();
                    self.seen.extend(seen.iter().copied());
                    return Some(outcome);
                }
                Some(Step::Ask(request)) => Arc::clone(request),
            };
            let answer = self.perform(&request);
            let known = answer.key().and_then(|key| node.after(&key));
            let usual = node.expected();
            self.current().trace.push((request, answer));
            if let Some(next) = known {
                node = next;
            } else {
                node = usual.unwrap_or_default();
                break;
            }
        }
        self.current().at = Some(node);
        None
    }

    fn run_python(&mut self, code: &Code<'_>, kind: &str, rest: Vec<Value>, tree: Option<&Tree>) -> Result<Value> {
        let handle = self.current().handles[0];
        let Some(store) = self.stores.remove(&handle) else { return Err(Error::Worker("a datastore is gone".into())) };
        let functions = self.missing_functions(&store);
        self.stores.insert(handle, store);
        let so_far = std::mem::take(&mut self.current().trace);
        self.current().done = so_far.len();
        // An expression may be part of the name itself; a function is not.
        if kind != "eval" {
            let name = store_name(self, handle);
            self.current().name = name;
        }
        let last = so_far.last().map(|(request, _)| Arc::clone(request));
        let script = self.script(so_far, last);
        let mut message = vec![kind.into(), script, Value::Int(handle.into()), functions];
        message.extend(rest);
        let result = self.converse(message, code.what);
        let conversation = self.current();
        // From here on Python owns the copies.
        conversation.at.get_or_insert_default();
        let outcome = match &result {
            Ok(value) => Some(Outcome::Value(value.clone())),
            Err(Error::Skip(reason)) => Some(Outcome::Skip(reason.clone())),
            Err(_) => None,
        };
        if let Some(tree) = tree {
            let outcome = outcome.filter(|_| conversation.sound);
            tree.learn(&conversation.trace, outcome, &conversation.seen, conversation.name.as_deref());
        }
        result
    }

    /// Answers in advance: those given so far, and those that usually come next, up to the next write.
    fn script(&mut self, so_far: Vec<(Request, Answer)>, mut last: Option<Request>) -> Value {
        let mut script = so_far;
        let mut at = self.current().at.clone();
        let (tree, name) = (self.current().tree.clone(), self.current().name.clone());
        for ahead in 0..SCRIPT {
            // Where the conversation is known, it says what comes; else what came after the last request before.
            let next = match at.as_ref().and_then(|node| node.step.get()) {
                Some(Step::Ask(request)) => Some(Arc::clone(request)),
                None if ahead < GUESSES => {
                    last.as_ref().and_then(|last| tree.as_ref()?.usually_after(last, name.as_deref()))
                }
                Some(Step::End(..)) | None => None,
            };
            let Some(request) = next else { break };
            let operation = request.first().and_then(Value::as_str).unwrap_or_default();
            if !is_read(operation) || !self.knows_stores(&request) {
                break;
            }
            let answer = self.perform(&request);
            if matches!(answer, Answer::Refused(..)) {
                break;
            }
            at = at
                .filter(|node| node.step.get().is_some())
                .and_then(|node| answer.key().and_then(|key| node.after(&key)).or_else(|| node.expected()));
            last = Some(Arc::clone(&request));
            script.push((request, answer));
        }
        let rows = script.iter().map(|(request, answer)| self.script_row(request, answer)).collect();
        self.current().script = script;
        Value::List(Arc::new(rows))
    }

    fn script_row(&self, request: &Request, answer: &Answer) -> Value {
        let request = Value::Tuple(Arc::new(self.with_handles(request)));
        Value::Tuple(Arc::new(vec![request, Value::Tuple(Arc::new(self.answer_parts(answer)))]))
    }

    fn answer_parts(&self, answer: &Answer) -> Vec<Value> {
        match answer {
            Answer::Value(value) => vec!["v".into(), value.clone()],
            Answer::Store(number) => {
                let handle = self.open.last().and_then(|open| open.handles.get(*number)).copied().unwrap_or_default();
                vec!["v".into(), Value::Int(handle.into())]
            }
            Answer::Refused(kind, text) => vec!["x".into(), (*kind).into(), text.as_str().into()],
        }
    }

    fn knows_stores(&self, request: &Request) -> bool {
        let known = self.open.last().map_or(0, |open| open.handles.len());
        !matches!(request.get(1), Some(Value::Int(number)) if usize::try_from(*number).is_ok_and(|number| number >= known))
    }

    /// A request with the handles that Python knows, instead of numbers in the conversation.
    fn with_handles(&self, request: &Request) -> Vec<Value> {
        let mut parts = request.to_vec();
        if names_store(&parts)
            && let Some(Value::Int(number)) = parts.get(1)
            && let Some(handle) = usize::try_from(*number).ok().and_then(|at| self.open.last()?.handles.get(at))
        {
            parts[1] = Value::Int((*handle).into());
        }
        parts
    }

    /// Carries out a request that names stores by their number in the conversation.
    fn perform(&mut self, request: &Request) -> Answer {
        let parts = self.with_handles(request);
        let operation = parts.first().and_then(Value::as_str);
        let makes_store = matches!(operation, Some("copy" | "new" | "origenv"));
        if operation == Some("recipe") {
            // Makes any number of stores, which have no number in the conversation.
            self.current().sound = false;
        }
        match self.serve(&parts) {
            Ok(Value::Int(handle)) if makes_store => {
                let conversation = self.current();
                conversation.handles.push(u32::try_from(handle).unwrap_or_default());
                Answer::Store(conversation.handles.len() - 1)
            }
            Ok(value) => Answer::Value(value),
            Err(error) => refused(&error),
        }
    }

    /// A request as Python sent it, with numbers in the conversation instead of handles.
    fn numbered(&mut self, parts: &[Value]) -> Request {
        let mut parts = parts.to_vec();
        if names_store(&parts)
            && let Some(Value::Int(handle)) = parts.get(1)
        {
            let handle = u32::try_from(*handle).unwrap_or_default();
            let conversation = self.current();
            let number = conversation.handles.iter().position(|known| *known == handle).unwrap_or_else(|| {
                // A store from elsewhere: what it says depends on more than this conversation.
                conversation.sound = false;
                conversation.handles.push(handle);
                conversation.handles.len() - 1
            });
            parts[1] = Value::Int(i64::try_from(number).unwrap_or_default());
        }
        Arc::new(parts)
    }

    fn note(&mut self, request: Request, answer: Answer) {
        let conversation = self.current();
        if let Some(node) = conversation.at.take() {
            let expected = matches!(node.step.get(), Some(Step::Ask(known)) if *known == request);
            if expected {
                conversation.at = answer.key().and_then(|key| node.after(&key)).or_else(|| node.expected());
            }
        }
        if conversation.sound {
            conversation.trace.push((request, answer));
        }
    }

    /// What Python did since its last message: answers taken from the script, then writes.
    fn catch_up(&mut self, taken: Option<&Value>, writes: Option<&Value>) -> Option<Answer> {
        let taken = match taken {
            Some(Value::Int(taken)) => usize::try_from(*taken).unwrap_or_default(),
            _ => 0,
        };
        let mut script = std::mem::take(&mut self.current().script);
        let done = std::mem::take(&mut self.current().done);
        let repeated = script
            .iter()
            .take(done)
            .skip(taken)
            .any(|(request, _)| !is_read(request.first().and_then(Value::as_str).unwrap_or_default()));
        script.truncate(taken);
        if self.current().sound {
            self.current().trace.extend(script);
        }
        // Python does not do what was done in its name: nothing that comes now can be right.
        let mut refusal =
            repeated.then(|| Answer::Refused("fatal", "Python disagrees with what was run without it".into()));
        if let Some(Value::List(writes)) = writes {
            for write in writes.iter() {
                let Value::Tuple(parts) = write else { continue };
                let request = self.numbered(parts);
                let answer = self.perform(&request);
                if matches!(answer, Answer::Refused(..)) && refusal.is_none() {
                    refusal = Some(answer.clone());
                    // Python hears of it only with its next question.
                    self.current().sound = false;
                }
                self.note(request, answer);
            }
        }
        refusal
    }

    /// Keeps what running code looked at outside its datastores.
    fn looked_at(&mut self, rows: Option<&Value>) {
        let Some(Value::List(rows)) = rows else { return };
        let seen: Arc<[Seen]> = rows.iter().filter_map(Seen::told).collect();
        self.seen.extend(seen.iter().copied());
        self.current().seen = seen;
    }

    /// Sends a request and answers what is asked until its result is there.
    fn converse(&mut self, message: Vec<Value>, what: &str) -> Result<Value> {
        self.worker()?;
        self.send(&Value::Tuple(Arc::new(message)))?;
        loop {
            let message = self.receive().map_err(|error| match error {
                Error::TimeLimit { seconds, what: inner } if inner.is_empty() => {
                    Error::TimeLimit { seconds, what: what.to_owned() }
                }
                other => other,
            })?;
            let Value::Tuple(parts) = &message else { return Err(Error::Worker("a message is not a tuple".into())) };
            match parts.first().and_then(Value::as_str) {
                Some("r") => {
                    let refusal = self.catch_up(parts.get(1), parts.get(2));
                    self.bury(parts.get(3));
                    self.looked_at(parts.get(5));
                    return match refusal {
                        Some(Answer::Refused("skip", reason)) => Err(Error::Skip(reason)),
                        Some(Answer::Refused(_, text)) => Err(Error::Fatal(text)),
                        _ => Ok(parts.get(4).cloned().unwrap_or(Value::None)),
                    };
                }
                Some("e") => {
                    self.catch_up(parts.get(1), parts.get(2));
                    self.bury(parts.get(3));
                    self.looked_at(parts.get(7));
                    return Err(raised(&parts[3..], what));
                }
                Some("c") => {
                    let refusal = self.catch_up(parts.get(1), parts.get(2));
                    let request = self.numbered(&parts[3..]);
                    let answer = if let Some(refusal) = refusal {
                        refusal
                    } else {
                        let answer = self.perform(&request);
                        self.note(Arc::clone(&request), answer.clone());
                        answer
                    };
                    let mut reply = self.answer_parts(&answer);
                    let script = self.script(Vec::new(), Some(request));
                    reply.push(script);
                    self.send(&Value::Tuple(Arc::new(reply)))?;
                }
                _ => return Err(Error::Worker("a message of an unknown kind".into())),
            }
        }
    }
}

/// `PN`, where it is long enough to be told from other text.
fn store_name(session: &mut Session, handle: u32) -> Option<Text> {
    let mut store = session.stores.remove(&handle)?;
    let name = store.get_text(session, "PN").ok().flatten();
    session.stores.insert(handle, store);
    name.filter(|name| name.len() > 2)
}

fn names_store(parts: &[Value]) -> bool {
    !matches!(parts.first().and_then(Value::as_str), Some("log" | "new" | "origenv" | "arguments"))
}

fn refused(error: &Error) -> Answer {
    match error {
        Error::Skip(reason) => Answer::Refused("skip", reason.clone()),
        Error::Expansion { .. } => Answer::Refused("expansion", error.to_string()),
        Error::Parse { .. } => Answer::Refused("parse", error.to_string()),
        _ => Answer::Refused("fatal", error.to_string()),
    }
}
