//! Recipes, classes and include files.

use super::SyntaxKind;
use super::conf::statement;
use super::directive::{Found, common_statement, mark, with_argument};
use super::lines::{Logical, Problem, after_keyword, number, physical};
use super::sink::{Nothing, Sink};
use super::statement::{Function, Parsed, Statement, StatementKind};
use crate::{Sym, Text};

/// How often reading starts again inside a function that is never closed, to find what else is wrong.
const RESTARTS: usize = 16;

/// Reads a `.bb`, `.bbappend`, `.bbclass` or `.inc` file. `class` is the class's name; empty for other files.
pub(super) fn read<S: Sink>(text: &str, class: &str, sink: &mut S) -> Parsed {
    let lines = physical(text);
    let mut reader = Reader {
        file: text,
        class: class.into(),
        parsed: Parsed::default(),
        open: None,
        def: None,
        body: Vec::new(),
        head: String::new(),
        residue: Vec::new(),
        restarts: 0,
        unclosed: 0,
        sink,
    };
    let mut at = 0;
    loop {
        for (index, line) in lines.iter().enumerate().skip(at) {
            reader.line(number(index + 1), line);
        }
        match reader.end(number(lines.len() + 1)) {
            // What was taken for the rest of a function is read once more.
            Some(again) => at = lines.len() - again,
            None => return reader.parsed,
        }
    }
}

struct Reader<'a, 's, S> {
    file: &'a str,
    class: Text,
    parsed: Parsed,
    /// The function whose body is being read, and where it began.
    open: Option<(Function, u32)>,
    /// The `def` whose body is being read.
    def: Option<Sym>,
    body: Vec<&'a str>,
    /// The first line of the `def`.
    head: String,
    /// Lines that a backslash continues.
    residue: Vec<&'a str>,
    restarts: usize,
    /// The last line of a value that was never closed.
    unclosed: u32,
    sink: &'s mut S,
}

impl<'a, S: Sink> Reader<'a, '_, S> {
    fn line(&mut self, number: u32, line: &'a str) {
        let in_python = self.def.is_some()
            || self.open.as_ref().is_some_and(|(function, _)| function.python || function.name.is_none());
        if in_python && let Some(rest) = line.trim_start_matches(' ').strip_prefix('\t') {
            let at = line.len() - rest.len() - 1;
            let problem = Problem::new(&line[at..=at], "Python should be indented with spaces, and here is a tab");
            self.one(number, &line).warn(problem, &mut self.parsed);
        }
        if self.open.is_some() {
            if line == "}" {
                self.close_function(number, line);
            } else {
                self.body.push(line);
            }
            return;
        }
        if self.def.is_some() {
            if line.is_empty() || line.starts_with('#') || line.starts_with(char::is_whitespace) {
                self.body.push(line);
                return;
            }
            self.close_def(number);
        }
        if let Some(first) = self.residue.first() {
            let is_comment = line.starts_with('#');
            if is_comment && !first.starts_with('#') {
                self.leave_residue(number);
                let problem = Problem::new(line, "a comment stands in the middle of a continued line");
                let line = self.one(number, &line);
                line.error(problem, &mut self.parsed);
                line.is(SyntaxKind::Error, self.sink);
                return;
            }
            if first.starts_with('#') && !is_comment {
                self.leave_residue(number);
                let problem = Problem::new(line, "a comment is continued by a line that is not one: say which it is");
                self.one(number, &line).error(problem, &mut self.parsed);
            }
        }
        if let Some(part) = line.strip_suffix('\\') {
            if part.is_empty() && self.residue.is_empty() {
                let problem = Problem::new(line, "a backslash alone continues nothing");
                let line = self.one(number, &line);
                line.error(problem, &mut self.parsed);
                line.is(SyntaxKind::Error, self.sink);
                return;
            }
            self.residue.push(part);
        } else if self.residue.is_empty() {
            let pieces = [line];
            self.statement(&Logical { file: self.file, first: number, pieces: &pieces, text: line });
        } else {
            let mut pieces = std::mem::take(&mut self.residue);
            pieces.push(line);
            let whole = pieces.concat();
            let first = number.saturating_sub(super::lines::number(pieces.len() - 1));
            self.statement(&Logical { file: self.file, first, pieces: &pieces, text: &whole });
        }
    }

    /// A line that is not continued, or part of something longer.
    fn one<'l>(&self, number: u32, line: &'l &'a str) -> Logical<'l, 'a> {
        Logical { file: self.file, first: number, pieces: std::slice::from_ref(line), text: line }
    }

    /// Lines were continued by one that cannot continue them.
    fn leave_residue(&mut self, number: u32) {
        let pieces = std::mem::take(&mut self.residue);
        let whole = pieces.concat();
        let first = number.saturating_sub(super::lines::number(pieces.len()));
        Logical { file: self.file, first, pieces: &pieces, text: &whole }.is(SyntaxKind::Error, self.sink);
    }

    fn statement(&mut self, line: &Logical<'_, 'a>) {
        let (text, sink) = (line.text, &mut *self.sink);
        let last = line.first.saturating_add(number(line.pieces.len() - 1));
        if text.is_empty() || text.starts_with('#') {
            sink.line(line);
        } else if let Some(function) = function_start(text, sink) {
            sink.open(SyntaxKind::Function);
            sink.line(line);
            self.open = Some((function, last));
        } else if let Some(name) = def_start(text, sink) {
            sink.open(SyntaxKind::Def);
            sink.line(line);
            self.def = Some(name);
            text.clone_into(&mut self.head);
        } else {
            let found = recipe_statement(text, &self.class, sink);
            statement(line, found, &mut self.unclosed, &mut self.parsed, sink);
        }
    }

    fn close_def(&mut self, number: u32) {
        if let Some(name) = self.def.take() {
            let head = std::mem::take(&mut self.head);
            for line in &self.body {
                self.sink.body(line);
            }
            self.sink.close();
            let kind = def(name, &head, &self.body);
            self.body.clear();
            self.parsed.statements.push(Statement { line: number, kind });
        }
    }

    fn close_function(&mut self, number: u32, brace: &'a str) {
        if let Some((function, _)) = self.open.take() {
            for line in &self.body {
                self.sink.body(line);
            }
            self.sink.mark(SyntaxKind::Close, brace);
            self.sink.line(&Logical { file: self.file, first: number, pieces: &[brace], text: brace });
            self.sink.close();
            let kind = StatementKind::Function(with_body(function, &self.body));
            self.body.clear();
            self.parsed.statements.push(Statement { line: number, kind });
        }
    }

    /// The end of the file. Where a function is open that should have ended before, says how many lines from the end to go on.
    fn end(&mut self, last: u32) -> Option<usize> {
        self.close_def(last);
        if !self.residue.is_empty() {
            let problem = Problem::new(self.residue[0], "the file ends in the middle of a continued line");
            let first = last.saturating_sub(number(self.residue.len()));
            self.one(first, &self.residue[0]).error(problem, &mut self.parsed);
            self.leave_residue(last);
        }
        let (function, line) = self.open.take()?;
        let name = function.name.map_or("anonymous", Sym::as_str);
        let message = format!("the function {name} is never closed: its end is a }} alone in the first column");
        let body = std::mem::take(&mut self.body);
        // The header is the line before the body.
        let end = body.first().map_or(self.file.len(), |first| first.as_ptr().addr() - self.file.as_ptr().addr());
        let head = self.file[..end].lines().next_back().unwrap_or_default().trim_end();
        self.one(line, &head).error(Problem::new(head, message), &mut self.parsed);
        let goes_on = |line: &&str| function_start(line, &mut Nothing).is_some() || is_certain(line, &self.class);
        let again = body.iter().position(goes_on).filter(|_| self.restarts < RESTARTS);
        for line in &body[..again.unwrap_or(body.len())] {
            self.sink.body(line);
        }
        self.sink.close();
        self.restarts += 1;
        again.map(|at| body.len() - at)
    }
}

/// Whether a line inside what looks like a function is a statement all the same.
fn is_certain(line: &str, class: &Text) -> bool {
    def_start(line, &mut Nothing).is_some()
        || recipe_statement(line, class, &mut Nothing).is_ok_and(|(kind, odd)| match kind {
            StatementKind::Assign(assignment) => odd.is_none() && !assignment.export,
            kind => matches!(kind, StatementKind::Inherit(_) | StatementKind::AddTask { .. }),
        })
}

fn recipe_statement<'l, S: Sink>(text: &'l str, class: &Text, sink: &mut S) -> Found<'l> {
    match keyword_statement(text, class, sink) {
        Some(found) => found.map(|kind| (kind, None)),
        None => common_statement(text, false, sink),
    }
}

/// `[python|fakeroot…] [name] () {`
fn function_start<S: Sink>(line: &str, sink: &mut S) -> Option<Function> {
    let mut rest = line.strip_suffix('{')?;
    let mut function = Function { name: None, body: "".into(), lines: 0, python: false, fakeroot: false };
    let mut keywords = [None; 2];
    loop {
        if let Some(after) =
            rest.strip_prefix("python").filter(|after| after.starts_with(|c: char| c.is_whitespace() || c == '('))
        {
            function.python = true;
            keywords[0] = keywords[0].or(Some(&rest[.."python".len()]));
            rest = after.trim_start();
        } else if let Some(after) = rest.strip_prefix("fakeroot").filter(|after| after.starts_with(char::is_whitespace))
        {
            function.fakeroot = true;
            keywords[1] = keywords[1].or(Some(&rest[.."fakeroot".len()]));
            rest = after.trim_start();
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || "_.-+{}$:".contains(c))).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let inside = rest.trim_start().strip_prefix('(')?;
    inside.trim_start().strip_prefix(')').filter(|rest| rest.trim().is_empty())?;
    keywords.sort_unstable_by_key(|keyword| keyword.map(|word| word.as_ptr().addr()));
    for keyword in keywords.into_iter().flatten() {
        sink.mark(SyntaxKind::Keyword, keyword);
    }
    if !name.is_empty() {
        sink.mark(SyntaxKind::Name, name);
    }
    function.name = (!name.is_empty() && name != "__anonymous").then(|| Sym::new(name));
    Some(function)
}

/// A function with the lines between its braces.
pub(super) fn with_body(mut function: Function, lines: &[&str]) -> Function {
    let mut body = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        body.push_str(line);
        body.push('\n');
    }
    function.body = body.into();
    function.lines = number(lines.len() + 1);
    function
}

/// `def name…:`
fn def_start<S: Sink>(line: &str, sink: &mut S) -> Option<Sym> {
    let rest = after_keyword(line, "def")?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    if end == 0 || !rest[end..].contains(':') {
        return None;
    }
    mark(line, "def", &[(SyntaxKind::Name, &rest[..end])], sink);
    Some(Sym::new(&rest[..end]))
}

/// A `def` of these lines.
pub(super) fn def(name: Sym, head: &str, body: &[&str]) -> StatementKind {
    let mut text = head.to_owned();
    for line in body {
        text.push('\n');
        text.push_str(line);
    }
    StatementKind::Def { name, digest: digest(&text), text: text.into(), lines: number(body.len() + 1) }
}

/// The first eight bytes of the text's digest: enough to tell the few definitions of one name apart.
fn digest(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn keyword_statement<'l, S: Sink>(
    line: &'l str,
    class: &Text,
    sink: &mut S,
) -> Option<Result<StatementKind, Problem<'l>>> {
    if let Some(functions) = with_argument(line, "EXPORT_FUNCTIONS", sink) {
        return Some(Ok(StatementKind::ExportFunctions { names: names(functions), class: Text::clone(class) }));
    }
    if let Some(text) = before_comment(line, "addtask") {
        if let Some(word) = keyword_in_task(line) {
            return Some(Err(Problem::new(word, format!("the task name {word} contains an override keyword"))));
        }
        mark(line, "addtask", &[(SyntaxKind::Argument, text)], sink);
        return Some(Ok(add_task(text)));
    }
    if let Some(tasks) = before_comment(line, "deltask") {
        mark(line, "deltask", &[(SyntaxKind::Argument, tasks)], sink);
        return Some(Ok(StatementKind::DelTask(tasks.into())));
    }
    if let Some(handlers) = with_argument(line, "addhandler", sink) {
        return Some(Ok(StatementKind::AddHandler(names(handlers))));
    }
    if let Some(classes) = with_argument(line, "inherit", sink) {
        return Some(Ok(StatementKind::Inherit(classes.into())));
    }
    with_argument(line, "inherit_defer", sink).map(|classes| Ok(StatementKind::InheritDefer(classes.into())))
}

/// The names in a text.
pub(super) fn names(text: &str) -> Vec<Sym> {
    text.split_whitespace().map(Sym::new).collect()
}

/// What follows a keyword, up to a comment.
fn before_comment<'l>(line: &'l str, keyword: &str) -> Option<&'l str> {
    after_keyword(line.split('#').next()?, keyword)
}

fn keyword_in_task(line: &str) -> Option<&str> {
    let has_keyword = |word: &&str| [":append_", ":prepend_", ":remove_"].iter().any(|keyword| word.contains(keyword));
    line.split_whitespace().find(has_keyword)
}

/// `addtask TASKS [before TASKS] [after TASKS]`, in any order and number.
pub(super) fn add_task(text: &str) -> StatementKind {
    let tasks = text.split(" before ").next().unwrap_or_default().split(" after ").next().unwrap_or_default();
    let gather = |own: &str, other: &str| -> String {
        text.split(other).map(|part| part.split(own).skip(1).collect::<Vec<_>>().join(" ")).collect()
    };
    let after = gather(" after ", " before ");
    let before = gather(" before ", " after ");
    StatementKind::AddTask { tasks: tasks.into(), before: before.into(), after: after.into() }
}
