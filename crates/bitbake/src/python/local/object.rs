//! What programs compute with.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use super::Stop;
use super::program::Function;
use super::uri::Uri;
use crate::{Text, Value};

/// A Python object. What a clone shares, Python's references share, too.
#[derive(Clone)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Str(Text),
    List(Rc<RefCell<Vec<Self>>>),
    Tuple(Rc<Vec<Self>>),
    /// A set of texts. Its order is Python's secret: what depends on it is left to Python.
    Set(Rc<RefCell<BTreeSet<Text>>>),
    /// A dictionary whose keys are texts, in the order in which they were added.
    Dict(Rc<RefCell<Vec<(Text, Self)>>>),
    Function(Rc<Closure>),
    /// A datastore, by its number in the conversation.
    Store(usize),
    /// The event that a handler handles, by its class.
    Event(Text),
    Uri(Rc<Uri>),
    Pattern(Rc<fancy_regex::Regex>),
    /// Something in a module, by its dotted name.
    Name(Text),
    /// A match that nothing but its being there is asked of.
    Match,
}

/// A function with the names around it.
pub(super) struct Closure {
    pub(super) function: Arc<Function>,
    pub(super) around: Option<Rc<Frame>>,
}

/// The local names of a running function.
pub(super) struct Frame {
    pub(super) slots: RefCell<Vec<Option<Object>>>,
    pub(super) around: Option<Rc<Self>>,
}

impl Object {
    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(RefCell::new(items)))
    }

    pub(super) fn texts<T: Into<Text>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::list(items.into_iter().map(|item| Self::Str(item.into())).collect())
    }

    pub(super) fn set(items: BTreeSet<Text>) -> Self {
        Self::Set(Rc::new(RefCell::new(items)))
    }

    pub(super) fn dict(items: Vec<(Text, Self)>) -> Self {
        Self::Dict(Rc::new(RefCell::new(items)))
    }

    /// A new object for a value that came from a datastore.
    pub(super) fn of(value: &Value) -> Result<Self, Stop> {
        Ok(match value {
            Value::None => Self::None,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Int(int) => Self::Int(*int),
            Value::Str(text) => Self::Str(Arc::clone(text)),
            Value::List(items) => Self::list(items.iter().map(Self::of).collect::<Result<_, _>>()?),
            Value::Tuple(items) => Self::Tuple(Rc::new(items.iter().map(Self::of).collect::<Result<_, _>>()?)),
            Value::Dict(items) => {
                let pair = |(key, value): &(Value, Value)| match key {
                    Value::Str(key) => Ok((Arc::clone(key), Self::of(value)?)),
                    _ => Err(Stop::Python),
                };
                Self::dict(items.iter().map(pair).collect::<Result<_, _>>()?)
            }
            Value::Float(_) | Value::Set(_) | Value::Object(_) => return Err(Stop::Python),
        })
    }

    /// The value to hand to a datastore.
    pub(super) fn value(&self) -> Result<Value, Stop> {
        let all = |items: &[Self]| items.iter().map(Self::value).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::None => Value::None,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(int) => Value::Int(*int),
            Self::Str(text) => Value::Str(Arc::clone(text)),
            Self::List(items) => Value::List(Arc::new(all(&items.borrow())?)),
            Self::Tuple(items) => Value::Tuple(Arc::new(all(items)?)),
            _ => return Err(Stop::Python),
        })
    }

    pub(super) fn text(&self) -> Result<&Text, Stop> {
        match self {
            Self::Str(text) => Ok(text),
            _ => Err(Stop::Python),
        }
    }

    pub(super) fn truth(&self) -> Result<bool, Stop> {
        Ok(match self {
            Self::None => false,
            Self::Bool(truth) => *truth,
            Self::Int(int) => *int != 0,
            Self::Str(text) => !text.is_empty(),
            Self::List(items) => !items.borrow().is_empty(),
            Self::Tuple(items) => !items.is_empty(),
            Self::Set(items) => !items.borrow().is_empty(),
            Self::Dict(items) => !items.borrow().is_empty(),
            Self::Function(_) | Self::Event(_) | Self::Pattern(_) | Self::Match => true,
            Self::Uri(_) | Self::Store(_) | Self::Name(_) => return Err(Stop::Python),
        })
    }

    /// `str(object)`, of the kinds whose text has one form only.
    pub(super) fn printed(&self) -> Result<Text, Stop> {
        match self {
            Self::Str(text) => Ok(Arc::clone(text)),
            Self::Int(int) => Ok(int.to_string().into()),
            Self::Bool(true) => Ok("True".into()),
            Self::Bool(false) => Ok("False".into()),
            Self::None => Ok("None".into()),
            _ => Err(Stop::Python),
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            Self::Bool(truth) => Some(i64::from(*truth)),
            _ => None,
        }
    }

    /// The items, for a loop that changes nothing, or in Python's order where the order shows.
    pub(super) fn items(&self) -> Result<Vec<Self>, Stop> {
        match self {
            Self::List(items) => Ok(items.borrow().clone()),
            Self::Tuple(items) => Ok(items.to_vec()),
            Self::Dict(items) => Ok(items.borrow().iter().map(|(key, _)| Self::Str(Arc::clone(key))).collect()),
            Self::Set(items) if items.borrow().len() < 2 => {
                Ok(items.borrow().iter().map(|text| Self::Str(Arc::clone(text))).collect())
            }
            _ => Err(Stop::Python),
        }
    }

    /// The texts among the items, as a set: order does not show.
    pub(super) fn as_set(&self) -> Result<BTreeSet<Text>, Stop> {
        match self {
            Self::Set(items) => Ok(items.borrow().clone()),
            other => other.items()?.iter().map(|item| item.text().map(Arc::clone)).collect(),
        }
    }

    pub(super) fn equals(&self, other: &Self) -> Result<bool, Stop> {
        if let (Some(left), Some(right)) = (self.number(), other.number()) {
            return Ok(left == right);
        }
        let all = |left: &[Self], right: &[Self]| {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !left.equals(right)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        match (self, other) {
            (Self::Str(left), Self::Str(right)) => Ok(left == right),
            (Self::None, Self::None) => Ok(true),
            (Self::List(left), Self::List(right)) => all(&left.borrow(), &right.borrow()),
            (Self::Tuple(left), Self::Tuple(right)) => all(left, right),
            (Self::Set(left), Self::Set(right)) => Ok(*left.borrow() == *right.borrow()),
            (left, right) if left.is_plain() && right.is_plain() => Ok(false),
            _ => Err(Stop::Python),
        }
    }

    /// Kinds of which values of different kinds are never equal, numbers aside.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Str(_) | Self::List(_) | Self::Tuple(_) | Self::Set(_)
        )
    }

    pub(super) fn contains(&self, item: &Self) -> Result<bool, Stop> {
        match (self, item) {
            (Self::Str(whole), Self::Str(part)) => Ok(whole.contains(&**part)),
            (Self::Set(items), Self::Str(item)) => Ok(items.borrow().contains(item)),
            (Self::Dict(items), Self::Str(item)) => Ok(items.borrow().iter().any(|(key, _)| key == item)),
            (Self::List(_) | Self::Tuple(_), item) => {
                let found = |items: &[Self]| {
                    for other in items {
                        if other.equals(item)? {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                };
                match self {
                    Self::List(items) => found(&items.borrow()),
                    Self::Tuple(items) => found(items),
                    _ => Err(Stop::Python),
                }
            }
            _ => Err(Stop::Python),
        }
    }
}
