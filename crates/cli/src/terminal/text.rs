//! Measuring, shortening and cleaning text.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a text takes. Escape sequences must not be in it.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `columns`, its end replaced by `ellipsis` if it is longer.
pub(crate) fn shorten(text: &str, columns: usize, ellipsis: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(width(ellipsis));
    let mut short = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        short.push(c);
    }
    if columns >= width(ellipsis) {
        short.push_str(ellipsis);
    }
    short
}

/// The text, padded with spaces to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Text from outside, made safe to write to a terminal: no control characters but tabs (widened) and, if `colors`, colour sequences.
pub(crate) fn clean(text: &str, colors: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut colored = false;
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => {
                let sequence = escape_sequence(&mut rest);
                if colors && is_color(&sequence) {
                    out.push('\x1b');
                    out.push_str(&sequence);
                    colored = true;
                }
            }
            '\t' => out.push_str("    "),
            c if c.is_control() || is_invisible(c) => {}
            c => out.push(c),
        }
    }
    if colored {
        out.push_str("\x1b[0m");
    }
    out
}

/// Characters that reorder or hide text: a name must read as what it is.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Reads what belongs to an escape (ECMA-48, 5.4 and 8.3.89): a control sequence to its final byte, a string to its terminator, else one
/// character.
fn escape_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut sequence = String::new();
    let Some(first) = rest.next() else { return sequence };
    sequence.push(first);
    match first {
        '[' => {
            for c in rest.by_ref() {
                sequence.push(c);
                if ('\x40'..='\x7e').contains(&c) {
                    break;
                }
            }
        }
        ']' | 'P' | 'X' | '^' | '_' => {
            while let Some(c) = rest.next() {
                if c == '\x07' {
                    break;
                }
                if c == '\x1b' {
                    rest.next_if_eq(&'\\');
                    break;
                }
            }
        }
        _ => {}
    }
    sequence
}

fn is_color(sequence: &str) -> bool {
    sequence
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix('m'))
        .is_some_and(|codes| codes.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':'))
}

/// A duration as people say it: `0ms`, `870ms`, `4.1s`, `2m05s`, `1h02m`.
pub(crate) fn duration(micros: u64) -> String {
    let millis = micros / 1000;
    let tenths = (micros + 50_000) / 100_000;
    let seconds = (micros + 500_000) / 1_000_000;
    match () {
        () if millis < 1000 => format!("{millis}ms"),
        () if tenths < 600 => format!("{}.{}s", tenths / 10, tenths % 10),
        () if seconds < 3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        () => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A size as people say it: `512 B`, `1.5 KiB`, `3.2 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10 / 1024;
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("日本"), 4);
        assert_eq!(shorten("日本語パッケージ", 7, "…"), "日本語…");
        assert_eq!(shorten("日本語パッケージ", 6, "…"), "日本…");
        assert_eq!(shorten("abc", 3, "…"), "abc");
        assert_eq!(shorten("abcd", 2, "..."), "");
        assert_eq!(pad("日本", 6), "日本  ");
    }

    #[test]
    fn nothing_but_colours_reaches_the_terminal() {
        let wild = "a\x1b[31mred\x1b[0m\x1b[2J\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1bc\r\x08\tb\u{202e}c";
        assert_eq!(clean(wild, false), "aredlink    bc");
        assert_eq!(clean(wild, true), "a\x1b[31mred\x1b[0mlink    bc\x1b[0m");
        assert_eq!(clean("\x1b[", true), "");
        assert_eq!(clean("\x1b", true), "");
    }

    #[test]
    fn durations_and_sizes() {
        let said: Vec<_> =
            [0, 999, 870_000, 999_999, 4_140_000, 59_960_000, 125_000_000, 3_720_000_000].map(duration).into();
        assert_eq!(said, ["0ms", "0ms", "870ms", "999ms", "4.1s", "1m00s", "2m05s", "1h02m"]);
        let said: Vec<_> = [0, 1023, 1536, 3_435_973_837, u64::MAX].map(bytes).into();
        assert_eq!(said, ["0 B", "1023 B", "1.5 KiB", "3.2 GiB", "16383.9 PiB"]);
    }
}
