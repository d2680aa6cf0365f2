//! The query language.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use buildnet_workspace::Workspace;
use common::{load, tree};
use proptest::prelude::*;

/// shared <- core <- {sdk, client}, shared <- ui, {client, sdk, ui} <- api; alone stands alone.
fn demo() -> Workspace {
    let yaml = "packages:
  - {name: shared, path: a, language: c, tags: [base]}
  - {name: core, path: b, language: c, dependencies: [shared]}
  - {name: sdk, path: c, language: rust, dependencies: [core]}
  - {name: client, path: d, language: ts, dependencies: [core], tasks: {test: {command: x}}}
  - {name: ui, path: e, language: ts, dependencies: [shared]}
  - {name: api, path: f/api, language: rust, dependencies: [client, sdk, ui], tags: [program]}
  - {name: '@x/alone-1', path: g}
";
    let directory = tree(&[
        ("buildnet.yaml", yaml),
        ("a/", ""),
        ("b/", ""),
        ("c/", ""),
        ("d/", ""),
        ("e/", ""),
        ("f/api/", ""),
        ("g/", ""),
    ]);
    load(directory.path()).expect("the configuration is right")
}

fn ask(workspace: &Workspace, query: &str) -> String {
    workspace.query(query).map_or_else(|error| error.to_string(), |names| names.join(" "))
}

#[test]
fn answers() {
    let workspace = demo();
    for (query, answer) in [
        ("core", "core"),
        ("*", "@x/alone-1 api client core sdk shared ui"),
        ("@x/*", "@x/alone-1"),
        ("\"@x/alone-1\"", "@x/alone-1"),
        ("deps(core)", "core shared"),
        ("deps(api, 1)", "api client sdk ui"),
        ("deps(api, 0)", "api"),
        ("rdeps(ui)", "api ui"),
        ("allrdeps(core)", "api client core sdk"),
        ("rdeps(shared, 1)", "core shared ui"),
        ("rdeps(sdk, shared)", "core sdk shared"),
        ("rdeps(api, shared, 1)", "core shared ui"),
        ("rdeps(shared) intersect attr(lang, ts)", "client ui"),
        ("deps(api) except attr(lang, rust)", "client core shared ui"),
        ("attr(tag, p*) union attr(path, f/*)", "api"),
        ("attr(task, test)", "client"),
        ("kind(declared) - (ui + deps(client))", "@x/alone-1 api sdk"),
        ("all() ^ {ui,api}", "api ui"),
        ("ui intersect core union ui", "ui"),
        ("ui intersect (core union ui)", "ui"),
        ("no-such-*", ""),
    ] {
        assert_eq!(ask(&workspace, query), answer, "{query}");
    }
}

#[test]
fn errors_point() {
    let workspace = demo();
    let queries = [
        "",
        "deps(cor)",
        "dep(core)",
        "deps(core",
        "core ui",
        "deps(core,, 1)",
        "deps(core, x)",
        "attr(langauge, ts)",
        "attr(lang)",
        "union",
        "ui union",
        "'open",
        "attr(lang, deps(ui))",
        "ü union nope",
        "ui)",
    ];
    let answers: Vec<String> = queries.iter().map(|query| ask(&workspace, query)).collect();
    insta::assert_snapshot!(answers.join("\n\n"));
}

#[test]
fn nesting_is_bounded() {
    let workspace = demo();
    assert!(ask(&workspace, &format!("{}ui", "(".repeat(100_000))).contains("longer than"));
    assert!(ask(&workspace, &format!("{}ui", "deps(".repeat(5_000))).contains("nested deeper than 64"));
    assert_eq!(ask(&workspace, &format!("ui{}", " union ui".repeat(5_000))), "ui");
}

fn workspace_of(edges: &BTreeMap<usize, BTreeSet<usize>>) -> Workspace {
    let mut yaml = String::from("packages:\n");
    for (from, targets) in edges {
        let targets: Vec<String> = targets.iter().map(|target| format!("p{target}")).collect();
        let targets = targets.join(", ");
        writeln!(yaml, "  - {{name: p{from}, path: p{from}, dependencies: [{targets}]}}").unwrap();
    }
    let mut files = vec![("buildnet.yaml".to_owned(), yaml)];
    files.extend(edges.keys().map(|number| (format!("p{number}/"), String::new())));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    load(tree(&files).path()).expect("edges lead downward only")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Against a model that multiplies the relation out by brute force.
    #[test]
    fn reachability_is_that_of_the_relation(
        pairs in proptest::collection::vec((0_usize..8, 0_usize..8), 0..16), start in 0_usize..8, depth in 0_usize..5,
    ) {
        let mut edges: BTreeMap<usize, BTreeSet<usize>> = (0..8).map(|number| (number, BTreeSet::new())).collect();
        for (left, right) in pairs {
            if left != right {
                edges.get_mut(&left.max(right)).unwrap().insert(left.min(right));
            }
        }
        let workspace = workspace_of(&edges);
        let step = |set: &BTreeSet<usize>, backward: bool| -> BTreeSet<usize> {
            let mut next = set.clone();
            for (&from, targets) in &edges {
                for &target in targets {
                    let (a, b) = if backward { (target, from) } else { (from, target) };
                    if set.contains(&a) {
                        next.insert(b);
                    }
                }
            }
            next
        };
        for backward in [false, true] {
            let mut model = BTreeSet::from([start]);
            for _ in 0..depth {
                model = step(&model, backward);
            }
            let expected: Vec<String> = model.iter().map(|number| format!("p{number}")).collect();
            let function = if backward { "rdeps" } else { "deps" };
            prop_assert_eq!(ask(&workspace, &format!("{function}(p{start}, {depth})")), expected.join(" "));
        }
    }

    /// No text makes the parser panic.
    #[test]
    fn any_text_is_answered(text in "[a-z(),'\" *?\\[\\]{}^+-]{0,40}") {
        let directory = tree(&[("buildnet.yaml", "packages: [{name: a}]"), ("a/", "")]);
        let workspace = load(directory.path()).unwrap();
        let _ = ask(&workspace, &text);
    }
}
