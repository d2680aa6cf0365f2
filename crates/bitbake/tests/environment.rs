//! The environment of a recipe as text: what `bitbake -e` printed of `beta` in `tests/layer`, see `facts/README.md`.

mod support;

use std::path::Path;

use buildnet_bitbake::config::{BuildDir, Options, RecipeFile, write_environment};
use serde_json::Value as Json;
use support::python;

#[test]
fn variables_and_functions_are_written_as_bitbake_does() {
    let Some(python) = python() else { return };
    let build = tempfile::tempdir().expect("a temporary directory");
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layer");
    std::fs::create_dir_all(build.path().join("conf")).expect("a directory");
    let layers = format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\n", layer.display());
    std::fs::write(build.path().join("conf/bblayers.conf"), layers).expect("a file");
    let dir = BuildDir::open(&Options {
        build_dir: build.path().to_owned(),
        environment: vec![
            ("PATH".into(), std::env::var("PATH").unwrap_or_default()),
            ("LC_ALL".into(), "C.UTF-8".into()),
        ],
        python,
        python_path: Vec::new(),
        temporary: build.path().to_owned(),
        history: true,
        time_limit: std::time::Duration::from_mins(1),
    })
    .expect("the configuration is read");
    let mut session = dir.session(false);
    let file = dir.recipes().iter().find(|file| file.path.ends_with("beta_1.0.bb")).expect("the recipe");
    // BitBake was asked for the file (-b), and reads no appends then.
    let file = &RecipeFile { appends: Vec::new(), ..file.clone() };
    let mut variant = dir.read_recipe(&mut session, file, Some("")).expect("the recipe is read").remove(0);
    let mut out = Vec::new();
    let written = write_environment(&mut session, &mut variant.store, &mut out).expect("everything can be expanded");
    written.expect("a vector can be written");
    let text = String::from_utf8(out).expect("UTF-8");
    // The names of anonymous functions hold the path of their file.
    let mangled: String =
        layer.display().to_string().chars().map(|c| if "/.+-@%&~".contains(c) { '_' } else { c }).collect();
    let text = text
        .replace(&format!("{mangled}_classes"), "_layer_classes")
        .replace(&layer.display().to_string(), "{LAYER}")
        .replace(&build.path().display().to_string(), "{TOPDIR}");
    let facts: Json = serde_json::from_str(include_str!("facts/environment.json")).expect("facts are JSON");
    for (name, block) in facts["variables"].as_object().expect("variables") {
        let block = block.as_str().expect("text");
        let start = format!("#\n# ${name}");
        let found = text.find(&format!("{start}\n")).or_else(|| text.find(&format!("{start} [")));
        let found = &text[found.unwrap_or_else(|| panic!("{name} is not there"))..];
        assert!(found.starts_with(block), "{name}:\n{}\n--- instead of\n{block}", &found[..found.len().min(600)]);
    }
    let functions = facts["functions"].as_str().expect("text");
    let start = text.find("# line: ").expect("functions");
    assert_eq!(text[start..].lines().collect::<Vec<_>>(), functions.lines().collect::<Vec<_>>());
}
