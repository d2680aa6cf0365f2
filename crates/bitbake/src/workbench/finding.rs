//! What went wrong, for people: place, excerpt with a caret, and the files that led there.

use std::fmt;
use std::ops::Range;

use crate::config::RecipeFile;
use crate::error::{Error, Place, chain_of};
use crate::python::Message;
use crate::syntax::{Dialect, Tree};

/// Excerpts are looked for in files up to this size.
const LARGEST_EXCERPT: u64 = 16 << 20;
/// Columns of an excerpt.
const COLUMNS: usize = 160;
/// Errors of one file that are told.
const MOST: usize = 20;

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Should not be so.
    Warning,
    /// Must not be so.
    Error,
}

/// One thing that was noticed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// Where, as well as it is known.
    pub place: Option<Place>,
    /// What: the first line says it, the others tell more.
    pub message: String,
    /// The check that noticed it, if one did ([`CHECKS`](super::CHECKS)).
    #[serde(default)]
    pub id: Option<String>,
}

impl Finding {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: None, message: message.into(), id: None }
    }

    /// Something worth knowing, without a place.
    pub fn note(message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, place: None, message: message.into(), id: None }
    }

    /// Something that metadata logged while a recipe was read.
    pub fn logged(message: &Message, recipe: Option<&str>) -> Self {
        let severity = match message.level {
            40.. => Severity::Error,
            30..=39 => Severity::Warning,
            _ => Severity::Note,
        };
        let (place, text) = match split_place(&message.text) {
            Some((place, text)) => (Some(place), text.to_owned()),
            None => (recipe.map(whole), message.text.clone()),
        };
        Self { severity, place, message: text, id: None }
    }

    /// Why something could not be read; one finding for each place that it names.
    pub fn failed(error: &Error, recipe: Option<&RecipeFile>) -> Vec<Self> {
        let of_recipe = || recipe.map(|recipe| whole(&recipe.path));
        let (place, message) = match error {
            Error::Parse { errors, including } => return several(errors, including),
            Error::Configuration(reasons) => return reasons.iter().map(Self::error).collect(),
            Error::Expansion { chain, .. } => {
                let assigned = recipe.and_then(|recipe| assignment(recipe, chain));
                (assigned.or_else(of_recipe), error.to_string())
            }
            Error::Python { error: raised, .. } => (raised_at(&raised.traceback).or_else(of_recipe), error.to_string()),
            other => match split_place(&other.to_string()) {
                Some((place, text)) => (Some(place), text.to_owned()),
                None => (of_recipe(), other.to_string()),
            },
        };
        vec![Self { severity: Severity::Error, place, message, id: None }]
    }

    /// The line of the file, and a caret below what the message is about.
    fn excerpt(&self) -> Option<String> {
        let place = self.place.as_ref().filter(|place| place.line > 0)?;
        let text = text_of(&place.file)?;
        let line = text.replace("\r\n", "\n").split(['\n', '\r']).nth(place.line as usize - 1)?.to_owned();
        let (start, columns) = match place.column {
            0 => (line.chars().take_while(|c| c.is_whitespace()).count(), line.trim().chars().count()),
            column => (column as usize - 1, place.width as usize),
        };
        // Far to the right, the beginning of the line makes room.
        let skipped = start.saturating_sub(COLUMNS / 2).min(if start + columns > COLUMNS { usize::MAX } else { 0 });
        let shown: String = line.chars().skip(skipped).take(COLUMNS).map(visible).collect();
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let before = " ".repeat(start - skipped);
        let carets = "^".repeat(columns.clamp(1, COLUMNS.saturating_sub(start - skipped).max(1)));
        Some(format!("{margin} |\n{number} | {}\n{margin} | {before}{carets}", shown.trim_end()))
    }
}

/// A character of an excerpt: as wide as every other, and no command to a terminal.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A file's text for an excerpt, when it is not too large.
fn text_of(file: &str) -> Option<String> {
    if std::fs::metadata(file).ok()?.len() > LARGEST_EXCERPT {
        return None;
    }
    Some(String::from_utf8_lossy(&std::fs::read(file).ok()?).into_owned())
}

/// Where in its file a statement says what the message is about; the place itself where that cannot be told.
fn located(place: &Place, message: &str) -> Place {
    let found = || {
        let text = text_of(&place.file).filter(|_| place.line > 0 && place.column == 0)?;
        let tree = Tree::of(&text, &Dialect::of_file(&place.file, true));
        let range = tree.statement_at(place.line)?;
        let culprit = culprit(&text[range.clone()], message)?;
        Some(in_file(&place.file, &text, range.start + culprit.start..range.start + culprit.end))
    };
    found().unwrap_or_else(|| place.clone())
}

/// A range of a file's text, as far as it lies in one line.
pub(super) fn in_file(file: &str, text: &str, range: Range<usize>) -> Place {
    let before = &text[..range.start];
    let line_start = before.rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let lines = before.replace("\r\n", "\n").matches(['\n', '\r']).count();
    let inside = text[range].split(['\n', '\r']).next().unwrap_or_default();
    let columns = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    Place {
        file: file.to_owned(),
        line: u32::try_from(lines + 1).unwrap_or(u32::MAX),
        column: columns(&before[line_start..]) + 1,
        width: columns(inside).max(1),
    }
}

/// What the message is about: the expression it begins with, or the longest of its words that the text contains.
fn culprit(text: &str, message: &str) -> Option<Range<usize>> {
    let head = message.lines().next().unwrap_or_default();
    let expression = head.split(" raised ").next().and_then(|head| head.split(" ran for ").next());
    if let Some(expression) = expression.filter(|own| own.len() > 2 && own.len() < head.len())
        && let Some(at) = text.find(expression)
    {
        return Some(at..at + expression.len());
    }
    let is_name = |c: char| c.is_alphanumeric() || "_-+./:${}@%".contains(c);
    let words = head.split(|c: char| !is_name(c)).map(|word| word.trim_matches(['.', ':'])).filter(|w| w.len() > 2);
    let longest = words.filter(|word| text.contains(word)).max_by_key(|word| word.len())?;
    let at = text.find(longest)?;
    Some(at..at + longest.len())
}

impl fmt::Display for Finding {
    /// `FILE:LINE: MESSAGE`, the excerpt, and the rest of the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, rest) =
            self.message.split_once('\n').map_or((&*self.message, None), |(head, rest)| (head, Some(rest)));
        match &self.place {
            Some(place) if !head.starts_with(&place.to_string()) => write!(f, "{place}: {head}")?,
            _ => f.write_str(head)?,
        }
        if let Some(id) = &self.id {
            write!(f, " [{id}]")?;
        }
        if (self.severity == Severity::Error || self.id.is_some())
            && let Some(excerpt) = self.excerpt()
        {
            write!(f, "\n{excerpt}")?;
        }
        rest.map_or(Ok(()), |rest| write!(f, "\n{rest}"))
    }
}

fn whole(file: &str) -> Place {
    Place::file(file)
}

/// The findings of one file's errors; each says what included the file.
fn several(errors: &[(Place, String)], including: &[Place]) -> Vec<Finding> {
    let tail = chain_of(including);
    let mut findings: Vec<Finding> = errors
        .iter()
        .take(MOST)
        .map(|(place, message)| Finding {
            severity: Severity::Error,
            place: Some(located(place, message)),
            message: format!("{message}{tail}"),
            id: None,
        })
        .collect();
    if let Some((place, _)) = errors.get(MOST) {
        let message = format!("and {} more errors in this file", errors.len() - MOST);
        let place = Some(Place::file(place.file.as_str()));
        findings.push(Finding { severity: Severity::Error, place, message, id: None });
    }
    findings
}

/// Splits `/FILE:LINE: TEXT`.
fn split_place(text: &str) -> Option<(Place, &str)> {
    let head = text.lines().next()?;
    if !head.starts_with('/') {
        return None;
    }
    let (file, rest) = head.split_once(':')?;
    let (line, _) = rest.split_once(": ")?;
    let line = line.parse().ok()?;
    let after = file.len() + 1 + rest.find(": ")? + 2;
    Some((Place::line(file, line), &text[after..]))
}

/// The innermost frame of a traceback that lies in metadata.
fn raised_at(traceback: &str) -> Option<Place> {
    traceback.lines().rev().find_map(|line| {
        let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
        let metadata = [".bb", ".bbclass", ".inc", ".bbappend", ".conf"].iter().any(|end| file.ends_with(end));
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        (metadata && file.starts_with('/')).then_some(())?;
        Some(Place::line(file, digits.parse().ok()?))
    })
}

/// Where the recipe or its appends give one of the variables its value: the innermost one that they assign.
fn assignment(recipe: &RecipeFile, chain: &[String]) -> Option<Place> {
    let files: Vec<(&String, String)> =
        recipe.appends.iter().rev().chain([&recipe.path]).filter_map(|file| Some((file, text_of(file)?))).collect();
    let trees: Vec<Tree> = files.iter().map(|(file, text)| Tree::of(text, &Dialect::of_file(file, false))).collect();
    chain.iter().find_map(|variable| {
        files
            .iter()
            .zip(&trees)
            .find_map(|((file, text), tree)| Some(in_file(file, text, tree.assignment_of(variable)?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_for_each_place() {
        let places = [(Place::line("/l/a.inc", 3), "bad".into()), (Place::line("/l/a.inc", 7), "worse".into())];
        let error = Error::Parse { errors: places.into(), including: vec![Place::line("/l/a.bb", 1)] };
        let shown: Vec<String> = Finding::failed(&error, None).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["/l/a.inc:3: bad\n  included from /l/a.bb:1", "/l/a.inc:7: worse\n  included from /l/a.bb:1"]
        );
    }

    #[test]
    fn tracebacks_lead_to_metadata() {
        let traceback = "  File \"/l/a.bb\", line 4, in f\n  File \"/usr/lib/python3/os.py\", line 9, in g\n";
        assert_eq!(raised_at(traceback), Some(Place::line("/l/a.bb", 4)));
    }
}
