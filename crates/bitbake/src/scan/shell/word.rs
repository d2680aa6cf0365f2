//! Quoting and expansion inside shell words.
//!
//! The rules are those of the shell parser that BitBake uses, which differ from a real shell's: a `$(` ends at the first `)` outside
//! quotes, parentheses do not nest, and `$((` is refused.

use super::Fault;

/// Deepest nesting of quotes and expansions in one word.
const MAX_DEPTH: usize = 200;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Literal text.
    Text(String),
    /// A quotation or expansion.
    Group(Group),
}

/// A quotation or expansion with its delimiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// `'`, `"`, `\`, a backquote, `$`, `$(` or `${`.
    pub(super) open: &'static str,
    /// What is inside.
    pub(super) parts: Vec<Part>,
    /// The closing delimiter, empty for `\` and `$`.
    pub(super) close: &'static str,
}

impl Group {
    fn new(open: &'static str) -> Self {
        Self { open, parts: Vec::new(), close: "" }
    }

    fn closed(mut self, close: &'static str) -> Part {
        self.close = close;
        Part::Group(self)
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.parts.push(Part::Text(text.to_owned()));
        }
    }

    /// Whether this is a command substitution.
    pub(super) fn is_command(&self) -> bool {
        matches!(self.open, "`" | "$(")
    }

    /// The text between the delimiters.
    pub(super) fn inner(&self) -> String {
        let mut out = String::new();
        for part in &self.parts {
            part.write(&mut out);
        }
        out
    }
}

impl Part {
    /// Appends the part as it was written, less line continuations.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Group(group) => {
                out.push_str(group.open);
                for part in &group.parts {
                    part.write(out);
                }
                out.push_str(group.close);
            }
        }
    }

    /// Appends the part without quotes; expansions stay as written.
    fn write_unquoted(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Group(group) => {
                let quoting = matches!(group.open, "'" | "\"" | "\\");
                if !quoting {
                    out.push_str(group.open);
                }
                for part in &group.parts {
                    part.write_unquoted(out);
                }
                if !quoting {
                    out.push_str(group.close);
                }
            }
        }
    }
}

/// Splits a whole word into its parts.
pub(super) fn parts_of(word: &str) -> Result<Vec<Part>, Fault> {
    let mut parts = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find(['\\', '$', '`', '\'', '"']) {
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        rest = &rest[at..];
        let (part, used) = quoted(rest)?;
        if part != Part::Text(String::new()) {
            parts.push(part);
        }
        rest = &rest[used..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// A word without its quotes, as the end of a here-document is named.
pub(super) fn unquoted(word: &str) -> Result<String, Fault> {
    let mut out = String::new();
    for part in parts_of(word)? {
        part.write_unquoted(&mut out);
    }
    Ok(out)
}

/// Reads one quotation or expansion at the start of `input`; also says how many bytes it takes.
pub(super) fn quoted(input: &str) -> Result<(Part, usize), Fault> {
    let mut at = 0;
    let mut stack: Vec<Group> = Vec::new();
    let mut opening = true;
    loop {
        if opening {
            if stack.len() >= MAX_DEPTH {
                return Err(Fault::TooDeep);
            }
            let open = match input.as_bytes().get(at) {
                Some(b'"') => "\"",
                Some(b'\\') => "\\",
                Some(b'`') => "`",
                Some(b'$') => "$",
                Some(b'\'') => "'",
                _ => return Err(Fault::Syntax("a quotation is never closed".to_owned())),
            };
            at += 1;
            stack.push(Group::new(open));
        }
        let mut top = stack.pop().expect("a group was pushed before the loop came here");
        let parent = stack.last().map(|group| group.open);
        let step = step(&mut top, parent, &input[at..])?;
        at += step.used;
        match step.close {
            Close::No => {
                stack.push(top);
                opening = true;
            }
            Close::With(close) => {
                let part = top.closed(close);
                match stack.last_mut() {
                    None => return Ok((part, at)),
                    Some(parent) => parent.parts.push(part),
                }
                opening = false;
            }
            Close::Literal(text) => {
                match stack.last_mut() {
                    None => return Ok((Part::Text(text), at)),
                    Some(parent) => parent.text(&text),
                }
                opening = false;
            }
        }
    }
}

/// What one step inside a group did.
struct Step {
    /// Bytes taken.
    used: usize,
    close: Close,
}

/// How a step left its group.
enum Close {
    /// Still open: a nested group begins here.
    No,
    /// Closed with this delimiter.
    With(&'static str),
    /// It was no group after all, but this text.
    Literal(String),
}

fn step(top: &mut Group, parent: Option<&'static str>, rest: &str) -> Result<Step, Fault> {
    match top.open {
        "'" => until(top, rest, "'", "'"),
        "\\" => escape(top, parent, rest),
        "\"" => until(top, rest, "$\\`\"", "\""),
        "`" => until(top, rest, "$\\`\"'", "`"),
        "$(" => until(top, rest, "$\\`\"')", ")"),
        "${" => until(top, rest, "$\\`\"'}", "}"),
        _ => dollar(top, rest),
    }
}

/// Takes text up to the first of `stops`; `close` is the one that closes the group.
fn until(top: &mut Group, rest: &str, stops: &str, close: &'static str) -> Result<Step, Fault> {
    let Some(at) = rest.bytes().position(|byte| stops.as_bytes().contains(&byte)) else {
        return Err(Fault::Syntax(format!("`{}` is never closed by `{close}`", top.open)));
    };
    top.text(&rest[..at]);
    if rest[at..].starts_with(close) {
        Ok(Step { used: at + 1, close: Close::With(close) })
    } else {
        Ok(Step { used: at, close: Close::No })
    }
}

fn escape(top: &mut Group, parent: Option<&'static str>, rest: &str) -> Result<Step, Fault> {
    let Some(next) = rest.chars().next() else {
        return Err(Fault::Syntax("a backslash at the end".to_owned()));
    };
    let escapable = match parent {
        Some("`") => matches!(next, '$' | '\\' | '`'),
        Some("\"") => matches!(next, '$' | '\\' | '`' | '"'),
        _ => true,
    };
    let close = if next == '\n' {
        Close::Literal(String::new())
    } else if escapable {
        top.text(&rest[..next.len_utf8()]);
        Close::With("")
    } else {
        Close::Literal(format!("\\{next}"))
    };
    Ok(Step { used: next.len_utf8(), close })
}

fn dollar(top: &mut Group, rest: &str) -> Result<Step, Fault> {
    let bytes = rest.as_bytes();
    match bytes {
        [] | [b'('] => Err(Fault::Syntax("`$` at the end".to_owned())),
        [b'(', b'(', ..] => Err(Fault::Syntax("arithmetic expansion `$((` is not supported".to_owned())),
        [b'(', ..] => {
            top.open = "$(";
            let step = step(top, None, &rest[1..])?;
            Ok(Step { used: step.used + 1, close: step.close })
        }
        [b'{', ..] => {
            top.open = "${";
            let step = step(top, None, &rest[1..])?;
            Ok(Step { used: step.used + 1, close: step.close })
        }
        [b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!' | b'0', ..] => {
            top.text(&rest[..1]);
            Ok(Step { used: 1, close: Close::With("") })
        }
        _ => {
            let name =
                bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(bytes.len());
            if name == 0 {
                return Ok(Step { used: 0, close: Close::Literal("$".to_owned()) });
            }
            top.text(&rest[..name]);
            Ok(Step { used: name, close: Close::With("") })
        }
    }
}
