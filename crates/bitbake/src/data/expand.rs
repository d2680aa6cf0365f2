//! Expansion: `${VAR}` and `${@python}`.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use super::store::{Evaluate, Store};
use crate::error::{Error, Result};
use crate::view::{CodeRefs, Expansion};
use crate::{Sym, Text, Value};

/// How deep variables may refer to variables: far more than metadata does (about thirty), far less than the stack holds.
const DEPTH: u32 = 120;

static NOTHING: LazyLock<Arc<CodeRefs>> = LazyLock::new(Arc::default);

/// Where `${NAME}` references lie in a text: (start, end) of each, in order, not overlapping.
///
/// A name is letters, digits and `-_+./~:`, so that of nested references only the innermost is one.
pub fn scan_references(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(found) = text.get(at..).and_then(|rest| rest.find("${")).map(|offset| at + offset) {
            let mut end = found + 2;
            while bytes.get(end).is_some_and(|&b| b.is_ascii_alphanumeric() || b"-_+./~:".contains(&b)) {
                end += 1;
            }
            if end > found + 2 && bytes.get(end) == Some(&b'}') {
                at = end + 1;
                return Some((found, end + 1));
            }
            at = found + 2;
        }
        None
    })
}

/// Where `${@…}` expressions lie: (start, end) of each. An expression stays on one line, and braces inside it pair up where they can.
fn scan_expressions(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut result = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${@").map(|offset| at + offset) {
        let mut failed = vec![false; bytes.len() - found + 1];
        match expression_end(bytes, found, found + 3, true, &mut failed) {
            Some(end) => {
                result.push((found, end));
                at = end;
            }
            None => at = found + 3,
        }
    }
    result
}

/// The end of an expression: the first closing brace, where a `{` may first take everything up to a `}` of its own.
fn expression_end(bytes: &[u8], start: usize, at: usize, first: bool, failed: &mut [bool]) -> Option<usize> {
    let mut at = at;
    let mut first = first;
    loop {
        if !first && bytes.get(at) == Some(&b'}') {
            return Some(at + 1);
        }
        if !first && failed[at - start] {
            return None;
        }
        match bytes.get(at) {
            None | Some(b'\n') => return None,
            Some(b'{') => {
                let line = bytes[at + 1..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + 1 + n);
                for close in at + 1..line {
                    if bytes[close] == b'}' {
                        if let Some(end) = expression_end(bytes, start, close + 1, false, failed) {
                            return Some(end);
                        }
                        failed[close + 1 - start] = true;
                    }
                }
                at += 1;
            }
            Some(_) => at += 1,
        }
        first = false;
    }
}

/// What an expansion gathers besides its text.
#[derive(Default)]
struct Gathered {
    references: BTreeSet<Sym>,
    code: Vec<Arc<CodeRefs>>,
}

impl Gathered {
    fn finish(self) -> Arc<CodeRefs> {
        if self.references.is_empty() && self.code.is_empty() {
            return Arc::clone(&NOTHING);
        }
        let mut refs = CodeRefs { references: self.references, ..CodeRefs::default() };
        for code in self.code {
            refs.references.extend(code.references.iter().copied());
            refs.execs.extend(code.execs.iter().copied());
            for (var, words) in &code.contains {
                refs.contains.entry(*var).or_default().extend(words.iter().cloned());
            }
        }
        Arc::new(refs)
    }
}

impl Store {
    /// Expands a text.
    pub fn expand(&mut self, ev: &mut dyn Evaluate, text: &str) -> Result<Text> {
        if !text.contains("${") {
            return Ok(text.into());
        }
        let expansion = self.expand_value(ev, Some(text.into()), None)?;
        Ok(expansion.value.as_ref().map(Value::to_text).unwrap_or_default())
    }

    /// Expands a value and says what it refers to. Only text expands; `var` is whose value it is.
    pub fn expand_value(&mut self, ev: &mut dyn Evaluate, value: Option<Value>, var: Option<Sym>) -> Result<Expansion> {
        let Some(Value::Str(text)) = &value else {
            return Ok(Expansion { value, refs: Arc::clone(&NOTHING), removes: None });
        };
        if !text.contains("${") {
            return Ok(Expansion { value, refs: Arc::clone(&NOTHING), removes: None });
        }
        let mut gathered = Gathered::default();
        let mut current = text.to_string();
        let mut rounds = 0;
        while current.contains("${") {
            rounds += 1;
            match self.expand_once(ev, &mut current, var, &mut gathered) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(in_variable(error, var, &current)),
            }
            if rounds > DEPTH {
                let error = Error::Fatal("the expansion never ends".into());
                return Err(in_variable(error, var, &current));
            }
        }
        Ok(Expansion { value: Some(current.into()), refs: gathered.finish(), removes: None })
    }

    fn expand_once(
        &mut self,
        ev: &mut dyn Evaluate,
        text: &mut String,
        var: Option<Sym>,
        gathered: &mut Gathered,
    ) -> Result<bool> {
        let mut changed = false;
        let mut result = String::with_capacity(text.len() * 2);
        let mut done = 0;
        for (start, end) in scan_references(text) {
            let name = Sym::new(&text[start + 2..end - 1]);
            if var == Some(name) {
                return Err(Error::Fatal(format!("variable {name} references itself")));
            }
            gathered.references.insert(name);
            if let Some(value) = self.get(ev, name)? {
                result.push_str(&text[done..start]);
                match &value {
                    Value::Str(text) => result.push_str(text),
                    other => result.push_str(&other.to_text()),
                }
                done = end;
            }
        }
        if done > 0 {
            result.push_str(&text[done..]);
            changed = *text != result;
            *text = result;
        }
        if !text.contains("${@") {
            return Ok(changed);
        }
        let mut result = String::with_capacity(text.len() * 2);
        let mut done = 0;
        for (start, end) in scan_expressions(text) {
            let code = &text[start + 3..end - 1];
            if scan_references(code).next().is_some() {
                continue;
            }
            let value = match self.evaluate(ev, code, var, gathered) {
                Ok(value) => value,
                // Most likely a brace too few or too many: the text stays as it is.
                Err(Error::Python { error, .. }) if is_unterminated(&error.kind, &error.message) => return Ok(changed),
                Err(error) => return Err(error),
            };
            result.push_str(&text[done..start]);
            result.push_str(&value.to_text());
            done = end;
        }
        if done > 0 {
            result.push_str(&text[done..]);
            changed |= *text != result;
            *text = result;
        }
        Ok(changed)
    }

    fn evaluate(
        &mut self,
        ev: &mut dyn Evaluate,
        code: &str,
        var: Option<Sym>,
        gathered: &mut Gathered,
    ) -> Result<Value> {
        self.computations += 1;
        match ev.code_refs(code) {
            Ok(refs) => gathered.code.push(refs),
            // What is wrong with code that cannot be scanned, Python says best.
            Err(error) => return ev.eval(self, code, var).and(Err(error)),
        }
        ev.eval(self, code, var)
    }

    /// Guards a step of a chain of variables that refer to each other.
    pub(crate) fn deeper(depth: u32, var: Sym) -> Result<()> {
        if depth > DEPTH {
            return Err(Error::Expansion {
                chain: vec![var.to_string()],
                message: "variables refer to each other in a circle".into(),
            });
        }
        Ok(())
    }
}

fn is_unterminated(kind: &str, message: &str) -> bool {
    kind == "SyntaxError"
        && (message.starts_with("unterminated string") || message.starts_with("EOL while scanning string literal"))
}

fn in_variable(error: Error, var: Option<Sym>, text: &str) -> Error {
    match error {
        Error::Skip(_) => error,
        Error::Expansion { mut chain, message } => {
            // A circle repeats its variables: once round says it all.
            let closed = |last: &String| chain[..chain.len() - 1].contains(last);
            if let Some(var) = var
                && !chain.last().is_some_and(closed)
            {
                chain.push(var.to_string());
            }
            Error::Expansion { chain, message }
        }
        other => {
            let shown: String = text.chars().take(200).collect();
            let message = match &var {
                Some(_) => format!("{other}, in the expression {shown}"),
                None => other.to_string(),
            };
            Error::Expansion { chain: vec![var.map_or(shown, |var| var.to_string())], message }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expressions(text: &str) -> Vec<&str> {
        scan_expressions(text).into_iter().map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn references_are_the_innermost() {
        let found: Vec<_> = scan_references("a ${B} ${C_${D}} ${@e} ${} ${F[g]}").collect();
        assert_eq!(found, [(2, 6), (11, 15)]);
    }

    #[test]
    fn expressions_end_at_their_brace() {
        assert_eq!(expressions("${@d.getVar('X')}"), ["${@d.getVar('X')}"]);
        assert_eq!(expressions("${@ {} or 1} rest}"), ["${@ {} or 1}"]);
        assert_eq!(expressions("${@ '{' } x"), ["${@ '{' }"]);
        assert_eq!(expressions("a ${@b} ${@c}"), ["${@b}", "${@c}"]);
        assert_eq!(expressions("${@b\n}"), Vec::<&str>::new());
        assert_eq!(expressions("${@}}"), ["${@}}"]);
    }
}
