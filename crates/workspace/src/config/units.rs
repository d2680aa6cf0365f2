//! Durations and sizes as people write them.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Decode, Decoder};
use crate::error::ProblemKind;
use crate::yaml::{Node, Value};

/// A duration, written `90s`, `1.5m`, `2h`, `250ms`, or as a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

/// A number of bytes, written `512MB` (powers of 1000), `512MiB` (powers of 1024), or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

fn split(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim().to_ascii_lowercase()))
}

impl Seconds {
    /// From text; none if it is no duration or zero or longer than ten years.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        const TEN_YEARS: f64 = 10.0 * 365.0 * 86_400.0;
        let (number, unit) = split(text)?;
        let factor = match unit.as_str() {
            "ms" => 0.001,
            "" | "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let seconds = number * factor;
        (seconds > 0.0 && seconds <= TEN_YEARS).then(|| Self(Duration::from_secs_f64(seconds)))
    }
}

impl Size {
    /// From text; none if it is no size or over 2^53 bytes.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within 0..2^53")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        const LIMIT: f64 = 9_007_199_254_740_992.0;
        let (number, unit) = split(text)?;
        let factor: u64 = match unit.as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "m" | "mb" => 1_000_000,
            "g" | "gb" => 1_000_000_000,
            "t" | "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return None,
        };
        #[expect(clippy::cast_precision_loss, reason = "at most 2^40")]
        let bytes = number * factor as f64;
        (bytes <= LIMIT).then_some(Self(bytes as u64))
    }
}

impl Decode for Seconds {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let parsed = if let Value::Scalar { text, .. } = &node.value { Self::parse(text) } else { None };
        if parsed.is_none() {
            decoder.wrong_type("a duration such as `90s`, `5m` or `2h`", node);
        }
        parsed
    }
}

impl Decode for Size {
    fn decode(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let Value::Scalar { text, .. } = &node.value else {
            decoder.wrong_type("a size such as `512MB` or `2GiB`", node);
            return None;
        };
        let parsed = Self::parse(text);
        if parsed.is_none() {
            let expected = "size (write `512MB`, `2GiB`, or a number of bytes)".into();
            decoder.problem(ProblemKind::InvalidValue { value: text.clone(), expected }, node.span);
        }
        parsed
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|sec|m|min|h|d)?$" })
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*([kKmMgGtT]([iI]?[bB])?|[bB])?$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(Seconds::parse("90s"), Some(Seconds(Duration::from_secs(90))));
        assert_eq!(Seconds::parse("1.5m"), Some(Seconds(Duration::from_secs(90))));
        assert_eq!(Seconds::parse("250ms"), Some(Seconds(Duration::from_millis(250))));
        assert_eq!(Seconds::parse("0"), None);
        assert_eq!(Seconds::parse("soon"), None);
        assert_eq!(Size::parse("512MB"), Some(Size(512_000_000)));
        assert_eq!(Size::parse("2 GiB"), Some(Size(2 << 30)));
        assert_eq!(Size::parse("1e99"), None);
        assert_eq!(Size::parse(&"9".repeat(400)), None);
    }
}
