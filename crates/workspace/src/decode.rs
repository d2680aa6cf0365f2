//! From nodes to types. Whatever is wrong is noted and decoding goes on, so that one run finds everything.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::error::{Problem, ProblemKind};
use crate::suggest;
use crate::text::{Location, SourceText, Span};
use crate::yaml::{Node, Value};

/// The file being decoded, and what was wrong so far.
pub(crate) struct Decoder<'a> {
    pub(crate) source: &'a Arc<SourceText>,
    pub(crate) problems: &'a mut Vec<Problem>,
}

impl Decoder<'_> {
    pub(crate) fn problem(&mut self, kind: ProblemKind, span: Span) -> &mut Problem {
        self.problems.push(Problem::new(kind).at(Location::new(self.source, span)));
        self.problems.last_mut().expect("pushed above")
    }

    pub(crate) fn wrong_type(&mut self, expected: impl Into<String>, node: &Node) {
        let kind = ProblemKind::WrongType { expected: expected.into(), found: node.value.describe() };
        self.problem(kind, node.span);
    }
}

/// A type that `buildnet.yaml` can hold.
pub(crate) trait Decode: Sized {
    /// None if it was wrong, which is then noted in the decoder.
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self>;
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spanned<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it was written.
    pub(crate) location: Location,
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let location = Location::new(decoder.source, node.span);
        T::decode(node, decoder).map(|value| Self { value, location })
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        match node.value {
            Value::Null => Some(None),
            _ => T::decode(node, decoder).map(Some),
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        if let Value::Scalar { text, .. } = &node.value {
            return Some(text.clone());
        }
        decoder.wrong_type("text", node);
        None
    }
}

impl Decode for bool {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                decoder.wrong_type("`true` or `false`", node);
                None
            }
        }
    }
}

impl Decode for u32 {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        if let Value::Scalar { text, plain: true } = &node.value
            && let Ok(number) = text.parse()
        {
            return Some(number);
        }
        decoder.wrong_type("a whole number", node);
        None
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Self::new()),
            Value::Sequence(items) => Some(items.iter().filter_map(|item| T::decode(item, decoder)).collect()),
            _ => {
                decoder.wrong_type("a list", node);
                None
            }
        }
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Self::new()),
            Value::Mapping(entries) => {
                let mut map = Self::new();
                for (key, value) in entries {
                    let Some(value) = T::decode(value, decoder) else { continue };
                    if map.insert(key.text.clone(), value).is_some() {
                        decoder.problem(ProblemKind::DuplicateKey(key.text.clone()), key.span);
                    }
                }
                Some(map)
            }
            _ => {
                decoder.wrong_type("a mapping", node);
                None
            }
        }
    }
}

/// The entries of a mapping whose keys are known.
pub(crate) struct Fields<'n> {
    entries: BTreeMap<&'n str, &'n Node>,
}

impl<'n> Fields<'n> {
    /// Notes unknown and repeated keys. `context` says what the mapping describes.
    pub(crate) fn new(node: &'n Node, decoder: &mut Decoder<'_>, context: &str, known: &[&str]) -> Option<Self> {
        let entries = match &node.value {
            Value::Null => return Some(Self { entries: BTreeMap::new() }),
            Value::Mapping(entries) => entries,
            _ => {
                decoder.wrong_type(format!("a mapping that describes {context}"), node);
                return None;
            }
        };
        let mut found = BTreeMap::new();
        for (key, value) in entries {
            let text = key.text.as_str();
            if !known.contains(&text) {
                let kind = ProblemKind::UnknownKey { key: text.into(), context: context.into() };
                decoder.problem(kind, key.span).hint = suggest::hint(text, known.iter().copied());
            } else if found.insert(text, value).is_some() {
                decoder.problem(ProblemKind::DuplicateKey(text.into()), key.span);
            }
        }
        Some(Self { entries: found })
    }

    /// The value of a key; its type's default where it is absent or wrong.
    pub(crate) fn take<T: Decode + Default>(&mut self, key: &str, decoder: &mut Decoder<'_>) -> T {
        self.entries.remove(key).and_then(|node| T::decode(node, decoder)).unwrap_or_default()
    }
}

/// Declares a mapping of `buildnet.yaml`: the struct, its JSON schema and its decoder, from one list of documented keys.
macro_rules! record {
    ($(#[$meta:meta])* $context:literal pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields, default)]
        pub(crate) struct $name { $($(#[$field_meta])* pub(crate) $field: $type,)* }

        impl $crate::decode::Decode for $name {
            fn decode(node: &$crate::yaml::Node, decoder: &mut $crate::decode::Decoder<'_>) -> Option<Self> {
                let mut fields = $crate::decode::Fields::new(node, decoder, $context, &[$(stringify!($field)),*])?;
                Some(Self { $($field: fields.take(stringify!($field), decoder),)* })
            }
        }
    };
}
pub(crate) use record;
