//! What one variable holds.

use std::sync::Arc;

use crate::{Sym, Text, Value};

/// One `:append`, `:prepend` or `:remove`.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The text to add, or the words to take away.
    pub text: Text,
    /// The overrides that must all be active, as written after the keyword (`x:y`); `None` when it always applies.
    pub condition: Option<Text>,
    /// The same, one by one.
    pub overrides: Vec<Sym>,
}

impl Operation {
    /// An operation under a condition as it is written: `None`, or overrides separated by colons.
    pub fn new(text: Text, condition: Option<&str>) -> Self {
        let condition = condition.filter(|c| !c.is_empty());
        Self {
            text,
            condition: condition.map(Text::from),
            overrides: condition.map(|c| c.split(':').map(Sym::new).collect()).unwrap_or_default(),
        }
    }
}

/// A variable: its value, its weak default, its pending operations, and its flags.
///
/// One that holds nothing at all is deleted: it hides nothing and is not among the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variable {
    /// The value (BitBake's `_content`).
    pub content: Option<Value>,
    /// What `??=` set (BitBake's `_defaultval`).
    pub default: Option<Value>,
    /// `:append` in order.
    pub append: Vec<Operation>,
    /// `:prepend` in order.
    pub prepend: Vec<Operation>,
    /// `:remove` in order.
    pub remove: Vec<Operation>,
    /// Flags in order.
    pub flags: Vec<(Sym, Value)>,
    /// What `V[flag] ??=` set.
    pub flag_defaults: Vec<(Sym, Value)>,
    /// Whether its value may be another in the next run though nobody edited anything: who reads it is noted.
    pub fleeting: bool,
}

/// The three kinds of pending operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Append,
    Prepend,
    Remove,
}

impl Keyword {
    pub(crate) const ALL: [Self; 3] = [Self::Append, Self::Prepend, Self::Remove];

    /// As it is written in a variable's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Append => ":append",
            Self::Prepend => ":prepend",
            Self::Remove => ":remove",
        }
    }
}

impl Variable {
    /// Whether nothing is set: the variable is deleted.
    pub fn is_empty(&self) -> bool {
        self.content.is_none()
            && self.default.is_none()
            && self.append.is_empty()
            && self.prepend.is_empty()
            && self.remove.is_empty()
            && self.flags.is_empty()
            && self.flag_defaults.is_empty()
    }

    /// A flag's value, weak defaults aside.
    pub fn flag(&self, flag: Sym) -> Option<&Value> {
        find(&self.flags, flag)
    }

    /// A flag's weak default.
    pub fn flag_default(&self, flag: Sym) -> Option<&Value> {
        find(&self.flag_defaults, flag)
    }

    pub(crate) fn set_flag(&mut self, flag: Sym, value: Value) {
        put(&mut self.flags, flag, value);
    }

    pub(crate) fn set_flag_default(&mut self, flag: Sym, value: Value) {
        put(&mut self.flag_defaults, flag, value);
    }

    pub(crate) fn operations(&self, keyword: Keyword) -> &Vec<Operation> {
        match keyword {
            Keyword::Append => &self.append,
            Keyword::Prepend => &self.prepend,
            Keyword::Remove => &self.remove,
        }
    }

    pub(crate) fn operations_mut(&mut self, keyword: Keyword) -> &mut Vec<Operation> {
        match keyword {
            Keyword::Append => &mut self.append,
            Keyword::Prepend => &mut self.prepend,
            Keyword::Remove => &mut self.remove,
        }
    }
}

fn find(flags: &[(Sym, Value)], flag: Sym) -> Option<&Value> {
    flags.iter().find(|(name, _)| *name == flag).map(|(_, value)| value)
}

fn put(flags: &mut Vec<(Sym, Value)>, flag: Sym, value: Value) {
    match flags.iter_mut().find(|(name, _)| *name == flag) {
        Some(slot) => slot.1 = value,
        None => flags.push((flag, value)),
    }
}

/// Operations as Python sees them: a list of `[text, condition]`.
pub(crate) fn operations_value(operations: &[Operation]) -> Value {
    Value::List(Arc::new(
        operations
            .iter()
            .map(|op| {
                let condition = op.condition.clone().map_or(Value::None, Value::Str);
                Value::List(Arc::new(vec![Value::Str(Arc::clone(&op.text)), condition]))
            })
            .collect(),
    ))
}
