//! What went wrong, for people: place, excerpt with a caret, and the files that led there.

use std::fmt;

use crate::config::RecipeFile;
use crate::error::{Error, Place};
use crate::python::Message;

/// Excerpts are looked for in files up to this size.
const LARGEST_EXCERPT: u64 = 16 << 20;
/// Columns of an excerpt.
const COLUMNS: usize = 160;

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
}

impl Finding {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place: None, message: message.into() }
    }

    /// Appends that are for no recipe, each once, though several configurations may miss its recipe.
    pub(super) fn unused(appends: &[String]) -> Vec<Self> {
        let mut told: Vec<Self> = Vec::new();
        for append in appends {
            let finding = Self {
                severity: Severity::Error,
                place: Some(whole(append)),
                message: "no recipe is there for this append".into(),
            };
            if !told.contains(&finding) {
                told.push(finding);
            }
        }
        told
    }

    /// Something worth knowing, without a place.
    pub fn note(message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, place: None, message: message.into() }
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
        Self { severity, place, message: text }
    }

    /// Why something could not be read; one finding for each place that it names.
    pub fn failed(error: &Error, recipe: Option<&RecipeFile>) -> Vec<Self> {
        let of_recipe = || recipe.map(|recipe| whole(&recipe.path));
        let (place, message) = match error {
            Error::Parse { place, message } => return several(place, message),
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
        vec![Self { severity: Severity::Error, place, message }]
    }

    /// The line of the file, and a caret below what the message is about.
    fn excerpt(&self) -> Option<String> {
        let place = self.place.as_ref().filter(|place| place.line > 0)?;
        if std::fs::metadata(&place.file).ok()?.len() > LARGEST_EXCERPT {
            return None;
        }
        let bytes = std::fs::read(&place.file).ok()?;
        let line = bytes.split(|byte| *byte == b'\n').nth(usize::try_from(place.line).ok()? - 1)?;
        let line: String = String::from_utf8_lossy(line)
            .trim_end()
            .chars()
            .take(COLUMNS)
            .map(|c| if c == '\t' { ' ' } else { c })
            .filter(|c| !c.is_control())
            .collect();
        let (start, columns) = self.culprit(&line);
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let before = " ".repeat(start);
        let carets = "^".repeat(columns);
        Some(format!("{margin} |\n{number} | {line}\n{margin} | {before}{carets}"))
    }

    /// Column and width of the longest word of the message that the line contains; else of the whole line.
    fn culprit(&self, line: &str) -> (usize, usize) {
        let head = self.message.lines().next().unwrap_or_default();
        let whole = (columns(line) - columns(line.trim_start()), columns(line.trim()).max(1));
        if head.ends_with(line.trim()) {
            return whole;
        }
        let is_name = |c: char| c.is_alphanumeric() || "_-+./:${}@%".contains(c);
        let words = head.split(|c: char| !is_name(c)).map(|word| word.trim_matches(['.', ':'])).filter(|w| w.len() > 2);
        let longest = words.filter(|word| line.contains(word)).max_by_key(|word| word.len());
        match longest.and_then(|word| Some((line.find(word)?, word))) {
            Some((at, word)) => (columns(&line[..at]), columns(word)),
            None => whole,
        }
    }
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
        if self.severity == Severity::Error
            && let Some(excerpt) = self.excerpt()
        {
            write!(f, "\n{excerpt}")?;
        }
        rest.map_or(Ok(()), |rest| write!(f, "\n{rest}"))
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

fn whole(file: &str) -> Place {
    Place { file: file.to_owned(), line: 0 }
}

/// The findings of one parse error, whose message may go on with `FILE:LINE: …` lines and then says what included the file.
fn several(place: &Place, message: &str) -> Vec<Finding> {
    let (own, including): (Vec<&str>, Vec<&str>) =
        message.lines().partition(|line| !line.trim_start().starts_with("included from "));
    let mut findings: Vec<Finding> = Vec::new();
    for line in own {
        match split_place(line).filter(|_| !findings.is_empty()) {
            Some((place, text)) if line.starts_with('/') => {
                findings.push(Finding { severity: Severity::Error, place: Some(place), message: text.to_owned() });
            }
            _ => match findings.last_mut() {
                Some(last) => last.message.extend(["\n", line]),
                None => findings.push(Finding {
                    severity: Severity::Error,
                    place: Some(place.clone()),
                    message: line.to_owned(),
                }),
            },
        }
    }
    for finding in &mut findings {
        let own = finding.place.as_ref().map(|place| format!("included from {place}"));
        for line in including.iter().filter(|line| own.as_deref() != Some(line.trim_start())) {
            finding.message.extend(["\n", line]);
        }
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
    Some((Place { file: file.to_owned(), line }, &text[after..]))
}

/// The innermost frame of a traceback that lies in metadata.
fn raised_at(traceback: &str) -> Option<Place> {
    traceback.lines().rev().find_map(|line| {
        let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
        let metadata = [".bb", ".bbclass", ".inc", ".bbappend", ".conf"].iter().any(|end| file.ends_with(end));
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        (metadata && file.starts_with('/')).then_some(())?;
        Some(Place { file: file.to_owned(), line: digits.parse().ok()? })
    })
}

/// The line of the recipe or its appends that gives one of the variables its value: the innermost one that they assign.
fn assignment(recipe: &RecipeFile, chain: &[String]) -> Option<Place> {
    for variable in chain {
        for file in recipe.appends.iter().rev().chain([&recipe.path]) {
            let Ok(text) = std::fs::read_to_string(file) else { continue };
            let found = text.lines().position(|line| {
                line.strip_prefix(variable.as_str())
                    .is_some_and(|rest| rest.starts_with([' ', '=', '?', ':', '.', '+']))
            });
            if let Some(line) = found.and_then(|line| u32::try_from(line + 1).ok()) {
                return Some(Place { file: file.clone(), line });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_for_each_place() {
        let place = Place { file: "/l/a.inc".into(), line: 3 };
        let error = Error::Parse { place, message: "bad\n/l/a.inc:7: worse\n  included from /l/a.bb:1".into() };
        let shown: Vec<String> = Finding::failed(&error, None).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["/l/a.inc:3: bad\n  included from /l/a.bb:1", "/l/a.inc:7: worse\n  included from /l/a.bb:1"]
        );
    }

    #[test]
    fn tracebacks_lead_to_metadata() {
        let traceback = "  File \"/l/a.bb\", line 4, in f\n  File \"/usr/lib/python3/os.py\", line 9, in g\n";
        assert_eq!(raised_at(traceback), Some(Place { file: "/l/a.bb".into(), line: 4 }));
    }
}
