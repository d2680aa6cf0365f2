//! Metadata that is wrong: errors name the file, the line, and what includes it.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use buildnet_bitbake::config::{BuildDir, Options, ParseOptions};
use support::python;

/// A build directory with a small layer of the given files.
fn build(top: &Path, files: &[(&str, &str)]) -> Option<buildnet_bitbake::Result<BuildDir>> {
    let python = python()?;
    let layer = top.join("layer");
    let write = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    };
    write(top.join("conf/bblayers.conf"), &format!("BBPATH = \"${{TOPDIR}}\"\nBBLAYERS = \"{}\"\n", layer.display()));
    write(
        layer.join("conf/layer.conf"),
        "BBPATH .= \":${LAYERDIR}\"\nBBFILES += \"${LAYERDIR}/*.bb\"\nBBFILE_COLLECTIONS += \"t\"\nBBFILE_PATTERN_t = \"^${LAYERDIR}/\"\n\
         LAYERSERIES_CORENAMES = \"x\"\nLAYERSERIES_COMPAT_t = \"x\"\n",
    );
    write(layer.join("conf/bitbake.conf"), "PN = \"name\"\nPROVIDES = \"${PN}\"\n");
    write(layer.join("classes/base.bbclass"), "addtask build\ndo_build() {\n\t:\n}\n");
    for (path, text) in files {
        write(layer.join(path), text);
    }
    Some(BuildDir::open(&Options {
        build_dir: top.to_owned(),
        environment: vec![("PATH".into(), std::env::var("PATH").unwrap_or_default())],
        python,
        python_path: Vec::new(),
        temporary: top.to_owned(),
        history: false,
        time_limit: Duration::from_secs(2),
    }))
}

/// The error of the only recipe, with the layer's path shortened.
fn recipe_error(files: &[(&str, &str)]) -> Option<String> {
    let top = tempfile::tempdir().expect("a temporary directory");
    let dir = build(top.path(), files)?.expect("the configuration is read");
    let options = ParseOptions { threads: 1, sign: true };
    let outcome = dir.each_recipe(None, options, |_, _, _| Ok(())).pop().expect("a recipe");
    let error = outcome.variants.expect_err("the recipe is wrong").to_string();
    Some(error.replace(&top.path().join("layer").display().to_string(), "LAYER"))
}

fn assert_says(files: &[(&str, &str)], parts: &[&str]) {
    let Some(error) = recipe_error(files) else { return };
    for part in parts {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_named_with_what_includes_it() {
    assert_says(
        &[("a.bb", "A = \"1\"\nrequire a.inc\n"), ("a.inc", "B = \"1\"\n\nC = \"2\nD = 3\n")],
        &[
            "LAYER/a.inc:3:5: the value is not closed by \"",
            "LAYER/a.inc:4:5: the value is not in quotes",
            "included from LAYER/a.bb:2",
        ],
    );
}

#[test]
fn a_class_or_file_that_is_missing_is_named() {
    assert_says(&[("a.bb", "inherit nowhere\n")], &["LAYER/a.bb:1: could not inherit nowhere"]);
    assert_says(
        &[("a.bb", "\nrequire nowhere.inc\n")],
        &["LAYER/a.bb:2: could not include required the file nowhere.inc"],
    );
}

#[test]
fn circles_end() {
    assert_says(&[("a.bb", "A = \"${B}\"\nB = \"${A}\"\nC := \"${A}\"\n")], &["LAYER/a.bb:3", "in a circle", "A -> B"]);
    assert_says(
        &[("a.bb", "require b.inc\n"), ("b.inc", "require c.inc\n"), ("c.inc", "require b.inc\n")],
        &["include each other in a circle"],
    );
}

#[test]
fn python_that_fails_is_named() {
    assert_says(&[("a.bb", "A := \"${@1 // 0}\"\n")], &["LAYER/a.bb:1", "1 // 0 raised ZeroDivisionError"]);
    assert_says(&[("a.bb", "python () {\n    d.getVar(\n}\n")], &["SyntaxError"]);
    assert_says(
        &[("a.bb", "python () {\n    raise KeyError('gone')\n}\n")],
        &["raised KeyError: 'gone'", "a.bb\", line 2"],
    );
}

#[test]
fn python_without_end_is_stopped() {
    assert_says(
        &[("a.bb", "A := \"${@[1 for x in iter(int, 1)]}\"\n")],
        &["LAYER/a.bb:1", "ran for 2 s without end", "iter(int, 1)"],
    );
}

#[test]
fn what_python_prints_stays_out_of_the_way() {
    let top = tempfile::tempdir().expect("a temporary directory");
    let files = [(
        "a.bb",
        "python () {\n    import os, sys\n    print('hello')\n    sys.stdout.flush()\n    os.system('echo from a shell')\n}\n",
    )];
    let Some(dir) = build(top.path(), &files) else { return };
    let dir = dir.expect("the configuration is read");
    let options = ParseOptions { threads: 1, sign: false };
    let outcome = dir.each_recipe(None, options, |_, _, _| Ok(())).pop().expect("a recipe");
    assert_eq!(outcome.variants.expect("the recipe is read").len(), 1);
}

#[test]
fn a_file_that_is_not_text_is_named() {
    let top = tempfile::tempdir().expect("a temporary directory");
    let Some(dir) = build(top.path(), &[("a.bb", "A = \"1\"\n")]) else { return };
    let dir = dir.expect("the configuration is read");
    std::fs::write(top.path().join("layer/a.bb"), b"A = \"1\"\nB = \"\xff\"\n").expect("a file");
    let options = ParseOptions { threads: 1, sign: false };
    let outcome = dir.each_recipe(None, options, |_, _, _| Ok(())).pop().expect("a recipe");
    let error = outcome.variants.expect_err("the recipe is wrong").to_string();
    assert!(error.ends_with("layer/a.bb:2: the file is not UTF-8"), "{error}");
}

#[test]
fn a_layer_that_is_missing_or_unfit_is_named() {
    let top = tempfile::tempdir().expect("a temporary directory");
    let Some(result) = build(
        top.path(),
        &[(
            "conf/layer.conf",
            "BBPATH .= \":${LAYERDIR}\"\nBBFILE_COLLECTIONS += \"t\"\nBBFILE_PATTERN_t = \"\"\nLAYERDEPENDS_t = \"other\"\n",
        )],
    ) else {
        return;
    };
    let error = result.err().expect("the layer is unfit").to_string();
    assert!(error.contains("the layer t depends on the layer other, which bblayers.conf does not list"), "{error}");
    std::fs::remove_dir_all(top.path().join("layer")).expect("the layer goes");
    let Some(python) = python() else { return };
    let error = BuildDir::open(&Options {
        build_dir: top.path().to_owned(),
        environment: Vec::new(),
        python,
        python_path: Vec::new(),
        temporary: top.path().to_owned(),
        history: false,
        time_limit: Duration::from_secs(2),
    });
    let error = error.err().expect("the layer is gone").to_string();
    assert!(error.contains("names directories that do not exist"), "{error}");
}

#[test]
fn everything_that_is_wrong_with_layers_is_told_together() {
    let top = tempfile::tempdir().expect("a temporary directory");
    let Some(result) = build(
        top.path(),
        &[(
            "conf/layer.conf",
            "BBPATH .= \":${LAYERDIR}\"\nBBFILE_COLLECTIONS += \"t old\"\nBBFILE_PATTERN_t = \"\"\nBBFILE_PATTERN_old = \"\"\n\
             BBFILE_PRIORITY_old = \"high\"\nLAYERSERIES_CORENAMES = \"x\"\nLAYERSERIES_COMPAT_t = \"y z\"\n\
             LAYERVERSION_old = \"1.10\"\nLAYERDEPENDS_t = \"old (>= 1.9) old (<1.2) gone\"\n\
             LAYERRECOMMENDS_t = \"also-gone\"\nBBFILES_DYNAMIC = \"whatever :x\"\n",
        )],
    ) else {
        return;
    };
    let error = result.err().expect("the layers are unfit").to_string();
    let expected = [
        "BBFILES_DYNAMIC: whatever is not [!]LAYER:PATTERN",
        "BBFILES_DYNAMIC: :x is not [!]LAYER:PATTERN",
        "the layer t is compatible with y z, and the core layer is x",
        "the layer t depends on version <1.2 of the layer old, which is 1.10",
        "the layer t depends on the layer gone, which bblayers.conf does not list",
        "BBFILE_PRIORITY_old is high, which is no number",
    ];
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
}
