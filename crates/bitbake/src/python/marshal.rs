//! Version 2 of Python's `marshal` format, for the types messages use. Source: CPython's `Python/marshal.c`.
//!
//! A byte string stands for an object that lives in the worker, by its number.

use std::sync::Arc;

use crate::Value;

/// Containers nested deeper than this are refused.
const DEPTH: usize = 64;

/// Appends a value.
pub(super) fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Int(i) => encode_int(*i, out),
        Value::Float(x) => {
            out.push(b'g');
            out.extend_from_slice(&x.to_le_bytes());
        }
        Value::Str(text) => {
            out.push(b'u');
            bytes(text.as_bytes(), out);
        }
        Value::List(items) => sequence(b'[', items, out),
        Value::Tuple(items) => sequence(b'(', items, out),
        Value::Set(items) => sequence(b'<', items, out),
        Value::Dict(items) => {
            out.push(b'{');
            for (key, value) in items.iter() {
                encode(key, out);
                encode(value, out);
            }
            out.push(b'0');
        }
        Value::Object(number) => {
            out.push(b's');
            bytes(&number.to_le_bytes(), out);
        }
    }
}

fn length(len: usize, out: &mut Vec<u8>) {
    // Values of metadata are far below this; a longer one cannot be sent, and its length would be refused by Python.
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn bytes(data: &[u8], out: &mut Vec<u8>) {
    length(data.len(), out);
    out.extend_from_slice(data);
}

fn sequence(tag: u8, items: &[Value], out: &mut Vec<u8>) {
    out.push(tag);
    length(items.len(), out);
    for item in items {
        encode(item, out);
    }
}

fn encode_int(i: i64, out: &mut Vec<u8>) {
    if let Ok(small) = i32::try_from(i) {
        out.push(b'i');
        out.extend_from_slice(&small.to_le_bytes());
        return;
    }
    // Digits of fifteen bits; the sign is the count's.
    let mut rest = i.unsigned_abs();
    let mut digits = Vec::new();
    while rest > 0 {
        digits.push((rest & 0x7fff) as u16);
        rest >>= 15;
    }
    let count = i32::try_from(digits.len()).unwrap_or_default();
    out.push(b'l');
    out.extend_from_slice(&(if i < 0 { -count } else { count }).to_le_bytes());
    for digit in digits {
        out.extend_from_slice(&digit.to_le_bytes());
    }
}

/// Reads one value; `None` where the bytes are not one.
pub(super) fn decode(data: &[u8]) -> Option<Value> {
    let mut reader = Reader { data, at: 0 };
    let value = reader.value(0)?;
    (reader.at == data.len()).then_some(value)
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let slice = self.data.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(slice)
    }

    fn int(&mut self) -> Option<i32> {
        self.take(4).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        let length = usize::try_from(self.int()?).ok()?;
        // Every item takes a byte at least: a longer count is a lie.
        (length <= self.data.len()).then_some(length)
    }

    fn text(&mut self, length: usize) -> Option<Value> {
        let bytes = self.take(length)?;
        Some(Value::Str(match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => String::from_utf8_lossy(bytes).into(),
        }))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn items(&mut self, depth: usize) -> Option<Arc<Vec<Value>>> {
        let count = self.length()?;
        self.sequence(count, depth)
    }

    fn sequence(&mut self, count: usize, depth: usize) -> Option<Arc<Vec<Value>>> {
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(self.value(depth + 1)?);
        }
        Some(Arc::new(items))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH {
            return None;
        }
        let tag = self.byte()?;
        Some(match tag {
            b'N' => Value::None,
            b'T' => Value::Bool(true),
            b'F' => Value::Bool(false),
            b'i' => Value::Int(self.int()?.into()),
            b'l' => self.long()?,
            b'g' => Value::Float(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            b'u' | b't' | b'a' | b'A' => {
                let length = self.length()?;
                self.text(length)?
            }
            // Shorter forms, which RustPython writes whatever the version.
            b'z' | b'Z' => {
                let length = usize::from(self.byte()?);
                self.text(length)?
            }
            b's' => {
                let length = self.length()?;
                Value::Object(u64::from_le_bytes(self.take(length)?.try_into().ok()?))
            }
            b'[' => Value::List(self.items(depth)?),
            b'(' => Value::Tuple(self.items(depth)?),
            b')' => {
                let count = usize::from(self.byte()?);
                Value::Tuple(self.sequence(count, depth)?)
            }
            b'<' | b'>' => Value::Set(self.items(depth)?),
            b'{' => {
                let mut items = Vec::new();
                while *self.data.get(self.at)? != b'0' {
                    let key = self.value(depth + 1)?;
                    items.push((key, self.value(depth + 1)?));
                }
                self.at += 1;
                Value::Dict(Arc::new(items))
            }
            _ => return None,
        })
    }

    fn long(&mut self) -> Option<Value> {
        let count = self.int()?;
        let mut value: i64 = 0;
        for index in 0..count.unsigned_abs() {
            let digit = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
            value = value.checked_add(i64::from(digit).checked_mul(1i64.checked_shl(index * 15)?)?)?;
        }
        Some(Value::Int(if count < 0 { -value } else { value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let value = Value::Tuple(Arc::new(vec![
            Value::None,
            Value::Bool(true),
            Value::Int(-5),
            Value::Int(1 << 40),
            Value::Int(-(1 << 40)),
            Value::Float(1.5),
            "text \u{e9}".into(),
            Value::List(Arc::new(vec![Value::Object(7)])),
            Value::Dict(Arc::new(vec![("k".into(), Value::Set(Arc::new(vec!["m".into()])))])),
        ]));
        let mut out = Vec::new();
        encode(&value, &mut out);
        assert_eq!(decode(&out), Some(value));
        assert_eq!(decode(&out[..out.len() - 1]), None);
        assert_eq!(decode(b"[\xff\xff\xff\x7f"), None);
    }
}
