//! What all threads of a parse share: files read once, texts scanned once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use buildnet_digest::stat::Stamp;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::{Error, Place, Result};
use crate::metadata::is_kind;
use crate::python::{Functions, LibraryFunction, Memory, Programs, Session};
use crate::scan::{CallVisitor, Visited};
use crate::syntax::{Dialect, Parsed, parse};
use crate::{CodeRefs, Sym, Text, Value, scan};

/// Files above this size are refused: no metadata file comes near it.
const LARGEST_FILE: u64 = 64 << 20;

/// Shared caches. Each holds pure functions of its keys, or files as they were when first read.
#[derive(Default)]
pub struct Shared {
    files: RwLock<FxHashMap<(Sym, bool), Arc<Parsed>>>,
    exists: RwLock<FxHashMap<Sym, bool>>,
    code: RwLock<FxHashMap<Text, Arc<CodeRefs>>>,
    shell: RwLock<FxHashMap<Text, Arc<BTreeSet<Text>>>>,
    filtered: RwLock<FxHashMap<(Text, Text), Text>>,
    library: RwLock<FxHashMap<Text, Arc<LibraryFunction>>>,
    links: RwLock<FxHashMap<Box<str>, bool>>,
    pub(crate) programs: Programs,
    pub(crate) functions: Functions,
    /// What Python code did so far.
    pub(crate) memory: Memory,
    visiting: RwLock<FxHashSet<Text>>,
    /// Files of metadata as they were read last.
    contents: Mutex<FxHashMap<Sym, (Stamp, [u8; 32])>>,
    /// The environment BuildNet was started with.
    pub(crate) environment: Vec<(String, String)>,
    /// The directory relative paths are meant from.
    pub(crate) directory: PathBuf,
}

impl Shared {
    /// Empty caches.
    pub fn new(environment: Vec<(String, String)>, directory: PathBuf) -> Self {
        Self { environment, directory, ..Self::default() }
    }

    /// A file's statements, read at its first use.
    pub fn parse(&self, path: Sym, base: bool) -> Result<Arc<Parsed>> {
        if let Some(parsed) = self.files.read().get(&(path, base)) {
            return Ok(Arc::clone(parsed));
        }
        let name = path.as_str();
        let text = self.read_text(path)?;
        let parsed = Arc::new(parse(&text, &Dialect::of_file(name, base)));
        // A recipe itself is read once or twice; only what is included by many is worth keeping.
        if !is_kind(name, "bb") {
            self.files.write().insert((path, base), Arc::clone(&parsed));
        }
        Ok(parsed)
    }

    fn read_text(&self, path: Sym) -> Result<String> {
        let name = Path::new(path.as_str());
        let (stamp, bytes) = read_bytes(name)?;
        self.contents.lock().insert(path, (stamp, *blake3::hash(&bytes).as_bytes()));
        text_of(name, bytes)
    }

    /// Whether a path exists, as of its first use.
    pub fn exists(&self, path: Sym) -> bool {
        if let Some(&known) = self.exists.read().get(&path) {
            return known;
        }
        let found = Path::new(path.as_str()).exists();
        self.exists.write().insert(path, found);
        found
    }

    /// Whether a path is a symbolic link, as of its first use.
    pub(crate) fn is_link(&self, path: &str) -> bool {
        if let Some(&known) = self.links.read().get(path) {
            return known;
        }
        let found = Path::new(path).is_symlink();
        self.links.write().insert(path.into(), found);
        found
    }

    /// What Python code refers to.
    pub(crate) fn code_refs(&self, code: &str, session: &mut Session) -> Result<Arc<CodeRefs>> {
        if let Some(refs) = self.code.read().get(code) {
            return Ok(Arc::clone(refs));
        }
        let visitor = Visitor { shared: self, session: RefCell::new(session) };
        let refs = scan::python(code, &visitor).map_err(|error| scan_failed(code, &error))?;
        let refs = Arc::new(refs);
        self.code.write().insert(code.into(), Arc::clone(&refs));
        Ok(refs)
    }

    /// The commands that shell code runs.
    pub(crate) fn shell_execs(&self, code: &Text) -> Result<Arc<BTreeSet<Text>>> {
        if let Some(execs) = self.shell.read().get(code) {
            return Ok(Arc::clone(execs));
        }
        let execs = Arc::new(scan::shell(code).map_err(|error| scan_failed(code, &error))?);
        self.shell.write().insert(Arc::clone(code), Arc::clone(&execs));
        Ok(execs)
    }

    pub(crate) fn filtered(&self, expression: &str, value: &str) -> Option<Text> {
        self.filtered.read().get(&(expression.into(), value.into())).cloned()
    }

    pub(crate) fn remember_filtered(&self, expression: &str, value: &str, result: &Text) {
        self.filtered.write().insert((expression.into(), value.into()), Arc::clone(result));
    }

    pub(crate) fn add_library(&self, functions: Vec<LibraryFunction>) {
        let mut library = self.library.write();
        let mut visiting = self.visiting.write();
        for function in functions {
            if function.visits {
                visiting.insert(Arc::clone(&function.name));
            }
            library.insert(Arc::clone(&function.name), Arc::new(function));
        }
    }

    /// The source text of a function of a layer's Python library.
    pub(crate) fn library_source(&self, name: &str) -> Option<Text> {
        self.library.read().get(name).map(|function| Arc::clone(&function.source))
    }

    /// The functions of the layers' Python libraries.
    pub fn library(&self) -> Vec<Arc<LibraryFunction>> {
        self.library.read().values().cloned().collect()
    }

    /// Stat data and BLAKE3 of a file of metadata, as it was read last.
    pub(crate) fn content(&self, path: Sym) -> Option<(Stamp, [u8; 32])> {
        self.contents.lock().get(&path).copied()
    }

    /// Forgets the statements of a file that changed.
    pub(crate) fn forget(&self, path: Sym) {
        self.files.write().retain(|(known, _), _| *known != path);
    }
}

/// Reads a file, and says of which stat data it was before.
fn read_bytes(path: &Path) -> Result<(Stamp, Vec<u8>)> {
    let io = |error: std::io::Error| Error::Io { path: path.display().to_string(), message: error.to_string() };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let stamp = rustix::fs::fstat(&file).map(|stat| Stamp::of(&stat)).map_err(|error| io(error.into()))?;
    if stamp.size > LARGEST_FILE {
        return Err(Error::Io {
            path: path.display().to_string(),
            message: format!("{} bytes are too many for a metadata file", stamp.size),
        });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok((stamp, bytes))
}

fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
        let place = Place::line(path.display().to_string(), u32::try_from(line).unwrap_or_default());
        Error::parse(place, "the file is not UTF-8")
    })
}

fn scan_failed(code: &str, error: &scan::ScanError) -> Error {
    let shown: String = code.trim().chars().take(120).collect();
    Error::Fatal(format!("{error}, in {shown}"))
}

/// Lets library functions inspect calls of themselves.
struct Visitor<'a> {
    shared: &'a Shared,
    session: RefCell<&'a mut Session>,
}

impl CallVisitor for Visitor<'_> {
    fn visit(&self, name: &str, call: &str) -> Option<std::result::Result<Visited, String>> {
        if !self.shared.visiting.read().contains(name) {
            return None;
        }
        let found = self.session.borrow_mut().visit(name, call);
        Some(found.map_err(|error| error.to_string()).map(|value| visited(&value)))
    }
}

fn visited(value: &Value) -> Visited {
    let mut result = Visited::default();
    let Value::Tuple(parts) = value else { return result };
    if let Some(Value::Dict(contains)) = parts.first() {
        for (var, words) in contains.iter() {
            if let (Some(var), Value::List(words)) = (var.as_str(), words) {
                let words = words.iter().filter_map(Value::as_str).map(Text::from).collect();
                result.contains.insert(Sym::new(var), words);
            }
        }
    }
    if let Some(Value::List(execs)) = parts.get(1) {
        result.execs = execs.iter().filter_map(Value::as_str).map(Sym::new).collect();
    }
    result
}
