//! Several configurations, targets of all kinds, and every way to hash: what BitBake computed for `tests/multi`, see `facts/README.md`.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use buildnet_bitbake::config::Options;
use buildnet_bitbake::graph::{Hashing, Selection, task_row};
use buildnet_bitbake::signature::{Equivalences, UnihashCache};
use buildnet_bitbake::workbench::{Plan, Wanted, Workbench, plan};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use support::python;

/// The server that answered BitBake: hashes that start with a digit below 8 have an equivalent.
#[derive(Default)]
struct Server {
    asked: Vec<usize>,
}

impl Equivalences for Server {
    fn unihashes(&mut self, queries: &[(&str, &str)]) -> Result<Vec<Option<String>>, String> {
        self.asked.push(queries.len());
        let answer = |taskhash: &str| {
            taskhash
                .starts_with(|digit| ('0'..'8').contains(&digit))
                .then(|| hex::encode(Sha256::digest(format!("u{taskhash}"))))
        };
        Ok(queries.iter().map(|(_, taskhash)| answer(taskhash)).collect())
    }

    fn address(&self) -> &'static str {
        "the test"
    }
}

fn texts(list: &Json) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// Opens the layer in a build directory with the lines of a fact in its configuration.
fn open(build: &Path, python: PathBuf, fact: &Json) -> Workbench {
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/multi");
    let write = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    };
    let conf = texts(&fact["conf"]).join("\n");
    let layers = format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\n{conf}\n", layer.display());
    write(build.join("conf/bblayers.conf"), &layers);
    for (name, text) in fact["files"].as_object().expect("files") {
        write(build.join(name), text.as_str().expect("text"));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let options = Options {
        build_dir: build.to_owned(),
        environment: vec![("PATH".into(), path), ("LC_ALL".into(), "C.UTF-8".into())],
        python,
        python_path: Vec::new(),
        temporary: build.to_owned(),
        history: false,
        time_limit: std::time::Duration::from_mins(1),
    };
    Workbench::open(&options, 2).expect("the configuration is read")
}

fn check(fact: &Json) {
    let Some(python) = python() else { return };
    let title = fact["title"].as_str().expect("a title");
    let build = tempfile::tempdir().expect("a temporary directory");
    let bench = open(build.path(), python, fact);
    let reading = bench.read(&Wanted { sign: true, ..Wanted::default() });
    assert_eq!(reading.failed, 0, "{title}: {:?}", reading.findings);
    let (targets, arguments) = (texts(&fact["targets"]), texts(&fact["arguments"]));
    let named = |option: &str| {
        arguments.iter().filter_map(|argument| argument.strip_prefix(option).map(str::to_owned)).collect()
    };
    let task = arguments.iter().position(|argument| argument == "-c").map(|at| arguments[at + 1].as_str());
    let wanted = Plan {
        targets: &targets,
        task,
        selection: Selection { run_all: named("--runall="), run_only: named("--runonly=") },
        keep_going: arguments.iter().any(|argument| argument == "-k"),
    };
    let mut planned = plan(&bench, reading.recipes, &wanted).unwrap_or_else(|error| panic!("{title}: {error}"));
    let mut server = Server::default();
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/multi").display().to_string();
    let place = |text: String| text.replace(&layer, "{LAYER}").replace(&build.path().display().to_string(), "{TOPDIR}");
    let mut random = |id: &str| {
        let taint = fact["tasks"][place(id.to_owned())]["taint"].as_str();
        taint.and_then(|taint| taint.strip_prefix("nostamp:")).unwrap_or_default().to_owned()
    };
    let mut hashing =
        Hashing { equivalences: Some(&mut server), nostamp_taint: Some(&mut random), ..Hashing::default() };
    let hashes = planned.hashes_with(&mut hashing).unwrap_or_else(|error| panic!("{title}: {error}"));
    let known = std::mem::take(&mut hashing.known);

    let mut ours: BTreeMap<String, Json> = BTreeMap::new();
    for task in &hashes.tasks {
        let row: Json = serde_json::from_str(&place(task_row(task).to_string())).expect("a row is JSON");
        ours.insert(row["task"].as_str().unwrap_or_default().to_owned(), row);
    }
    assert_eq!(json!(planned.recipe_names()), fact["recipes"], "{title}");
    let theirs = fact["tasks"].as_object().expect("tasks");
    let (got, want): (Vec<&String>, Vec<&String>) = (ours.keys().collect(), theirs.keys().collect());
    assert_eq!(got, want, "{title}");
    let noop = texts(&fact["conf"]).iter().any(|line| line.contains("noop"));
    for (id, want) in theirs {
        let got = &ours[id];
        let needs: Vec<&Json> = got["deps"].as_array().into_iter().flatten().map(|pair| &pair[0]).collect();
        assert_eq!(json!(needs), want["deps"], "{title}: {id}");
        for field in ["taskhash", "unihash", "taint", "files"] {
            // A hash of the place of a file differs from place to place.
            if !(noop && field.ends_with("hash")) {
                assert_eq!(got[field], want[field], "{title}: {field} of {id}");
            }
        }
        if !noop {
            assert_eq!(got["basehash"], want["basehash"], "{title}: basehash of {id}");
        }
    }
    if hashes.tasks.iter().all(|task| task.taint.is_none()) {
        again(&mut planned, &hashes.tasks, known, title);
    }
}

/// What is known of earlier runs is not asked for again.
fn again(
    planned: &mut buildnet_bitbake::workbench::Planned,
    tasks: &[buildnet_bitbake::graph::HashedTask],
    known: UnihashCache,
    title: &str,
) {
    let mut server = Server::default();
    let mut hashing = Hashing { equivalences: Some(&mut server), known, ..Hashing::default() };
    let hashes = planned.hashes_with(&mut hashing).unwrap_or_else(|error| panic!("{title}: {error}"));
    for (before, after) in tasks.iter().zip(&hashes.tasks) {
        assert_eq!(before.unihash, after.unihash, "{title}");
    }
    assert!(server.asked.is_empty(), "{title}: {:?}", server.asked);
}

#[test]
fn every_graph_and_hash_is_bitbakes() {
    let facts = include_str!("facts/multi.jsonl").lines();
    let facts: Vec<Json> = facts.map(|line| serde_json::from_str(line).expect("a fact is JSON")).collect();
    assert!(facts.len() > 20);
    for fact in &facts {
        check(fact);
    }
}
