//! Where a value mentions other variables (`${NAME}`) and inline Python (`${@…}`).

use std::ops::Range;

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'.' | b'/' | b'~' | b':')
}

/// The spans of all `${NAME}` in a text, braces included, left to right.
///
/// A name is one or more of letters, digits and `-_+./~:`; anything else between the braces is no reference.
pub fn variables(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text.get(at..)?.find("${")?;
            let name = start + 2;
            let end = name + bytes[name..].iter().take_while(|byte| is_name_byte(**byte)).count();
            at = name;
            if end > name && bytes.get(end) == Some(&b'}') {
                at = end + 1;
                return Some(start..end + 1);
            }
        }
    })
}

/// Whether a text contains any `${NAME}`.
pub fn has_variables(text: &str) -> bool {
    variables(text).next().is_some()
}

/// The spans of all `${@…}` in a text, left to right.
///
/// An expression lies in one line and ends at the first `}` that closes no `{` of its own; braces inside it are paired without
/// nesting, and where too few `}` follow, a `{` counts as ordinary text.
pub fn expressions(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text.get(at..)?.find("${@")?;
            at = start + 3;
            if let Some(end) = expression_end(text.as_bytes(), start + 3) {
                at = end;
                return Some(start..end);
            }
        }
    })
}

/// One past the `}` that ends the expression whose code begins at `code`.
fn expression_end(bytes: &[u8], code: usize) -> Option<usize> {
    let line_end = bytes[code..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |len| code + len);
    let last = code + bytes[code..line_end].iter().rposition(|byte| *byte == b'}')?;
    let mut at = code;
    while at <= last {
        match bytes[at] {
            // Empty code does not count: a `}` right at the start belongs to it.
            b'}' if at > code => return Some(at + 1),
            b'{' => {
                let pair = at + bytes[at..=last].iter().position(|byte| *byte == b'}')?;
                at = if pair < last { pair + 1 } else { at + 1 };
            }
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spans: impl Iterator<Item = Range<usize>>, text: &str) -> Vec<String> {
        spans.map(|span| text[span].to_owned()).collect()
    }

    #[test]
    fn names_have_their_own_alphabet() {
        let text = "${A}${B:c} ${D e} ${} ${F[g]} ${H-i_j+k.l/m~n} $${O} ${${P}}";
        assert_eq!(found(variables(text), text), ["${A}", "${B:c}", "${H-i_j+k.l/m~n}", "${O}", "${P}"]);
        assert!(!has_variables("${@d.getVar('A')}"));
    }

    #[test]
    fn expressions_pair_their_braces() {
        for (text, expected) in [
            ("a ${@1} b ${@2}", vec!["${@1}", "${@2}"]),
            ("${@{'a': 1}['a']}x}", vec!["${@{'a': 1}['a']}"]),
            ("${@{{1}}}", vec!["${@{{1}}"]),
            ("${@'{'}", vec!["${@'{'}"]),
            ("${@}", vec![]),
            ("${@}}", vec!["${@}}"]),
            ("${@a\n}", vec![]),
            ("${@a", vec![]),
            ("${@x ${@y}", vec!["${@x ${@y}"]),
            ("${@'é{' + \"}\"}", vec!["${@'é{' + \"}\"}"]),
        ] {
            assert_eq!(found(expressions(text), text), expected, "{text}");
        }
    }
}
