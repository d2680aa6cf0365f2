//! What Python code refers to: variables it reads, functions it calls, words whose presence it tests.

mod calls;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use self::calls::{Argument, Call};

use super::{ScanError, refs};
use crate::{CodeRefs, Sym, Text};

/// What a layer's own inspection of a call found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visited {
    /// Variable → words; replaces what was found for that variable so far.
    pub contains: BTreeMap<Sym, BTreeSet<Text>>,
    /// Functions called.
    pub execs: BTreeSet<Sym>,
}

/// Functions of layer modules that inspect calls of themselves (their `visitorcode` attribute).
pub trait CallVisitor {
    /// Inspects a call, given as the called name and the source text of the whole call.
    ///
    /// `None` means that the function has no inspection of its own. An error is the text of what went wrong.
    fn visit(&self, name: &str, call: &str) -> Option<Result<Visited, String>>;
}

/// No function inspects its calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVisitors;

impl CallVisitor for NoVisitors {
    fn visit(&self, _name: &str, _call: &str) -> Option<Result<Visited, String>> {
        None
    }
}

/// A call whose variable is not written out, so that what it reads cannot be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The function's dotted name.
    pub call: String,
    /// 1-based line in the scanned code.
    pub line: usize,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PythonScan {
    /// What enters the signature.
    pub refs: CodeRefs,
    /// What could not be known.
    pub unresolved: Vec<Unresolved>,
}

/// Functions whose first argument names a variable they read.
const READS: [&str; 4] = [".getVar", ".appendVar", ".prependVar", "oe.utils.conditional"];
/// Methods whose first two arguments name a flag.
const FLAG_READS: [&str; 3] = [".getVarFlag", ".appendVarFlag", ".prependVarFlag"];
/// Functions that test one item.
const CONTAINS: [&str; 2] = ["bb.utils.contains", "base_contains"];
/// Functions that test each word of their second argument.
const CONTAINS_ANY: [&str; 2] = ["bb.utils.contains_any", "bb.utils.filter"];
/// Functions that run the function which their first argument names.
const RUNS: [&str; 2] = ["bb.build.exec_func", "bb.build.exec_task"];

/// What Python code refers to, as a set of names.
///
/// # Errors
///
/// Where the code does not parse, or a call that BitBake inspects lacks the arguments it inspects.
pub fn python(code: &str, visitors: &dyn CallVisitor) -> Result<CodeRefs, ScanError> {
    python_scan(code, visitors).map(|scan| scan.refs)
}

/// The same, with the calls that could not be resolved.
///
/// # Errors
///
/// As [`python`].
pub fn python_scan(code: &str, visitors: &dyn CallVisitor) -> Result<PythonScan, ScanError> {
    if code.trim().is_empty() {
        return Ok(PythonScan::default());
    }
    let found = calls::calls(code)?;
    let mut scanner = Scanner { visitors, scan: PythonScan::default() };
    for call in &found.calls {
        scanner.call(call, &found.text[call.span.clone()])?;
    }
    Ok(scanner.scan)
}

struct Scanner<'a> {
    visitors: &'a dyn CallVisitor,
    scan: PythonScan,
}

impl Scanner<'_> {
    fn unresolved(&mut self, call: &Call) {
        self.scan.unresolved.push(Unresolved { call: call.name.clone(), line: call.line });
    }

    fn contains(&mut self, variable: &str) -> &mut BTreeSet<Text> {
        self.scan.refs.contains.entry(Sym::new(variable)).or_default()
    }

    fn call(&mut self, call: &Call, source: &str) -> Result<(), ScanError> {
        let name = call.name.as_str();
        if let Some(visited) = self.visitors.visit(name, source) {
            let visited = visited.map_err(|what| ScanError::Visitor { name: name.to_owned(), what })?;
            self.scan.refs.contains.extend(visited.contains);
            self.scan.refs.execs.extend(visited.execs);
            return Ok(());
        }
        let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        if ends(&READS) || ends(&FLAG_READS) || CONTAINS.contains(&name) || CONTAINS_ANY.contains(&name) {
            self.read(call, ends(&FLAG_READS))
        } else if name.ends_with(".expand") {
            if let Argument::Text(text) = call.argument(0)? {
                self.expansion(text)?;
            }
            Ok(())
        } else if RUNS.contains(&name) {
            match call.argument(0)? {
                Argument::Text(function) => {
                    self.scan.refs.execs.insert(Sym::new(function));
                }
                Argument::Constant(_) => return Err(ScanError::NotText { line: call.line, call: name.to_owned() }),
                Argument::Other => self.unresolved(call),
            }
            Ok(())
        } else {
            self.scan.refs.execs.insert(Sym::new(name));
            Ok(())
        }
    }

    /// A call that reads the variable which its first argument names.
    fn read(&mut self, call: &Call, flag: bool) -> Result<(), ScanError> {
        let Argument::Text(variable) = call.argument(0)? else {
            self.unresolved(call);
            return Ok(());
        };
        let name = call.name.as_str();
        let one = CONTAINS.contains(&name);
        if one || CONTAINS_ANY.contains(&name) {
            match call.argument(1)? {
                Argument::Text(item) if one => {
                    self.contains(variable).insert(item.as_str().into());
                    return Ok(());
                }
                Argument::Text(items) => {
                    self.contains(variable).extend(items.split_whitespace().map(Text::from));
                    return Ok(());
                }
                Argument::Constant(_) => return Err(ScanError::NotText { line: call.line, call: name.to_owned() }),
                // The variable itself is read then.
                Argument::Other => {}
            }
        } else if flag {
            match call.argument(1)? {
                Argument::Text(flag) | Argument::Constant(flag) => {
                    self.scan.refs.references.insert(Sym::new(&format!("{variable}[{flag}]")));
                }
                Argument::Other => self.unresolved(call),
            }
            return Ok(());
        }
        self.scan.refs.references.insert(Sym::new(variable));
        Ok(())
    }

    /// A literal that the code expands. Its inline Python is scanned, not evaluated.
    fn expansion(&mut self, text: &str) -> Result<(), ScanError> {
        for span in refs::variables(text) {
            self.scan.refs.references.insert(Sym::new(&text[span.start + 2..span.end - 1]));
        }
        for span in refs::expressions(text) {
            let code = &text[span.start + 3..span.end - 1];
            if refs::has_variables(code) {
                continue;
            }
            let inner = python(code, self.visitors)?;
            self.scan.refs.references.extend(inner.references);
            self.scan.refs.execs.extend(inner.execs);
            for (variable, items) in inner.contains {
                self.scan.refs.contains.entry(variable).or_default().extend(items);
            }
        }
        Ok(())
    }
}
