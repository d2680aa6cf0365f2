//! Methods of text.

use super::Stop;
use super::program::Method;
use crate::Value;

/// Whether Python and Rust agree on what white space is, on case, and on lengths: they do for ASCII, less four control characters.
fn plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !(0x1c..=0x1f).contains(&byte))
}

fn list(items: impl Iterator<Item = impl Into<Value>>) -> Value {
    Value::List(items.map(Into::into).collect::<Vec<Value>>().into())
}

/// A method call on text.
pub(in crate::python) fn method(method: Method, of: &Value, arguments: &[Value]) -> Result<Value, Stop> {
    let Value::Str(text) = of else { return Err(Stop::Python) };
    let text: &str = text;
    Ok(match (method, arguments) {
        (Method::Split, []) if plain(text) => list(text.split_whitespace()),
        (Method::Split, [Value::Str(by)]) if !by.is_empty() => list(text.split(&**by)),
        (Method::Split, [Value::Str(by), Value::Int(most)]) if !by.is_empty() => {
            let most = usize::try_from(*most).map_err(|_| Stop::Python)?;
            list(text.splitn(most + 1, &**by))
        }
        (Method::Rsplit, [Value::Str(by), Value::Int(most)]) if !by.is_empty() => {
            let most = usize::try_from(*most).map_err(|_| Stop::Python)?;
            let mut parts: Vec<&str> = text.rsplitn(most + 1, &**by).collect();
            parts.reverse();
            list(parts.into_iter())
        }
        (Method::Replace, [Value::Str(from), Value::Str(to)]) if !from.is_empty() => text.replace(&**from, to).into(),
        (Method::Strip, []) if plain(text) => text.trim().into(),
        (Method::Lstrip, []) if plain(text) => text.trim_start().into(),
        (Method::Rstrip, []) if plain(text) => text.trim_end().into(),
        (Method::Strip, [Value::Str(of)]) => text.trim_matches(|c| of.contains(c)).into(),
        (Method::Lstrip, [Value::Str(of)]) => text.trim_start_matches(|c| of.contains(c)).into(),
        (Method::Rstrip, [Value::Str(of)]) => text.trim_end_matches(|c| of.contains(c)).into(),
        (Method::Upper, []) if text.is_ascii() => text.to_ascii_uppercase().into(),
        (Method::Lower, []) if text.is_ascii() => text.to_ascii_lowercase().into(),
        (Method::StartsWith, [Value::Str(start)]) => Value::Bool(text.starts_with(&**start)),
        (Method::EndsWith, [Value::Str(end)]) => Value::Bool(text.ends_with(&**end)),
        (Method::Join, [Value::List(items) | Value::Tuple(items)]) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items.ok_or(Stop::Python)?.join(text).into()
        }
        _ => return Err(Stop::Python),
    })
}

/// The words of a text, as Python's `split` and set of words see them; `None` where Python's idea of white space may differ.
pub(in crate::python) fn words(text: &str) -> Option<impl Iterator<Item = &str> + Clone> {
    plain(text).then(|| text.split_whitespace())
}
