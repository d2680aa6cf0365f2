//! The source text of a library's functions, as Python's `inspect` cuts it out of their module: `inspect` reads every function token by
//! token, which takes it longer than all of the rest of an import.

use rustc_hash::FxHashMap;
use rustpython_ruff_python_ast::{Stmt, StmtClassDef, StmtFunctionDef};
use rustpython_ruff_python_parser::parse_module;

use super::local::is_flat;

/// Deepest nesting of brackets in a module.
const DEEPEST: usize = 200;

/// A module's lines, and where its functions and classes are: numbers count from 1.
#[derive(Debug)]
pub(super) struct Module {
    lines: Vec<String>,
    /// First line (of the decorators, if any) → last line.
    functions: FxHashMap<usize, usize>,
    /// Name → first and last line; `None` for a name that several classes have.
    classes: FxHashMap<String, Option<(usize, usize)>>,
}

impl Module {
    /// Of a module's text; `None` where that is beyond us.
    pub(super) fn of(text: &str) -> Option<Self> {
        let plain = !text.starts_with('\u{feff}') && !text.contains(['\r', '\u{c}']);
        let declared = text.lines().take(2).any(|line| line.contains("coding"));
        if !plain || declared || !is_flat(text, DEEPEST) {
            return None;
        }
        let parsed = parse_module(text).ok()?;
        let lines = text.lines().map(|line| format!("{line}\n")).collect();
        let mut module = Self { lines, functions: FxHashMap::default(), classes: FxHashMap::default() };
        let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let line_at = |at: usize| starts.partition_point(|start| *start <= at);
        for statement in &parsed.syntax().body {
            match statement {
                Stmt::FunctionDef(function) => {
                    let Some(header) = header_of_function(function) else { continue };
                    let (from, to) = (function.range.start().to_usize(), function.range.end().to_usize());
                    let last = module.last_line(text, line_at(header), header, line_at(to.saturating_sub(1)));
                    module.functions.insert(line_at(from), last);
                }
                Stmt::ClassDef(class) => {
                    let header = header_of_class(class);
                    let (from, to) = (class.range.start().to_usize(), class.range.end().to_usize());
                    let last = module.last_line(text, line_at(header), header, line_at(to.saturating_sub(1)));
                    let place = Some((line_at(from), last));
                    module
                        .classes
                        .entry(class.name.as_str().to_owned())
                        .and_modify(|known| *known = None)
                        .or_insert(place);
                }
                _ => {}
            }
        }
        Some(module)
    }

    /// The last line of a block whose header ends at a place: with the comments that follow the code and are indented as far.
    fn last_line(&self, text: &str, header_line: usize, header: usize, last_of_code: usize) -> usize {
        let rest = text[header..].split('\n').next().unwrap_or_default();
        let after = rest.split_once(':').map_or("", |(_, after)| after).trim();
        if !(after.is_empty() || after.starts_with('#')) {
            return last_of_code;
        }
        let is_code = |line: &&String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let Some(first) = self.lines[header_line.min(self.lines.len())..].iter().find(is_code) else {
            return last_of_code;
        };
        let body = indent(first);
        let mut last = last_of_code;
        let following = (last_of_code + 1..).zip(&self.lines[last_of_code.min(self.lines.len())..]);
        for (number, line) in following.take_while(|(_, line)| !is_code(line)) {
            if !line.trim().is_empty() && indent(line) >= body {
                last = number;
            }
        }
        last
    }

    /// The function whose code begins at a line.
    pub(super) fn function(&self, first: usize) -> Option<String> {
        Some(self.cut(first, *self.functions.get(&first)?))
    }

    /// The class of a name, and the line it begins at.
    pub(super) fn class(&self, name: &str) -> Option<(String, usize)> {
        let (first, last) = (*self.classes.get(name)?)?;
        Some((self.cut(first, last), first))
    }

    fn cut(&self, first: usize, last: usize) -> String {
        self.lines[first - 1..last].concat()
    }
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

/// Where a function's parameters end; `None` where more follows than the colon.
fn header_of_function(function: &StmtFunctionDef) -> Option<usize> {
    function.returns.is_none().then(|| function.parameters.range.end().to_usize())
}

fn header_of_class(class: &StmtClassDef) -> usize {
    class.arguments.as_ref().map_or(class.name.range.end(), |arguments| arguments.range.end()).to_usize()
}

#[cfg(test)]
mod tests {
    use super::Module;

    const TEXT: &str = "\
import os

@decorated(1,
           2)
def one(a,
        b=(1, 2)):
    # first
    text = '''
no indent
'''
    return (
        text
    )
    # still one

    # and this
  # not this

# nor this
def two(): return 1
    # a comment after a body without a line of its own

class Three(
        dict):  # why
    def method(self):
        pass
        # of the method

# end
class Four:
    pass

class Four:
    pass

def five(a) -> int:
    pass";

    #[test]
    fn blocks_are_cut_as_inspect_cuts_them() {
        let module = Module::of(TEXT).expect("it is Python");
        let lines = |from: usize, to: usize| {
            let chosen = TEXT.lines().skip(from - 1).take(to + 1 - from);
            chosen.flat_map(|line| [line, "\n"]).collect::<String>()
        };
        assert_eq!(module.function(3), Some(lines(3, 16)));
        assert_eq!(module.function(20), Some(lines(20, 20)));
        assert_eq!(module.class("Three"), Some((lines(23, 27), 23)));
        assert_eq!(module.class("Four"), None);
        assert_eq!(module.function(36), None);
        assert_eq!(module.function(5), None);
    }
}
