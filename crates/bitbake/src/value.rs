//! What a variable or a flag may hold.

use std::fmt;
use std::sync::Arc;

/// Shared, immutable text.
pub type Text = Arc<str>;

/// The value of a variable or flag. Metadata writes text; Python code may store the other kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Python's `None`: set, but to nothing.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer, such as the `1` of the `func` flag.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Str(Text),
    /// A list, such as a task's `deps` flag.
    List(Arc<Vec<Value>>),
    /// A tuple.
    Tuple(Arc<Vec<Value>>),
    /// A set, in the order its members were added.
    Set(Arc<Vec<Value>>),
    /// A dictionary, in the order its keys were added.
    Dict(Arc<Vec<(Value, Value)>>),
    /// An object that lives in the Python process, by its number there.
    Object(u64),
}

impl Value {
    /// Text, when it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Whether Python's `if value:` holds.
    pub fn truthy(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Float(x) => *x != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::List(l) | Self::Tuple(l) | Self::Set(l) => !l.is_empty(),
            Self::Dict(l) => !l.is_empty(),
            Self::Object(_) => true,
        }
    }

    /// Python's `str(value)`.
    pub fn to_text(&self) -> Text {
        match self {
            Self::Str(text) => Arc::clone(text),
            other => other.to_string().into(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => f.write_str(text),
            other => write_repr(f, other),
        }
    }
}

fn write_repr(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::None => f.write_str("None"),
        Value::Bool(true) => f.write_str("True"),
        Value::Bool(false) => f.write_str("False"),
        Value::Int(i) => write!(f, "{i}"),
        Value::Float(x) => write!(f, "{x:?}"),
        Value::Str(s) => write_str_repr(f, s),
        Value::List(items) => write_items(f, "[", items, "]"),
        Value::Tuple(items) if items.len() == 1 => write_items(f, "(", items, ",)"),
        Value::Tuple(items) => write_items(f, "(", items, ")"),
        Value::Set(items) if items.is_empty() => f.write_str("set()"),
        Value::Set(items) => write_items(f, "{", items, "}"),
        Value::Dict(items) => {
            f.write_str("{")?;
            for (i, (key, value)) in items.iter().enumerate() {
                f.write_str(if i == 0 { "" } else { ", " })?;
                write_repr(f, key)?;
                f.write_str(": ")?;
                write_repr(f, value)?;
            }
            f.write_str("}")
        }
        Value::Object(id) => write!(f, "<object {id}>"),
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, open: &str, items: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (i, item) in items.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        write_repr(f, item)?;
    }
    f.write_str(close)
}

/// Python's `repr` of text: single quotes unless only those occur inside, the usual escapes.
fn write_str_repr(f: &mut fmt::Formatter<'_>, s: &str) -> fmt::Result {
    use fmt::Write as _;
    let quote = if s.contains('\'') && !s.contains('"') { '"' } else { '\'' };
    f.write_char(quote)?;
    for c in s.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c == quote => write!(f, "\\{c}")?,
            c if (c as u32) < 0x20 || c == '\x7f' => write!(f, "\\x{:02x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text.into())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_python_does() {
        let list = Value::List(Arc::new(vec!["do_a".into(), "it's".into(), Value::Int(1), Value::None]));
        assert_eq!(list.to_string(), r#"['do_a', "it's", 1, None]"#);
        assert_eq!(Value::Tuple(Arc::new(vec![Value::Bool(true)])).to_string(), "(True,)");
        assert_eq!(Value::from("plain").to_string(), "plain");
    }
}
