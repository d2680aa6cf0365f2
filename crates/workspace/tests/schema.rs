//! The published schema, and what `init` proposes.

mod common;

use std::path::Path;

use buildnet_workspace::{init, schema};
use common::{load, tree, write};

/// The file is written anew by `buildnet schema`, or by this test with `BUILDNET_WRITE_SCHEMA` set.
#[test]
fn is_the_one_that_is_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/buildnet.schema.json");
    if std::env::var_os("BUILDNET_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, schema()).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).expect("docs/buildnet.schema.json is there");
    assert!(checked_in == schema(), "docs/buildnet.schema.json is not what the program publishes: write it anew");
}

#[test]
fn proposals_load() {
    let made = tree(&[
        ("lib/Makefile", "all:\n"),
        ("lib/sub/Makefile", "all:\n"),
        ("app/CMakeLists.txt", ""),
        ("app/x.c", ""),
    ]);
    let proposal = init(made.path()).unwrap();
    insta::assert_snapshot!("proposal_for_build_files", proposal);
    write(made.path(), "buildnet.yaml", &proposal);
    assert_eq!(load(made.path()).unwrap().packages.len(), 2);
    assert!(init(made.path()).unwrap_err().to_string().contains("exists already"));

    let npm = tree(&[
        ("package.json", r#"{ "workspaces": ["p/*"] }"#),
        ("p/a/package.json", r#"{ "name": "a", "scripts": { "build": "x", "test": "y" } }"#),
    ]);
    let proposal = init(npm.path()).unwrap();
    insta::assert_snapshot!("proposal_for_npm", proposal);
    write(npm.path(), "buildnet.yaml", &proposal);
    load(npm.path()).unwrap();

    assert!(init(tree(&[]).path()).is_err());
}
