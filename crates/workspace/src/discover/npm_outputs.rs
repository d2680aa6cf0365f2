//! What an npm package's `build` script writes, as far as its manifests tell.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::Discovery;
use super::npm::Members;
use crate::model::join;
use crate::paths;

/// The parts of a `package.json` that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) scripts: BTreeMap<String, String>,
    pub(super) workspaces: Option<Members>,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    peer_dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    files: Value,
    main: Option<Value>,
    module: Option<Value>,
    browser: Option<Value>,
    types: Option<Value>,
    typings: Option<Value>,
    bin: Option<Value>,
    exports: Option<Value>,
}

impl Manifest {
    /// Names of what it depends on, members or not, sorted. Aliases of other packages (`npm:`) do not count.
    pub(super) fn dependencies(&self) -> Vec<Arc<str>> {
        let all = [&self.dependencies, &self.dev_dependencies, &self.peer_dependencies, &self.optional_dependencies];
        let names: BTreeSet<&str> = all
            .into_iter()
            .flatten()
            .filter(|(_, version)| !version.as_str().is_some_and(|version| version.starts_with("npm:")))
            .map(|(name, _)| name.as_str())
            .collect();
        names.into_iter().map(Arc::from).collect()
    }
}

/// What TypeScript's configuration says about outputs.
#[derive(Default)]
pub(super) struct Compiler {
    out_dir: Option<String>,
    declaration_dir: Option<String>,
    build_info: bool,
    /// Whether other projects may refer to this one.
    composite: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TsConfig {
    extends: Value,
    compiler_options: CompilerOptions,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CompilerOptions {
    out_dir: Option<String>,
    declaration_dir: Option<String>,
    incremental: Option<bool>,
    composite: Option<bool>,
}

/// Longest chain of `extends` that is followed.
const MAX_EXTENDS: usize = 8;

/// Reads `tsconfig.json` of the package and what it extends inside the workspace. None if it cannot be read: the compiler will say why.
pub(super) fn typescript(discovery: &mut Discovery<'_>, directory: &str) -> Option<Compiler> {
    let mut compiler = Compiler::default();
    let (mut incremental, mut composite) = (None, None);
    let mut path = join(directory, "tsconfig.json");
    for _ in 0..MAX_EXTENDS {
        let source = discovery.read(&path)?;
        let config: TsConfig = serde_json::from_str(&strip_comments(&source.text)).ok()?;
        let base = path.rsplit_once('/').map_or("", |(base, _)| base).to_owned();
        let options = config.compiler_options;
        // A path is relative to the file that says it; TypeScript knows also `${configDir}`, the directory of the outermost.
        let inside = |value: Option<String>| {
            let value = value?;
            let resolved = match value.strip_prefix("${configDir}") {
                Some(rest) => paths::resolve(directory, rest.trim_start_matches('/'))?,
                None => paths::resolve(&base, &value)?,
            };
            let relative = if directory.is_empty() {
                Some(resolved.as_str())
            } else {
                resolved.strip_prefix(directory)?.strip_prefix('/')
            };
            relative.filter(|relative| !relative.is_empty()).map(str::to_owned)
        };
        compiler.out_dir = compiler.out_dir.or_else(|| inside(options.out_dir));
        compiler.declaration_dir = compiler.declaration_dir.or_else(|| inside(options.declaration_dir));
        incremental = incremental.or(options.incremental);
        composite = composite.or(options.composite);
        let Value::String(extends) = config.extends else { break };
        if !extends.starts_with('.') {
            break;
        }
        let extends = if extends.strip_suffix(".json").is_some() { extends } else { format!("{extends}.json") };
        let Some(next) = paths::resolve(&base, &extends) else { break };
        path = next;
    }
    compiler.build_info = incremental.or(composite).unwrap_or(false);
    compiler.composite = composite.unwrap_or(false);
    Some(compiler)
}

/// Outputs of `build`, and the patterns of what else dependents look at.
///
/// Outputs are: TypeScript's `outDir` and `declarationDir`; its `*.tsbuildinfo`; the first segment of each path under `files`,
/// `main`, `module`, `browser`, `types`, `bin` and `exports`, and the usual names of output directories, where git ignores them.
pub(super) fn infer(
    manifest: &Manifest,
    compiler: Option<&Compiler>,
    ignored: &dyn Fn(&str) -> bool,
) -> (Vec<String>, Vec<String>) {
    const USUAL: [&str; 12] =
        ["dist", "build", "lib", "out", "es", "esm", "cjs", "umd", ".next", ".nuxt", ".output", ".svelte-kit"];
    let mut named = BTreeSet::new();
    let fields = [&manifest.main, &manifest.module, &manifest.browser, &manifest.types, &manifest.typings];
    for value in fields.into_iter().chain([&manifest.bin, &manifest.exports]).flatten().chain([&manifest.files]) {
        collect(value, &mut named, 0);
    }
    let mut outputs: BTreeSet<String> = BTreeSet::new();
    let mut interface: BTreeSet<String> = ["package.json".into(), "tsconfig*.json".into()].into();
    if let Some(compiler) = compiler {
        outputs.extend(compiler.out_dir.iter().chain(&compiler.declaration_dir).cloned());
        if compiler.build_info {
            outputs.insert("*.tsbuildinfo".into());
        }
        if compiler.composite {
            // `tsc --build` of a project that refers to this one compares its sources with its outputs.
            interface.insert("**/*".into());
        }
    }
    for path in &named {
        let first = path.split('/').next().unwrap_or_default();
        if paths::has_wildcard(first) {
            interface.insert(path.clone());
        } else if ignored(first) {
            // Next keeps its cache below its output; the cache is no result.
            outputs.insert(first.to_owned());
        } else if !outputs.iter().any(|output| paths::is_within(path, output)) {
            interface.extend([path.clone(), format!("{path}/**")]);
        }
    }
    outputs.extend(USUAL.into_iter().filter(|name| ignored(name)).map(str::to_owned));
    let all: Vec<String> = outputs.iter().cloned().collect();
    outputs.retain(|output| !all.iter().any(|other| other != output && paths::is_within(output, other)));
    (outputs.into_iter().collect(), interface.into_iter().collect())
}

/// Every relative path in a value of `package.json`, however nested.
fn collect(value: &Value, found: &mut BTreeSet<String>, depth: usize) {
    match value {
        Value::String(text) if !text.starts_with('!') => {
            found.extend(paths::normalize(text).ok().filter(|path| !path.is_empty()));
        }
        Value::Array(items) if depth < 8 => items.iter().for_each(|item| collect(item, found, depth + 1)),
        Value::Object(map) if depth < 8 => map.values().for_each(|item| collect(item, found, depth + 1)),
        _ => {}
    }
}

/// JSON with comments and trailing commas, as TypeScript reads it, made plain.
fn strip_comments(text: &str) -> Cow<'_, str> {
    let text = text.trim_start_matches('\u{feff}');
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' if in_string => {
                out.push(c);
                out.extend(rest.next());
            }
            '"' => {
                in_string = !in_string;
                out.push(c);
            }
            '/' if !in_string && rest.peek() == Some(&'/') => {
                while rest.peek().is_some_and(|&c| c != '\n') {
                    rest.next();
                }
            }
            '/' if !in_string && rest.peek() == Some(&'*') => {
                rest.next();
                let mut star = false;
                for c in rest.by_ref() {
                    if star && c == '/' {
                        break;
                    }
                    star = c == '*';
                }
            }
            ']' | '}' if !in_string => {
                let kept = out.trim_end().len();
                if out[..kept].ends_with(',') {
                    out.truncate(kept - 1);
                }
                out.push(c);
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_what_json_has_not() {
        let text = "{ // \"no\"\n \"a\": \"x // y\", /* , */ \"b\": [1, 2,], }";
        let value: Value = serde_json::from_str(&strip_comments(text)).unwrap();
        assert_eq!(value, serde_json::json!({ "a": "x // y", "b": [1, 2] }));
    }

    #[test]
    fn outputs_are_what_git_ignores() {
        let manifest: Manifest = serde_json::from_str(
            r#"{ "main": "./dist/index.js", "types": "src/index.ts", "files": ["dist", "assets"], "exports": { ".": { "import": "./esm/x.mjs" } } }"#,
        )
        .unwrap();
        let (outputs, interface) = infer(&manifest, None, &|path| path == "dist" || path == "esm");
        assert_eq!(outputs, ["dist", "esm"]);
        assert_eq!(
            interface,
            ["assets", "assets/**", "package.json", "src/index.ts", "src/index.ts/**", "tsconfig*.json"]
        );
    }
}
