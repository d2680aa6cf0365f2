//! What is said of wrong configuration: everything at once, each with its place and what to do.

mod common;

use common::{load, tree};

/// The errors of a workspace with this `buildnet.yaml` and directories a, b and c.
fn errors(yaml: &str) -> String {
    let directory = tree(&[("buildnet.yaml", yaml), ("a/", ""), ("b/", ""), ("c/", "")]);
    load(directory.path()).expect_err("the configuration is wrong").to_string()
}

#[test]
fn unknown_key() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: a\n    dependancies: [b]\n  - name: b\ntasks:\n  build:\n    dependson: []\n    colour: red\njob: 4\n"
    ));
}

#[test]
fn wrong_type() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: [a]\n    build_cmd: {x: y}\n  - b\n  - name: c\n    timeout: soon\n    memory: much\n    network: perhaps\n    cpus: -1\n    sandbox: strikt\n    retries: 1.5\n    env: [X]\njobs: \"4\"\n"
    ));
}

#[test]
fn duplicate_package() {
    insta::assert_snapshot!(errors("packages:\n  - name: a\n  - name: b\n  - name: a\n    path: c\n"));
}

#[test]
fn two_packages_in_one_directory() {
    insta::assert_snapshot!(errors("packages:\n  - name: a\n  - name: b\n    path: ./a/\n"));
}

#[test]
fn duplicate_key() {
    insta::assert_snapshot!(errors("jobs: 1\npackages:\n  - name: a\n    build_cmd: x\n    build_cmd: y\njobs: 2\n"));
}

#[test]
fn missing_name() {
    insta::assert_snapshot!(errors("packages:\n  - path: a\n  - name: \"two words\"\n    path: b\n"));
}

#[test]
fn missing_dependency() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: shared\n    path: a\n  - name: b\n    dependencies: [shred, nothing-like-it]\n"
    ));
}

#[test]
fn missing_directory() {
    insta::assert_snapshot!(errors("packages:\n  - name: a\n  - name: d\n  - name: e\n    path: packages/e\n"));
}

#[test]
fn missing_task() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: a\n    build_cmd: x\n  - name: b\n    build_cmd: x\n    tasks:\n      test:\n        command: y\n        depends_on: [biuld, a:biuld, d:build]\n"
    ));
}

#[test]
fn cycle_of_packages() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: a\n    build_cmd: x\n    dependencies: [b]\n  - name: b\n    build_cmd: x\n    dependencies: [c]\n  - name: c\n    build_cmd: x\n    dependencies:\n      - a\n"
    ));
}

#[test]
fn cycle_of_tasks() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: a\n    tasks:\n      one:\n        depends_on: [two]\n      two:\n        depends_on: [a:one]\n      self:\n        depends_on: [self]\n"
    ));
}

#[test]
fn cycle_in_manifests() {
    let directory = tree(&[
        ("package.json", r#"{ "workspaces": ["packages/*"] }"#),
        (
            "packages/a/package.json",
            "{\n  \"name\": \"a\",\n  \"scripts\": { \"build\": \"x\" },\n  \"dependencies\": {\n    \"b\": \"*\"\n  }\n}",
        ),
        (
            "packages/b/package.json",
            "{\n  \"name\": \"b\",\n  \"scripts\": { \"build\": \"x\" },\n  \"devDependencies\": { \"a\": \"workspace:*\" }\n}",
        ),
    ]);
    insta::assert_snapshot!(load(directory.path()).expect_err("a cycle"));
}

#[test]
fn overlapping_outputs() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: a\n    build_cmd: x\n    output_dir: out\n    tasks:\n      docs:\n        command: y\n        outputs: [out/docs, b.txt]\n      more:\n        command: z\n        outputs: [\"*.txt\"]\n"
    ));
}

#[test]
fn outputs_in_a_nested_package() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: root\n    path: .\n    build_cmd: x\n    output_dir: a\n  - name: a\n    build_cmd: y\n    output_dir: out\n"
    ));
}

#[test]
fn paths_that_leave() {
    insta::assert_snapshot!(errors(
        "packages:\n  - name: a\n    build_cmd: x\n    output_dir: ../b/out\n    sources: [../b/**, /etc/passwd, \"src/[\"]\n    state: [/var/tmp]\n  - name: b\n    path: /srv/b\n  - name: c\n    path: ../../c\n    tasks:\n      t:\n        command: x\n        outputs: [/tmp/x, ., \"*/x\", ok]\n"
    ));
}

#[test]
fn no_yaml() {
    insta::assert_snapshot!(errors("packages:\n  - name: a\n   path: b\n"));
    insta::assert_snapshot!(errors("just text\n"));
    insta::assert_snapshot!(errors("a: 1\n---\nb: 2\n"));
}

#[test]
fn no_json_and_no_toml() {
    let directory = tree(&[
        ("package.json", "{ \"workspaces\": [\"p/*\"],\n}"),
        ("Cargo.toml", "[workspace]\nmembers = [\"a\"\n\n[x]\n"),
    ]);
    insta::assert_snapshot!(load(directory.path()).expect_err("neither can be read"));
}

#[test]
fn wrong_type_in_a_manifest() {
    let directory = tree(&[
        ("package.json", r#"{ "workspaces": ["p/*", "../q"] }"#),
        ("p/a/package.json", "{\n  \"name\": \"a\",\n  \"scripts\": { \"build\": 3 }\n}"),
    ]);
    insta::assert_snapshot!(load(directory.path()).expect_err("neither can be read"));
}

#[test]
fn two_members_of_one_name() {
    let directory = tree(&[
        ("package.json", r#"{ "workspaces": ["p/*"] }"#),
        ("p/a/package.json", r#"{ "name": "same" }"#),
        ("p/b/package.json", "{\n  \"name\": \"same\"\n}"),
    ]);
    insta::assert_snapshot!(load(directory.path()).expect_err("a name is given twice"));
}

#[test]
fn a_file_that_is_not_text() {
    let directory = tree(&[("a/", "")]);
    std::fs::write(directory.path().join("buildnet.yaml"), b"packages:\n  - name: \xff\n").unwrap();
    insta::assert_snapshot!(load(directory.path()).expect_err("not UTF-8"));
}

#[test]
fn nothing_at_all() {
    let directory = tree(&[]);
    let root = directory.path().canonicalize().unwrap();
    let text = load(&root).expect_err("nothing is there").to_string();
    insta::assert_snapshot!(text.replace(&root.display().to_string(), "ROOT"));
}
