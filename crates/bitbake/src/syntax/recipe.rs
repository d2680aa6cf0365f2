//! Recipes, classes and include files.

use super::assignment::common_statement;
use super::conf::number;
use super::lines::{after_keyword, physical};
use super::statement::{Function, Parsed, Statement, StatementKind, SyntaxError};
use crate::{Sym, Text};

/// Reads a `.bb`, `.bbappend`, `.bbclass` or `.inc` file. `class` is the class's name; empty for other files.
pub fn parse_recipe(text: &str, class: &str) -> Parsed {
    let mut reader = Reader { class: class.into(), ..Reader::default() };
    let lines = physical(text);
    for (index, line) in lines.iter().enumerate() {
        reader.line(number(index + 1), line);
    }
    reader.end(number(lines.len() + 1));
    reader.parsed
}

#[derive(Default)]
struct Reader<'a> {
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
}

impl<'a> Reader<'a> {
    fn line(&mut self, number: u32, line: &'a str) {
        let in_python = self.def.is_some()
            || self.open.as_ref().is_some_and(|(function, _)| function.python || function.name.is_none());
        if in_python && line.trim_start_matches(' ').starts_with('\t') {
            self.warn(number, "Python should be indented with spaces, and here is a tab");
        }
        if self.open.is_some() {
            if line == "}" {
                self.close_function(number);
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
                self.residue.clear();
                self.error(number, "a comment stands in the middle of a continued line");
                return;
            }
            if first.starts_with('#') && !is_comment {
                self.error(number, "a comment is continued by a line that is not one: say which it is");
                self.residue.clear();
            }
        }
        if let Some(part) = line.strip_suffix('\\') {
            self.residue.push(part);
            return;
        }
        if self.residue.is_empty() {
            self.statement(number, line);
        } else {
            self.residue.push(line);
            let whole = self.residue.concat();
            self.residue.clear();
            self.statement(number, &whole);
        }
    }

    fn statement(&mut self, number: u32, line: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        if let Some(function) = function_start(line) {
            self.open = Some((function, number));
            return;
        }
        if let Some(name) = def_start(line) {
            self.def = Some(name);
            line.clone_into(&mut self.head);
            return;
        }
        match keyword_statement(line, &self.class) {
            Some(Ok(kind)) => self.parsed.statements.push(Statement { line: number, kind }),
            Some(Err(message)) => self.error(number, message),
            None => common_statement(line, number, false, &mut self.parsed),
        }
    }

    fn close_def(&mut self, number: u32) {
        if let Some(name) = self.def.take() {
            let mut text = std::mem::take(&mut self.head);
            for line in &self.body {
                text.push('\n');
                text.push_str(line);
            }
            let lines = super::conf::number(self.body.len() + 1);
            self.body.clear();
            self.parsed.statements.push(Statement {
                line: number,
                kind: StatementKind::Def { name, digest: digest(&text), text: text.into(), lines },
            });
        }
    }

    fn close_function(&mut self, number: u32) {
        if let Some((mut function, _)) = self.open.take() {
            self.body.push("");
            function.body = self.body.join("\n").into();
            function.lines = super::conf::number(self.body.len());
            self.body.clear();
            self.parsed.statements.push(Statement { line: number, kind: StatementKind::Function(function) });
        }
    }

    fn end(&mut self, number: u32) {
        self.close_def(number);
        if let Some((function, line)) = self.open.take() {
            let name = function.name.map_or("anonymous", Sym::as_str);
            self.error(line, format!("the function {name} is never closed: its end is a }} alone in the first column"));
        } else if !self.residue.is_empty() {
            self.error(number - 1, "the file ends in the middle of a continued line");
        }
    }

    fn error(&mut self, line: u32, message: impl Into<String>) {
        self.parsed.errors.push(SyntaxError { line, message: message.into() });
    }

    fn warn(&mut self, line: u32, message: impl Into<String>) {
        self.parsed.warnings.push(SyntaxError { line, message: message.into() });
    }
}

/// `[python|fakeroot…] [name] () {`
fn function_start(line: &str) -> Option<Function> {
    let mut rest = line.strip_suffix('{')?;
    let mut function = Function { name: None, body: "".into(), lines: 0, python: false, fakeroot: false };
    loop {
        if let Some(after) =
            rest.strip_prefix("python").filter(|after| after.starts_with(|c: char| c.is_whitespace() || c == '('))
        {
            function.python = true;
            rest = after.trim_start();
        } else if let Some(after) = rest.strip_prefix("fakeroot").filter(|after| after.starts_with(char::is_whitespace))
        {
            function.fakeroot = true;
            rest = after.trim_start();
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || "_.-+{}$:".contains(c))).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let inside = rest.trim_start().strip_prefix('(')?;
    inside.trim_start().strip_prefix(')').filter(|rest| rest.trim().is_empty())?;
    function.name = (!name.is_empty() && name != "__anonymous").then(|| Sym::new(name));
    Some(function)
}

/// `def name…:`
fn def_start(line: &str) -> Option<Sym> {
    let rest = after_keyword(line, "def")?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    (end > 0 && rest[end..].contains(':')).then(|| Sym::new(&rest[..end]))
}

fn keyword_statement(line: &str, class: &Text) -> Option<Result<StatementKind, String>> {
    let names = |text: &str| text.split_whitespace().map(Sym::new).collect();
    if let Some(functions) = after_keyword(line, "EXPORT_FUNCTIONS") {
        return Some(Ok(StatementKind::ExportFunctions { names: names(functions), class: Text::clone(class) }));
    }
    // What follows a # is a comment.
    let before_comment = |text: &str| text.split('#').next().unwrap_or_default().to_owned();
    if let Some(text) = after_keyword(line, "addtask").map(before_comment).filter(|text| !text.is_empty()) {
        return Some(add_task(line, &text));
    }
    if let Some(tasks) = after_keyword(line, "deltask").map(before_comment).filter(|text| !text.is_empty()) {
        return Some(Ok(StatementKind::DelTask(tasks.into())));
    }
    if let Some(handlers) = after_keyword(line, "addhandler") {
        return Some(Ok(StatementKind::AddHandler(names(handlers))));
    }
    if let Some(classes) = after_keyword(line, "inherit") {
        return Some(Ok(StatementKind::Inherit(classes.into())));
    }
    after_keyword(line, "inherit_defer").map(|classes| Ok(StatementKind::InheritDefer(classes.into())))
}

/// `addtask TASKS [before TASKS] [after TASKS]`, in any order and number.
fn add_task(line: &str, text: &str) -> Result<StatementKind, String> {
    if let Some(word) = line
        .split_whitespace()
        .find(|word| [":append_", ":prepend_", ":remove_"].iter().any(|keyword| word.contains(keyword)))
    {
        return Err(format!("the task name {word} contains an override keyword"));
    }
    let tasks = text.split(" before ").next().unwrap_or_default().split(" after ").next().unwrap_or_default();
    let gather = |own: &str, other: &str| -> String {
        text.split(other).map(|part| part.split(own).skip(1).collect::<Vec<_>>().join(" ")).collect()
    };
    let after = gather(" after ", " before ");
    let before = gather(" before ", " after ");
    Ok(StatementKind::AddTask { tasks: tasks.into(), before: before.into(), after: after.into() })
}

/// The first eight bytes of the text's digest: enough to tell the few definitions of one name apart.
fn digest(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}
