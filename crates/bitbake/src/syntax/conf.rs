//! Configuration files.

use super::assignment::common_statement;
use super::lines::physical;
use super::statement::{Parsed, SyntaxError};

/// Reads a `.conf` file. `base` is whether it belongs to the configuration itself, where `addpylib` is allowed.
pub fn parse_conf(text: &str, base: bool) -> Parsed {
    let mut parsed = Parsed::default();
    let lines = physical(text);
    let mut at = 0;
    while at < lines.len() {
        let first = at + 1;
        let mut line = lines[at].to_owned();
        at += 1;
        if line.is_empty() {
            continue;
        }
        let mut confusing = false;
        while line.ends_with('\\') {
            let next = lines.get(at).copied().unwrap_or_default();
            at += 1;
            confusing |= line.starts_with('#') && !next.starts_with('#');
            line.pop();
            line.push_str(next);
            if at >= lines.len() {
                break;
            }
        }
        if confusing {
            parsed.errors.push(SyntaxError {
                line: number(first),
                message: "a comment is continued by a line that is not one: say which it is".into(),
            });
        } else if !line.starts_with('#') && !line.is_empty() {
            common_statement(&line, number(at.min(lines.len())), base, &mut parsed);
        }
    }
    parsed
}

pub(super) fn number(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}
