//! Which commands a shell text runs.
//!
//! Only commands that are also names of the datastore become dependencies, but a scanner cannot know those, so it returns all.

mod grammar;
mod token;
mod word;

use std::collections::BTreeSet;

use self::word::Part;
use super::ScanError;
use crate::Text;

/// Deepest nesting of command substitutions, `eval` and compound commands.
const MAX_DEPTH: usize = 120;

/// What can be wrong with shell text; the line is added where it is known.
#[derive(Debug)]
enum Fault {
    Syntax(String),
    TooDeep,
}

impl Fault {
    fn at(self, line: usize) -> ScanError {
        match self {
            Self::Syntax(what) => ScanError::Shell { line, what },
            Self::TooDeep => ScanError::TooDeep { line },
        }
    }
}

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    role: Role,
    text: String,
}

/// The place of a word in its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// First word.
    Command,
    /// Any further word.
    Argument,
    /// The value of an assignment before the command.
    Assigned,
}

/// What the grammar finds, in the order of the text.
#[derive(Debug)]
enum Item {
    /// A simple command, or the words of a `for` or of `case` patterns, with the line it ends on.
    Words(Vec<Word>, usize),
    /// A function definition.
    Function(String),
}

#[derive(Default)]
struct Found {
    execs: BTreeSet<String>,
    functions: BTreeSet<String>,
}

/// The commands that a shell text runs, less the functions it defines itself.
///
/// A command is the first word of a simple command, as it is written (quotes included), or the first word in a command substitution
/// or after `eval`. Commands that begin with `$` are unknown and left out.
///
/// # Errors
///
/// [`ScanError::Shell`] where BitBake's parser refuses the text, [`ScanError::TooDeep`] where nesting is beyond reason.
pub fn shell(code: &str) -> Result<BTreeSet<Text>, ScanError> {
    let mut found = Found::default();
    scan(code, 1, 0, &mut found)?;
    Ok(found.execs.into_iter().filter(|name| !found.functions.contains(name)).map(Text::from).collect())
}

fn scan(code: &str, first_line: usize, depth: usize, found: &mut Found) -> Result<(), ScanError> {
    if depth > MAX_DEPTH {
        return Err(ScanError::TooDeep { line: first_line });
    }
    let place = |(fault, line): (Fault, usize)| fault.at(first_line + line - 1);
    let tokens = token::tokens(code).map_err(place)?;
    for item in grammar::items(&tokens).map_err(place)? {
        match item {
            Item::Function(name) => {
                found.functions.insert(name);
            }
            Item::Words(words, line) => command(words, first_line + line - 1, depth, found)?,
        }
    }
    Ok(())
}

/// Scans the substitutions in a command's words, then finds what it runs.
///
/// A word that is itself the command and holds a substitution is dropped, and with it the scan of the word after it is skipped:
/// BitBake removes it from the list it is walking.
fn command(mut words: Vec<Word>, line: usize, depth: usize, found: &mut Found) -> Result<(), ScanError> {
    let mut at = 0;
    while at < words.len() {
        let word = words[at].clone();
        at += 1;
        if !word.text.contains(['$', '`']) {
            // Still, the quoting must be sound.
            word::parts_of(&word.text).map_err(|fault| fault.at(line))?;
            continue;
        }
        for part in word::parts_of(&word.text).map_err(|fault| fault.at(line))? {
            let Part::Group(group) = part else { continue };
            let quoted = (group.open == "\"").then(|| group.parts.iter()).into_iter().flatten();
            let inner = quoted.filter_map(|part| match part {
                Part::Group(group) => Some(group),
                Part::Text(_) => None,
            });
            for candidate in std::iter::once(&group).chain(inner).filter(|group| group.is_command()) {
                scan(&candidate.inner(), line, depth + 1, found)?;
                if word.role == Role::Command
                    && let Some(same) = words.iter().position(|other| *other == word)
                {
                    words.remove(same);
                }
            }
        }
    }
    let mut past_assignment = false;
    for word in &words {
        let candidate = word.role == Role::Command || (past_assignment && word.role == Role::Argument);
        if !candidate {
            continue;
        }
        if word.text.contains('=') {
            past_assignment = true;
            continue;
        }
        if word.text == "eval" {
            let rest: Vec<&str> = words[1..].iter().map(|word| word.text.as_str()).collect();
            scan(&rest.join(" "), line, depth + 1, found)?;
        } else if !word.text.starts_with('$') {
            found.execs.insert(word.text.clone());
        }
        break;
    }
    Ok(())
}
