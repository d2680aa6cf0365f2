//! Variables as a shell would read them, with every line that set them.

use crate::data::Store;
use crate::error::Result;
use crate::python::Session;
use crate::{Sym, Value};

/// Everything a store holds: variables, then shell functions, then Python functions, each with its history when that was recorded.
pub fn dump(session: &mut Session, store: &mut Store) -> Result<String> {
    let mut names = store.keys(session)?;
    names.retain(|name| !name.as_str().starts_with("__"));
    names.sort_unstable_by_key(|name| name.as_str());
    let (func, python) = (Sym::new("func"), Sym::new("python"));
    let has = |store: &Store, name: Sym, flag: Sym| store.flag_raw(name, flag).is_some_and(|value| value.truthy());
    let mut out = String::new();
    for functions in [false, true] {
        for name in &names {
            if has(store, *name, func) == functions && !(functions && has(store, *name, python)) {
                out.push_str(&variable(session, store, *name, true)?);
            }
        }
    }
    for name in names {
        if !(has(store, name, func) && has(store, name, python)) {
            continue;
        }
        let body = store.get_raw(session, name)?.map(|value| value.to_text()).unwrap_or_default();
        out.extend(["\npython ", name.as_str(), " () {\n", &body, "}\n"]);
    }
    Ok(out)
}

/// One variable as a line of shell; before it, with `history`, the lines that set it. A value that cannot be expanded is said so in a
/// comment, and the others go on.
pub fn variable(session: &mut Session, store: &mut Store, name: Sym, history: bool) -> Result<String> {
    let mut out = String::new();
    if history {
        let raw = store.get_raw(session, name)?.map(|value| value.to_text().to_string());
        out.push_str(&past(store, name, raw.as_deref()));
    }
    let flag = |store: &Store, flag: &str| store.flag_raw(name, Sym::new(flag)).is_some_and(|value| value.truthy());
    if flag(store, "unexport") {
        out.extend(["unset ", name.as_str(), "\n"]);
        return Ok(out);
    }
    let value = match store.get(session, name) {
        Ok(Some(value)) if value != Value::None => value.to_text(),
        Ok(_) => return Ok(out),
        Err(error) => {
            out.extend(["# cannot be expanded: ", &commented(&error.to_string(), ""), "\n"]);
            return Ok(out);
        }
    };
    if flag(store, "func") {
        out.extend([name.as_str(), "() {\n", value.trim_end_matches('\n'), "\n}\n"]);
        return Ok(out);
    }
    if flag(store, "export") {
        out.push_str("export ");
    }
    let quoted = value.replace('"', "\\\"").replace('\n', " \\\n").replace('$', "\\$");
    out.extend([name.as_str(), "=\"", &quoted, "\"\n"]);
    Ok(out)
}

fn past(store: &Store, name: Sym, raw: Option<&str>) -> String {
    let entries = store.history().map(|history| history.of(name)).unwrap_or_default();
    let mut out = format!("#\n# ${name}");
    if entries.is_empty() {
        out.push_str("\n#   [no history recorded]\n#\n");
        if let Some(raw) = raw {
            out.extend(["#   \"", &commented(raw, "  "), "\"\n"]);
        }
        return out;
    }
    if entries.len() > 1 {
        out.extend([format!(" [{} operations]", entries.len())]);
    }
    out.push('\n');
    for entry in entries {
        let flag = entry.flag.map(|flag| format!("[{flag}] ")).unwrap_or_default();
        let detail = commented(&entry.detail.to_text(), "    ");
        let (file, line) = (entry.origin.file, entry.origin.line);
        out.extend([format!("#   {} {file}:{line}\n#     {flag}\"{detail}\"\n", entry.operation)]);
    }
    if let Some(raw) = raw.filter(|_| entries.len() > 1) {
        out.extend(["# pre-expansion value:\n#   \"", &commented(raw, "  "), "\"\n"]);
    }
    out
}

fn commented(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n# {indent}"))
}
