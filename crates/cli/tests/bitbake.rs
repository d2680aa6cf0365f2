//! What a user of BitBake does and gets wrong, with the program itself, on layers of a few lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A build directory with a layer of its own.
struct Build {
    directory: TempDir,
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

const BITBAKE_CONF: &str = r#"PN = "${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[0] or 'none'}"
PV = "${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[1] or '1.0'}"
PR = "r0"
PROVIDES:prepend = "${PN} "
PACKAGES ?= "${PN}"
OVERRIDES = "pn-${PN}"
TMPDIR = "${TOPDIR}/tmp"
STAMP = "${TMPDIR}/stamps/${PN}/${PV}"
T = "${TMPDIR}/temp"
CACHE = "${TOPDIR}/cache"
BB_SIGNATURE_HANDLER = "basichash"
BB_BASEHASH_IGNORE_VARS = "FILE TOPDIR TMPDIR STAMP T CACHE BBPATH PATH HOME LC_ALL"
"#;
const LAYER_CONF: &str = r#"BBPATH .= ":${LAYERDIR}"
BBFILES += "${LAYERDIR}/recipes/*.bb ${LAYERDIR}/recipes/*.bbappend"
BBFILE_COLLECTIONS += "small"
BBFILE_PATTERN_small = "^${LAYERDIR}/"
BBFILE_PRIORITY_small = "5"
LAYERSERIES_CORENAMES = "test"
LAYERSERIES_COMPAT_small = "test"
"#;
const BASE_CLASS: &str = "addtask build\ndo_build() {\n    make ${WHAT}\n}\n";

impl Build {
    /// `None`, said loudly, where there is no Python.
    fn new() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        if !std::env::split_paths(&path).any(|directory| directory.join("python3").exists()) {
            eprintln!("SKIPPED: there is no python3 on PATH");
            return None;
        }
        let build = Self { directory: tempfile::tempdir().unwrap() };
        build.write("layer/conf/bitbake.conf", BITBAKE_CONF);
        build.write("layer/conf/layer.conf", LAYER_CONF);
        build.write("layer/classes/base.bbclass", BASE_CLASS);
        let layers =
            format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES = \"\"\nBBLAYERS = \"{}/layer\"\n", build.root().display());
        build.write("build/conf/bblayers.conf", &layers);
        Some(build)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn recipe(&self, name: &str, text: impl AsRef<[u8]>) {
        self.write(&format!("layer/recipes/{name}"), text);
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_as(Path::new(env!("CARGO_BIN_EXE_buildnet")), arguments)
    }

    fn bitbake(&self, arguments: &[&str]) -> Ended {
        let program = self.root().join("bitbake");
        if !program.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_buildnet"), &program).unwrap();
        }
        self.run_as(&program, arguments)
    }

    /// Runs a program in the build directory. Paths are shortened to `ROOT` in what it says.
    fn run_as(&self, program: &Path, arguments: &[&str]) -> Ended {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.root().join("build")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.root());
        command.env("BUILDNET_PYTHON_SECONDS", "3").env("LC_ALL", "C.UTF-8");
        let output = command.output().unwrap();
        let root = self.root().display().to_string();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&root, "ROOT");
        Ended {
            code: output.status.code().expect("not killed by a signal"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// What `parse` says of one broken recipe.
    fn parse(&self, name: &str, text: impl AsRef<[u8]>) -> Ended {
        self.recipe(name, text);
        self.run(&["bitbake", "parse"])
    }
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32, texts: &[&str]) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, code, "{all}");
        for text in texts {
            assert!(all.contains(text), "no {text:?} in:\n{all}");
        }
        assert!(!all.contains("panicked"), "{all}");
        self
    }
}

#[test]
fn good_recipes_are_read_and_shown() {
    let Some(build) = Build::new() else { return };
    build.recipe("one_1.0.bb", "WHAT = \"a\"\nDEPENDS = \"two\"\ndo_build[deptask] = \"do_build\"\n");
    build.recipe("two_2.0.bb", "WHAT = \"b\"\nWHAT += \"c\"\nPROVIDES = \"virtual/two\"\n");
    build.run(&["bitbake", "parse"]).expect(0, &["2 recipes read: 2 variants, 0 skipped; 0 with errors"]);
    build.run(&["bitbake", "layers"]).expect(0, &["small", "^ROOT/layer/"]);
    build.run(&["bitbake", "recipes"]).expect(0, &[":1.0-r0", "ROOT/layer/recipes/two_2.0.bb"]);
    build.run(&["bitbake", "providers", "virtual/two"]).expect(0, &["chosen ROOT/layer/recipes/two_2.0.bb"]);
    build.run(&["bitbake", "providers", "three"]).expect(1, &["nothing provides three"]);
    build.run(&["bitbake", "env", "two", "-v", "WHAT"]).expect(0, &["b c\n"]);
    let history = build.run(&["bitbake", "env", "two", "-v", "WHAT", "--history"]).expect(0, &[]);
    insta::assert_snapshot!("history", history.out);
    build.run(&["bitbake", "graph", "one"]).expect(0, &["\"one.do_build\" -> \"two.do_build\""]);
    let graph = build.run(&["bitbake", "graph", "one", "--format", "json"]).expect(0, &[]).out;
    let graph: serde_json::Value = serde_json::from_str(&graph).unwrap();
    assert_eq!(graph["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(graph["tasks"][1]["depends"][0], "ROOT/layer/recipes/two_2.0.bb:do_build");
    let rows = build.run(&["bitbake", "parse", "--jsonl", "-"]).expect(0, &[]).out;
    let rows: Vec<serde_json::Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    let sigs = build.run(&["bitbake", "sigs", "one", "--jsonl", "-"]).expect(0, &[]).out;
    for line in sigs.lines() {
        let task: serde_json::Value = serde_json::from_str(line).unwrap();
        let row = rows.iter().find(|row| task["task"].as_str().unwrap().starts_with(row["recipe"].as_str().unwrap()));
        assert_eq!(task["basehash"], row.unwrap()["basehash"]["do_build"]);
        assert_eq!(task["taskhash"].as_str().unwrap().len(), 64);
    }
}

#[test]
fn why_names_what_changed() {
    let Some(build) = Build::new() else { return };
    build.recipe("one_1.0.bb", "WHAT = \"a\"\nDEPENDS = \"two\"\ndo_build[deptask] = \"do_build\"\n");
    build.recipe("two_2.0.bb", "WHAT = \"b\"\n");
    build.run(&["bitbake", "why", "one:do_build"]).expect(2, &["no signature data of one:do_build"]);
    build.bitbake(&["-S", "none", "one"]).expect(0, &[]);
    build.run(&["bitbake", "why", "one:do_build"]).expect(0, &["nothing differs"]);
    build.recipe("two_2.0.bb", "WHAT = \"changed\"\n");
    build.run(&["bitbake", "why", "two:do_build"]).expect(0, &["WHAT changed from \"b\" to \"changed\""]);
    build
        .run(&["bitbake", "why", "one:do_build", "--against", "tmp/stamps"])
        .expect(0, &["two:do_build changed (hash"]);
    build.run(&["bitbake", "why", "one"]).expect(2, &["one names no task"]);
}

#[test]
fn the_front_speaks_as_bitbake_does() {
    let Some(build) = Build::new() else { return };
    build.recipe("one_1.0.bb", "WHAT = \"a\"\nDEPENDS = \"two\"\ndo_build[deptask] = \"do_build\"\n");
    build.recipe("two_2.0.bb", "WHAT = \"b\"\n");
    build.bitbake(&["-p"]).expect(0, &["Parsing of 2 .bb files complete", "2 targets, 0 skipped, 0 masked, 0 errors."]);
    build.bitbake(&["-s"]).expect(0, &["Recipe Name", "Required Version", ":2.0-r0 "]);
    build
        .bitbake(&["-e", "two"])
        .expect(0, &["# $WHAT", "ROOT/layer/recipes/two_2.0.bb:1", "WHAT=\"b\"", "do_build() {"]);
    build.bitbake(&["-n", "one"]).expect(
        0,
        &[
            "NOTE: Running task 1 of 2 (ROOT/layer/recipes/two_2.0.bb:do_build)",
            "NOTE: Running task 2 of 2 (ROOT/layer/recipes/one_1.0.bb:do_build)",
        ],
    );
    build.bitbake(&["-n", "-b", "../layer/recipes/none.bb"]).expect(1, &["ERROR: ", "no recipe file matches"]);
    build.bitbake(&["-g", "one"]).expect(0, &["NOTE: PN build list saved to 'pn-buildlist'"]);
    let list = fs::read_to_string(build.root().join("build/pn-buildlist")).unwrap();
    assert_eq!(list.lines().collect::<std::collections::BTreeSet<_>>(), ["one", "two"].into());
    let dot = fs::read_to_string(build.root().join("build/task-depends.dot")).unwrap();
    assert!(dot.contains("\"one.do_build\" -> \"two.do_build\"\n"), "{dot}");
    build
        .bitbake(&["-n", "-c", "nothing", "one"])
        .expect(1, &["ERROR: Task do_nothing does not exist for target one. It has:\n  do_build"]);
    build.bitbake(&["one"]).expect(1, &["running tasks of recipes is not there yet"]);
    build.bitbake(&["-n", "ones"]).expect(
        1,
        &[
            "ERROR: Nothing PROVIDES 'ones'. Close matches:\n  one",
            "There was 1 ERROR message, returning a non-zero exit code.",
        ],
    );
    let kept = build.bitbake(&["-n", "-k", "one", "three"]).expect(1, &["ERROR: Nothing PROVIDES 'three'"]);
    assert!(kept.out.contains("NOTE: Running task 2 of 2"), "what can be built is planned: {}", kept.out);
    build.bitbake(&[]).expect(1, &["Nothing to do.  Use 'bitbake world'"]);
    build.bitbake(&["-g"]).expect(1, &["ERROR: Please specify a package name for dependency graph generation."]);
    build.recipe("bad_1.bb", "inherit absent\n");
    build
        .bitbake(&["-n", "one"])
        .expect(1, &["ERROR: ROOT/layer/recipes/bad_1.bb:1:9: ", "Parsing halted due to errors"]);
    build.bitbake(&["-n", "-k", "one"]).expect(1, &["NOTE: Running task 2 of 2"]);
}

/// BitBake itself, side by side: what it prints, what it writes, and what we read of it.
#[test]
fn bitbake_says_and_writes_the_same() {
    let Some(bitbake) = std::env::var_os("BUILDNET_BITBAKE").map(PathBuf::from) else {
        eprintln!("SKIPPED: BUILDNET_BITBAKE names no checkout of BitBake");
        return;
    };
    let questions: [&[&str]; 6] =
        [&["-p"], &["-s"], &["-n", "one"], &["-S", "none", "one"], &["-g", "one"], &["-n", "ones"]];
    for question in questions {
        let [theirs, ours] = [true, false].map(|real| {
            let build = Build::new()?;
            build.recipe("one_1.0.bb", "WHAT = \"a\"\nDEPENDS = \"two\"\ndo_build[deptask] = \"do_build\"\n");
            build.recipe("two_2.0.bb", "WHAT = \"b\"\n");
            let ended =
                if real { build.run_as(&bitbake.join("bin/bitbake"), question) } else { build.bitbake(question) };
            let said: Vec<String> =
                ended.out.lines().filter(|line| !line.starts_with("NOTE: Re")).map(str::to_owned).collect();
            let file = |name: &str| fs::read_to_string(build.root().join("build").join(name)).ok();
            let root = build.root().display().to_string();
            let written: Vec<Option<String>> = ["pn-buildlist", "task-depends.dot"]
                .into_iter()
                .map(|name| Some(file(name)?.replace(&root, "ROOT")))
                .collect();
            if real && question.contains(&"-S") {
                build.run(&["bitbake", "why", "one:do_build"]).expect(0, &["nothing differs"]);
                build.recipe("two_2.0.bb", "WHAT = \"other\"\n");
                build
                    .run(&["bitbake", "why", "two:do_build", "--against", "tmp/stamps"])
                    .expect(0, &["WHAT changed from \"b\" to \"other\""]);
            }
            Some((ended.code, said, ended.err, written))
        });
        assert_eq!(theirs, ours, "{question:?}");
    }
}

#[test]
fn forced_tasks_are_tainted_and_said_to_differ() {
    let Some(build) = Build::new() else { return };
    build.recipe("one_1.0.bb", "WHAT = \"a\"\nDEPENDS = \"two\"\ndo_build[deptask] = \"do_build\"\n");
    build.recipe("two_2.0.bb", "WHAT = \"b\"\n");
    let first = build.bitbake(&["-S", "none", "one"]).expect(0, &["NOTE: Writing task signature files"]);
    assert_eq!(first.err, "", "what is no error goes to standard output");
    let said = "NOTE: Tainting hash to force rebuild of task ROOT/layer/recipes/two_2.0.bb, do_build";
    build.bitbake(&["-n", "-f", "two"]).expect(0, &[said]);
    let taint = build.root().join("build/tmp/stamps/two/2.0.do_build.taint");
    let before = fs::read_to_string(&taint).unwrap();
    assert_eq!(before.len(), 36, "{before}");
    build.bitbake(&["-S", "none", "-C", "build", "two"]).expect(
        0,
        &[
            said,
            "WARNING: ROOT/layer/recipes/two_2.0.bb:do_build is tainted from a forced run",
            "There was 1 WARNING message.",
        ],
    );
    assert_ne!(fs::read_to_string(&taint).unwrap(), before);
    build.run(&["bitbake", "why", "one:do_build", "--against", "tmp/stamps"]).expect(0, &["one:do_build is "]);
    build.bitbake(&["-S", "printdiff", "one"]).expect(
        0,
        &[
            "start at the following tasks:\nROOT/layer/recipes/two_2.0.bb:do_build\n",
            "Task two:do_build couldn't be used from the cache because:",
            "it was forced to run",
        ],
    );
}

#[test]
fn signatures_are_locked() {
    let Some(build) = Build::new() else { return };
    let names = "BB_HASHFILENAME = \"False sstate:${PN}:board:${PV}:r0:x86_64:14: sstate:${PN}::${PV}:r0::14:\"\nMACHINE = \"board\"\n";
    build.write("layer/conf/bitbake.conf", format!("{BITBAKE_CONF}{names}"));
    build.recipe("one_1.0.bb", "WHAT = \"a\"\n");
    let ended =
        build.bitbake(&["-S", "lockedsigs", "one"]).expect(0, &["Writing locked sigs to ROOT/build/locked-sigs.inc"]);
    let locked = fs::read_to_string(build.root().join("build/locked-sigs.inc")).unwrap();
    assert!(locked.starts_with("SIGGEN_LOCKEDSIGS_t-x86-64 = \"\\\n    one:do_build:"), "{locked}\n{}", ended.out);
    assert!(locked.contains("SIGGEN_LOCKEDSIGS_TYPES:board = \"t-x86-64\"\n"), "{locked}");
}

#[test]
fn doubts_have_names_and_places() {
    let Some(build) = Build::new() else { return };
    build.recipe(
        "one_1.0.bb",
        "SRC_URI:append = \"file://a\"\nA=\"1\"\nB = \"1\"\nB = \"2\"\nFILES_${PN} = \"/x\"\nC:append += \"x\"\n\
         include absent.inc\npython () {\n\tx = 1\n}\ndo_x() {\n\techo\n    echo\n}\ninherit_defer late\nLATE = \"recipe\"\n",
    );
    build.recipe("unused.inc", "LICENSE = \"MIT\"\n");
    build.recipe("good_1.0.bb", "LICENSE = \"MIT\"\nSUMMARY = \"Nothing wrong\"\nrequire good.inc\n");
    build.recipe("good.inc", "WHAT = \"x\"\n");
    build.write("layer/classes/late.bbclass", "LATE = \"class\"\n");
    let json = build.run(&["bitbake", "lint", "--json", "../layer/recipes"]).expect(0, &[]).out;
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<String> = rows
        .iter()
        .map(|row| {
            let file = row["file"].as_str().unwrap().rsplit('/').next().unwrap();
            format!("{file}:{}:{} {}", row["line"], row["column"], row["id"].as_str().unwrap())
        })
        .collect();
    let expected = [
        "one_1.0.bb:null:null missing-summary",
        "one_1.0.bb:null:null missing-license",
        "one_1.0.bb:1:19 append-without-space",
        "one_1.0.bb:2:2 operator-space",
        "one_1.0.bb:3:1 overwritten-assignment",
        "one_1.0.bb:5:1 old-override",
        "one_1.0.bb:6:10 operator-combination",
        "one_1.0.bb:7:9 missing-include",
        "one_1.0.bb:9:1 python-tab",
        "one_1.0.bb:11:1 mixed-indentation",
        "one_1.0.bb:16:1 deferred-overwrites",
        "unused.inc:null:null unused-include",
    ];
    assert_eq!(shown, expected);
    let text = build.run(&["bitbake", "lint"]).expect(0, &["12 doubts told"]);
    let caret = "one_1.0.bb:6:10: += together with :append: `=` is meant [operator-combination]\n  |\n6 | C:append += \"x\"\n  |          ^^";
    assert!(text.err.contains(caret), "{}", text.err);
}

#[test]
fn the_task_graph_answers_queries() {
    let Some(build) = Build::new() else { return };
    build.recipe("one_1.0.bb", "WHAT = \"a\"\nDEPENDS = \"two\"\ndo_build[deptask] = \"do_build\"\n");
    build.recipe("two_2.0.bb", "WHAT = \"b\"\nDEPENDS = \"virtual/three\"\ndo_build[deptask] = \"do_build\"\n");
    build.recipe("three_3.0.bb", "PROVIDES = \"virtual/three\"\naddtask early before do_build\ndo_early() {\n\t:\n}\n");
    let ask = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["query"].iter().chain(arguments).copied().collect();
        build.run(&arguments).expect(0, &[]).out
    };
    assert_eq!(ask(&["deps(bitbake:two:do_build, 1)"]), "three:do_build\ntwo:do_build\n");
    assert_eq!(ask(&["--bitbake", "deps(one) except one"]), "three:do_build\nthree:do_early\ntwo:do_build\n");
    assert_eq!(ask(&["--recipes", "deps(one)"]), "one\nthree\ntwo\n");
    assert_eq!(
        ask(&["rdeps(bitbake:one, bitbake:three:early)"]),
        "one:do_build\nthree:do_build\nthree:do_early\ntwo:do_build\n"
    );
    assert_eq!(
        ask(&["--universe", "one", "rdeps(bitbake:three, 1)"]),
        "three:do_build\nthree:do_early\ntwo:do_build\n"
    );
    let way = "one:do_build\ntwo:do_build\nthree:do_build\nthree:do_early\n";
    assert_eq!(ask(&["path(bitbake:one, bitbake:three:do_early)"]), way);
    assert_eq!(ask(&["deps(bitbake:one) intersect bitbake:*:do_early"]), "three:do_early\n");
    assert_eq!(ask(&["deps(bitbake:one) intersect attr(file, *two_2.0.bb)"]), "two:do_build\n");
    assert_eq!(ask(&["bitbake:virtual/three"]), "three:do_build\nthree:do_early\n");
    assert_eq!(ask(&["--json", "bitbake:three:do_early"]), "[\"three:do_early\"]\n");
    build.run(&["query", "deps(bitbake:four)"]).expect(1, &["nothing provides four"]);
    build
        .run(&["query", "--universe", "two", "deps(bitbake:one)"])
        .expect(2, &["there is no task or recipe in this graph `one`"]);
    build.run(&["query", "bitbake:*"]).expect(2, &["the query names no recipe"]);
}

#[test]
fn all_errors_of_a_run_are_told_together() {
    let Some(build) = Build::new() else { return };
    build.recipe("bad-quote_1.bb", "A = \"fine\"\nB = \"never closed\nC = \"fine\"\n");
    build.recipe("bad-function_1.bb", "do_build() {\n    echo\n");
    build.recipe("bad-operator_1.bb", "A ==? \"x\"\nB =! \"y\"\n");
    build.recipe("bad-class_1.bb", "inherit not_there\n");
    build.recipe("bad-include_1.bb", "require deep.inc\n");
    build.recipe("deep.inc", "A = \"b\"\n\nrequire deeper.inc\n");
    build.recipe("deeper.inc", "not a statement\n");
    build.recipe("bad-require_1.bb", "require missing.inc\n");
    build.recipe("good_1.bb", "WHAT = \"x\"\n");
    let ended = build.run(&["bitbake", "parse"]).expect(1, &["7 recipes read: 1 variants, 0 skipped; 6 with errors"]);
    insta::assert_snapshot!("errors", ended.err);
}

#[test]
fn circles_are_told_with_their_chain() {
    let Some(build) = Build::new() else { return };
    build.recipe("variable_1.bb", "A = \"${B}\"\nB = \"${A}\"\nWHAT = \"${A}\"\nPN := \"${A}\"\n");
    build.recipe("include_1.bb", "require round.inc\n");
    build.recipe("round.inc", "require circle.inc\n");
    build.recipe("circle.inc", "require round.inc\n");
    build.run(&["bitbake", "parse"]).expect(
        1,
        &[
            "variable_1.bb:4:",
            "A -> B",
            "in a circle",
            "included from ROOT/layer/recipes/include_1.bb:1",
            "2 with errors",
        ],
    );
}

#[test]
fn python_that_misbehaves_is_named() {
    let Some(build) = Build::new() else { return };
    build.recipe("raises_1.bb", "WHAT := \"${@1 // 0}\"\n");
    build.recipe("function_1.bb", "def broken(d):\n    return {}[\"k\"]\n\npython () {\n    broken(d)\n}\n");
    build.recipe("prints_1.bb", "python () {\n    print(\"\\x1b[2Jhello\")\n}\n");
    build.recipe("exits_1.bb", "python () {\n    import os\n    os._exit(3)\n}\n");
    build.recipe("good_1.bb", "WHAT = \"x\"\n");
    let ended = build.run(&["bitbake", "parse", "--threads", "1"]).expect(
        1,
        &[
            "raises_1.bb:1:",
            "ZeroDivisionError",
            "function_1.bb:2: ",
            "KeyError",
            "exits_1.bb",
            "5 recipes read: 2 variants",
        ],
    );
    assert!(!ended.out.contains("hello"), "what metadata prints is no output of ours: {}", ended.out);
}

#[test]
fn python_without_an_end_is_stopped() {
    let Some(build) = Build::new() else { return };
    build.recipe("endless_1.bb", "WHAT := \"${@[x for x in iter(int, 1)]}\"\n");
    build.recipe("good_1.bb", "WHAT = \"x\"\n");
    build
        .run(&["bitbake", "parse", "--threads", "1"])
        .expect(1, &["endless_1.bb:1:", "[x for x in iter(int, 1)]", "without end", "2 recipes read: 1 variants"]);
}

#[test]
fn odd_bytes_are_no_surprise() {
    let Some(build) = Build::new() else { return };
    build.recipe("crlf_1.bb", "WHAT = \"x\"\r\nOTHER = \"a \\\r\n b\"\r\n");
    build.recipe("tabs_1.bb", "python () {\n\tx = 1\n}\nWHAT = \"\ty\"\n");
    build.run(&["bitbake", "parse"]).expect(0, &["2 recipes read: 2 variants", "tabs_1.bb:2: ", "here is a tab"]);
    build.run(&["bitbake", "env", "crlf", "-v", "WHAT"]).expect(0, &["x\n"]);
    build.parse("latin_1.bb", b"A = \"x\"\nB = \"\xe9\"\n").expect(1, &["latin_1.bb:2: the file is not UTF-8"]);
    build.recipe("nul_1.bb", b"A = \"\0\"\n\0\n");
    build.recipe("escape_1.bb", "\x1b[2J is no statement\n");
    let ended = build.run(&["bitbake", "parse"]).expect(1, &["nul_1.bb", "escape_1.bb:1:1: "]);
    assert!(!ended.err.contains('\x1b'), "no escape sequence reaches the terminal");
}

#[test]
fn a_huge_recipe_is_refused_or_read() {
    let Some(build) = Build::new() else { return };
    let line = format!("A{} = \"{}\"\n", "B".repeat(60), "x".repeat(4000));
    build.recipe("big_1.bb", line.repeat(500));
    build.run(&["bitbake", "parse"]).expect(0, &["1 recipes read: 1 variants"]);
    let file = fs::File::create(build.root().join("layer/recipes/huge_1.bb")).unwrap();
    file.set_len(100 << 20).unwrap();
    build.run(&["bitbake", "parse"]).expect(1, &["huge_1.bb", "too many for a metadata file", "1 variants"]);
}

#[test]
fn layers_that_do_not_fit_are_named() {
    let Some(build) = Build::new() else { return };
    let root = build.root().display().to_string();
    let list =
        |more: &str| format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES = \"\"\nBBLAYERS = \"{root}/layer {root}/{more}\"\n");
    build.write("build/conf/bblayers.conf", list("absent"));
    build.run(&["bitbake", "parse"]).expect(1, &["ROOT/absent", "ROOT/build/conf/bblayers.conf"]);
    build.write("build/conf/bblayers.conf", list("other"));
    let other = "BBFILE_COLLECTIONS += \"other\"\nBBFILE_PATTERN_other = \"^${LAYERDIR}/\"\nLAYERSERIES_COMPAT_other = \"ancient\"\n";
    build.write("other/conf/layer.conf", other);
    build.run(&["bitbake", "layers"]).expect(1, &["other", "ancient", "test"]);
    build.write("other/conf/layer.conf", other.replace("ancient", "test") + "LAYERDEPENDS_other = \"third\"\n");
    build.run(&["bitbake", "layers"]).expect(1, &["the layer other depends on the layer third"]);
    build.write("other/conf/layer.conf", "A = \"unclosed\nB = 1\n");
    build.run(&["bitbake", "layers"]).expect(1, &["ROOT/other/conf/layer.conf:1:5: "]);
    fs::remove_dir_all(build.root().join("build/conf")).unwrap();
    build.run(&["bitbake", "layers"]).expect(1, &["no conf/bblayers.conf"]);
}

#[test]
fn two_recipes_that_provide_one_thing_are_told() {
    let Some(build) = Build::new() else { return };
    build.recipe("one_1.bb", "PROVIDES = \"virtual/thing\"\nWHAT = \"a\"\n");
    build.recipe("two_1.bb", "PROVIDES = \"virtual/thing\"\nWHAT = \"a\"\n");
    build
        .run(&["bitbake", "lint"])
        .expect(0, &["virtual/thing is provided by ", "PREFERRED_PROVIDER_virtual/thing", "1 doubt"]);
    build.run(&["bitbake", "graph", "one"]).expect(0, &["one.do_build"]);
    build.run(&["bitbake", "graph", "one", "two"]).expect(
        1,
        &[
            "2 recipes would be built that each provide virtual/thing",
            "ROOT/layer/recipes/one_1.bb",
            "ROOT/layer/recipes/two_1.bb",
        ],
    );
    build.write("layer/conf/bitbake.conf", format!("{BITBAKE_CONF}BB_MULTI_PROVIDER_ALLOWED = \"virtual/thing\"\n"));
    build.run(&["bitbake", "graph", "one", "two"]).expect(0, &["two.do_build"]);
}

#[test]
fn openembedded_core_is_shown() {
    let Some(oecore) = std::env::var_os("BUILDNET_OECORE").map(PathBuf::from) else {
        eprintln!("SKIPPED: BUILDNET_OECORE names no openembedded-core checkout");
        return;
    };
    let Some(build) = Build::new() else { return };
    let layers = format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES = \"\"\nBBLAYERS = \"{}/meta\"\n", oecore.display());
    build.write("build/conf/bblayers.conf", layers);
    build.write("build/conf/local.conf", "MACHINE = \"qemux86-64\"\nDISTRO = \"\"\nINHERIT:remove = \"uninative\"\n");
    build.write("build/conf/sanity.conf", "");
    build.run(&["bitbake", "layers"]).expect(0, &["core"]);
    build
        .run(&["bitbake", "env", "-v", "MACHINE", "--history"])
        .expect(0, &["conf/local.conf:1: set MACHINE", "qemux86-64"]);
    build.run(&["bitbake", "env", "zlib", "-v", "PN"]).expect(0, &["zlib\n"]);
}
