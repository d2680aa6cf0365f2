//! Checks of one file.

use std::collections::HashMap;

use super::{File, found, token};
use crate::error::Place;
use crate::syntax::{SyntaxError, SyntaxKind, SyntaxNode, SyntaxToken, token_texts};
use crate::workbench::{Finding, Severity};

/// Variables that are lists of words.
const LISTS: &[&str] = &[
    "BBCLASSEXTEND",
    "BBFILES",
    "CFLAGS",
    "CORE_IMAGE_EXTRA_INSTALL",
    "CXXFLAGS",
    "DEPENDS",
    "DISTRO_FEATURES",
    "EXTRA_IMAGE_FEATURES",
    "EXTRA_OECMAKE",
    "EXTRA_OECONF",
    "EXTRA_OEMAKE",
    "EXTRA_OEMESON",
    "FILES",
    "IMAGE_FEATURES",
    "IMAGE_FSTYPES",
    "IMAGE_INSTALL",
    "INHERIT",
    "LDFLAGS",
    "LIC_FILES_CHKSUM",
    "MACHINE_EXTRA_RDEPENDS",
    "MACHINE_EXTRA_RRECOMMENDS",
    "MACHINE_FEATURES",
    "PACKAGECONFIG",
    "PACKAGES",
    "PROVIDES",
    "RCONFLICTS",
    "RDEPENDS",
    "RPROVIDES",
    "RRECOMMENDS",
    "RREPLACES",
    "RSUGGESTS",
    "SRC_URI",
];

/// Variables of packages, which were followed by `_${PN}` once.
const OF_PACKAGES: &[&str] = &[
    "ALLOW_EMPTY",
    "CONFFILES",
    "DESCRIPTION",
    "FILES",
    "INSANE_SKIP",
    "RCONFLICTS",
    "RDEPENDS",
    "RPROVIDES",
    "RRECOMMENDS",
    "RREPLACES",
    "RSUGGESTS",
    "SUMMARY",
    "SYSTEMD_SERVICE",
    "pkg_postinst",
    "pkg_postrm",
    "pkg_preinst",
    "pkg_prerm",
];

/// Overrides that every recipe knows.
const OVERRIDES: &[&str] = &["class-native", "class-nativesdk", "class-target", "class-cross"];

pub(super) fn check(file: &File) -> Vec<Finding> {
    let place = |error: &SyntaxError| Place {
        file: file.path.clone(),
        line: error.line,
        column: error.column,
        width: error.width,
    };
    let mut findings: Vec<Finding> = Vec::new();
    for error in &file.tree.parsed.errors {
        let finding = found(Some(place(error)), "syntax", error.message.clone());
        findings.push(Finding { severity: Severity::Error, ..finding });
    }
    for warning in &file.tree.parsed.warnings {
        let is_tab = warning.message.starts_with("Python");
        let (id, message) = if is_tab {
            ("python-tab", &*warning.message)
        } else {
            ("operator-space", "white space is missing around the operator")
        };
        findings.push(found(Some(place(warning)), id, message.to_owned()));
    }
    let mut pending: HashMap<String, SyntaxToken> = HashMap::new();
    for node in file.tree.nodes() {
        if let Some(name) = token(&node, SyntaxKind::Name) {
            findings.extend(old_override(file, &name));
        }
        match node.kind() {
            SyntaxKind::Assignment => {
                findings.extend(assignment(file, &node));
                overwritten(file, &node, &mut pending, &mut findings);
            }
            SyntaxKind::Function => {
                findings.extend(indentation(file, &node));
                // Another function: nothing is read.
                pending.retain(|name, _| token(&node, SyntaxKind::Name).is_none_or(|own| own.text() != name));
            }
            SyntaxKind::Def => {}
            // Whatever is included or inherited may read everything.
            _ => pending.clear(),
        }
    }
    findings
}

fn old_override(file: &File, name: &SyntaxToken) -> Option<Finding> {
    let text = name.text();
    let at = ["append", "prepend", "remove"]
        .iter()
        .find_map(|operator| {
            let at = text.find(&format!("_{operator}"))?;
            let rest = &text[at + 1 + operator.len()..];
            (at > 0 && (rest.is_empty() || rest.starts_with('_') || rest.starts_with(':'))).then_some(at)
        })
        .or_else(|| {
            let at = text.find("_class-")?;
            OVERRIDES.contains(&&text[at + 1..]).then_some(at)
        })
        .or_else(|| {
            let at = text.find("_${PN}")?;
            OF_PACKAGES.contains(&&text[..at]).then_some(at)
        })?;
    let message = format!("{text} is the old syntax of overrides: write {}:{}", &text[..at], &text[at + 1..]);
    Some(file.at(name, "old-override", message))
}

fn assignment(file: &File, node: &SyntaxNode) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (Some(name), Some(sign)) = (token(node, SyntaxKind::Name), token(node, SyntaxKind::Operator)) else {
        return findings;
    };
    if token(node, SyntaxKind::Flag).is_some() {
        return findings;
    }
    let mut parts = name.text().split(':');
    let base = parts.next().unwrap_or_default().to_owned();
    let operator = parts.find(|part| ["append", "prepend", "remove"].contains(part)).map(str::to_owned);
    let adds = matches!(sign.text(), "+=" | "=+" | ".=" | "=.");
    if let Some(operator) = operator.as_deref().filter(|_| adds) {
        let message = format!("{} together with :{operator}: `=` is meant", sign.text());
        findings.push(file.at(&sign, "operator-combination", message));
        return findings;
    }
    if !LISTS.contains(&base.as_str()) {
        return findings;
    }
    let value = token_texts(node, SyntaxKind::Value).concat();
    let blank = |c: char| c.is_whitespace();
    // What a reference gives may begin and end with white space itself.
    let joined_before = !value.starts_with(blank) && !value.starts_with("${");
    let joined_behind = !value.ends_with(blank) && !value.ends_with('}');
    let joined = match (operator.as_deref(), sign.text()) {
        (Some("append"), "=") | (None, ".=") => joined_before,
        (Some("prepend"), "=") | (None, "=.") => joined_behind,
        _ => false,
    };
    if joined && !value.trim().is_empty() {
        let which = if matches!(operator.as_deref(), Some("append")) || sign.text() == ".=" { "start" } else { "end" };
        let message =
            format!("{base} is a list, and nothing but white space at the value's {which} keeps its words apart");
        let place = token(node, SyntaxKind::Value).unwrap_or(name);
        findings.push(file.at(&place, "append-without-space", message));
    }
    findings
}

/// Remembers plain assignments, and tells of those that another throws away before anything can have read them.
fn overwritten(
    file: &File,
    node: &SyntaxNode,
    pending: &mut HashMap<String, SyntaxToken>,
    findings: &mut Vec<Finding>,
) {
    let (Some(name), Some(sign)) = (token(node, SyntaxKind::Name), token(node, SyntaxKind::Operator)) else { return };
    let flag = token(node, SyntaxKind::Flag).map(|flag| format!("[{}]", flag.text())).unwrap_or_default();
    let key = format!("{}{flag}", name.text());
    match sign.text() {
        "=" => {
            if let Some(before) = pending.insert(key.clone(), name) {
                let message = format!("this value of {key} is thrown away: it is assigned again below");
                findings.push(file.at(&before, "overwritten-assignment", message));
            }
        }
        // It expands whatever its value names.
        ":=" => pending.clear(),
        _ => {
            pending.remove(&key);
        }
    }
}

fn indentation(file: &File, node: &SyntaxNode) -> Option<Finding> {
    if token_texts(node, SyntaxKind::Keyword).iter().any(|word| word == "python") {
        return None;
    }
    let name = token(node, SyntaxKind::Name)?;
    let body = token_texts(node, SyntaxKind::Body).concat();
    // Lines that others continue, and text within a here-document, are free.
    let (mut tabs, mut spaces, mut continued, mut heredoc) = (false, false, false, false);
    for line in body.lines() {
        heredoc |= line.contains("<<");
        if !continued && !heredoc {
            tabs |= line.starts_with('\t');
            spaces |= line.starts_with("  ") && !line.trim().is_empty();
        }
        continued = line.ends_with('\\');
    }
    let message = || format!("{} is indented with tabs and with spaces", name.text());
    (tabs && spaces).then(|| file.at(&name, "mixed-indentation", message()))
}
