//! Python's regular expressions, as layers and masks write them.

use fancy_regex::Regex;

/// Python's `re.match`: the pattern matches at the start of the text. A pattern that is none matches nothing.
pub(crate) fn matches_start(pattern: &str, text: &str) -> bool {
    compile(&format!("\\A(?:{pattern})")).is_some_and(|regex| regex.is_match(text).unwrap_or(false))
}

/// Python's `re.search`, compiled once for many texts.
pub(crate) fn matches_anywhere(pattern: &str) -> Option<impl Fn(&str) -> bool + use<>> {
    let regex = compile(pattern)?;
    Some(move |text: &str| regex.is_match(text).unwrap_or(false))
}

fn compile(pattern: &str) -> Option<Regex> {
    Regex::new(&pattern.replace("\\-", "-").replace("\\/", "/")).ok()
}
