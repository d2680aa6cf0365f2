//! Our own layer, whose expected values BitBake computed: `facts/layer.jsonl`, see `facts/README.md`.
//!
//! The layer holds one of everything: operators, overrides, weak defaults, flags, appends, deferred and exported classes, variants,
//! event handlers, anonymous functions, a Python library, filters, renamed variables, skipped recipes.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use buildnet_bitbake::Sym;
use buildnet_bitbake::config::{BuildDir, Options, ParseOptions};
use buildnet_bitbake::recipe::recipe_row;
use serde_json::Value as Json;
use support::python;

/// The host's Python, and our own interpreter where `BUILDNET_RUSTPYTHON` names it.
fn interpreters() -> Vec<PathBuf> {
    let own = std::env::var_os("BUILDNET_RUSTPYTHON").map(PathBuf::from);
    if own.is_none() {
        eprintln!("SKIPPED: BUILDNET_RUSTPYTHON names no buildnet-python; `interpreter/` makes it");
    }
    python().into_iter().chain(own).collect()
}

fn open(build: &Path, python: PathBuf) -> buildnet_bitbake::Result<BuildDir> {
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layer");
    std::fs::create_dir_all(build.join("conf")).expect("a temporary directory can be written");
    let layers = format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\n", layer.display());
    std::fs::write(build.join("conf/bblayers.conf"), layers).expect("a temporary directory can be written");
    let path = std::env::var("PATH").unwrap_or_default();
    BuildDir::open(&Options {
        build_dir: build.to_owned(),
        environment: vec![("PATH".into(), path), ("LC_ALL".into(), "C.UTF-8".into())],
        python,
        python_path: Vec::new(),
        temporary: build.to_owned(),
        history: false,
        time_limit: std::time::Duration::from_mins(1),
    })
}

#[test]
fn every_recipe_is_as_bitbake_reads_it() {
    interpreters().into_iter().for_each(check_rows);
}

fn check_rows(python: PathBuf) {
    let build = tempfile::tempdir().expect("a temporary directory");
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layer").display().to_string();
    let dir = open(build.path(), python).expect("the configuration is read");
    let options = ParseOptions { threads: 2, sign: true };
    let mut rows: BTreeMap<(String, String), Json> = BTreeMap::new();
    for outcome in dir.each_recipe(None, options, recipe_row) {
        for row in outcome.variants.expect("every recipe is read") {
            let text =
                row.to_string().replace(&layer, "{LAYER}").replace(&build.path().display().to_string(), "{TOPDIR}");
            let row: Json = serde_json::from_str(&text).expect("a row is JSON");
            let key = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            rows.insert((key("recipe"), key("variant")), row);
        }
    }
    let facts = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts/layer.jsonl"))
        .expect("the facts");
    for line in facts.lines() {
        let want: Json = serde_json::from_str(line).expect("a fact is JSON");
        let key = |name: &str| want[name].as_str().unwrap_or_default().to_owned();
        let got = rows
            .remove(&(key("recipe"), key("variant")))
            .unwrap_or_else(|| panic!("{} {} is missing", want["recipe"], want["variant"]));
        for (field, value) in want.as_object().expect("a row is an object") {
            assert_eq!(&got[field], value, "{} {}: {field}", want["recipe"], want["variant"]);
        }
    }
    assert!(rows.is_empty(), "BitBake has no such variants: {:?}", rows.keys());
}

#[test]
fn every_variable_and_flag_has_bitbakes_value() {
    interpreters().into_iter().for_each(check_values);
}

fn check_values(python: PathBuf) {
    let build = tempfile::tempdir().expect("a temporary directory");
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layer").display().to_string();
    let dir = open(build.path(), python).expect("the configuration is read");
    let top = build.path().display().to_string();
    let place = |text: String| text.replace(&layer, "{LAYER}").replace(&top, "{TOPDIR}");
    let mut session = dir.session(false);
    let facts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts/layer-values.jsonl");
    for line in std::fs::read_to_string(facts).expect("the facts").lines() {
        let want: Json = serde_json::from_str(line).expect("a fact is JSON");
        let path = want["recipe"].as_str().unwrap_or_default().replace("{LAYER}", &layer);
        let variant = want["variant"].as_str().unwrap_or_default();
        let recipe = dir.recipes().iter().find(|recipe| recipe.path == path).expect("the recipe is found");
        let mut found = dir.read_recipe(&mut session, recipe, Some(variant)).expect("the recipe is read");
        let store = &mut found.first_mut().expect("the variant is there").store;
        for (name, value) in want["values"].as_object().expect("values") {
            let got = store.get(&mut session, Sym::new(name)).ok();
            let got =
                got.map_or(Json::from("raises"), |value| value.map_or(Json::Null, |v| place(v.to_string()).into()));
            assert_eq!(&got, value, "{path} [{variant}] {name}");
        }
        for (name, flags) in want["flags"].as_object().expect("flags") {
            let got: serde_json::Map<String, Json> = store
                .flags(Sym::new(name))
                .iter()
                .map(|(flag, value)| (flag.to_string(), place(value.to_string()).into()))
                .collect();
            assert_eq!(&Json::Object(got), flags, "{path} [{variant}] flags of {name}");
        }
    }
}
