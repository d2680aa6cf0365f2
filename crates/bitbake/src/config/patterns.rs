//! Python's regular expressions, as layers and masks write them.

use fancy_regex::Regex;

/// A pattern. One that is no regular expression matches nothing.
#[derive(Debug)]
pub(crate) struct Pattern(Option<Regex>);

impl Pattern {
    /// Python's `re.match`: it matches at the start of a text.
    pub(crate) fn at_start(pattern: &str) -> Self {
        Self(compile(&format!("\\A(?:{pattern})")))
    }

    /// Python's `re.search`: it matches anywhere; `None` where it is no regular expression.
    pub(crate) fn anywhere(pattern: &str) -> Option<Self> {
        compile(pattern).map(|regex| Self(Some(regex)))
    }

    /// Whether a text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(text).unwrap_or(false))
    }
}

fn compile(pattern: &str) -> Option<Regex> {
    Regex::new(&pattern.replace("\\-", "-").replace("\\/", "/")).ok()
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_look_around() {
        let mask = Pattern::anywhere("/meta/recipes-(?!devtools/makedevs/)").expect("a pattern");
        assert!(mask.matches("/src/meta/recipes-core/zlib/zlib_1.bb"));
        assert!(!mask.matches("/src/meta/recipes-devtools/makedevs/makedevs_1.bb"));
        assert!(Pattern::at_start("^/src/meta/").matches("/src/meta/a"));
        assert!(!Pattern::at_start("meta").matches("/src/meta/a"));
        assert!(Pattern::at_start("^/src/a\\-b/").matches("/src/a-b/c"));
        assert!(!Pattern::at_start("(").matches("("));
    }
}
