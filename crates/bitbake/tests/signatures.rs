//! Basehashes of small recipes, as BitBake computes them (`facts/signatures.jsonl`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use buildnet_bitbake::data::{Origin, Store};
use buildnet_bitbake::python::{Launch, Runtime, Session};
use buildnet_bitbake::recipe::StoreView;
use buildnet_bitbake::shared::Shared;
use buildnet_bitbake::signature::{Generator, Library};
use buildnet_bitbake::{Sym, Value};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fact {
    title: String,
    exclude_flags: String,
    variables: Vec<(String, serde_json::Value, BTreeMap<String, serde_json::Value>)>,
    basehash: String,
    depends: Vec<String>,
    values: BTreeMap<String, Option<String>>,
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::String(text) => Value::from(text.as_str()),
        other => Value::Int(other.as_i64().expect("values are text or integers")),
    }
}

/// A session whose Python would be no program at all: none of these recipes needs Python.
fn session(temporary: &std::path::Path) -> Session {
    let launch = Launch {
        python: PathBuf::from("/nonexistent/python"),
        runtime: Arc::new(Runtime::write(temporary).expect("the runtime can be written")),
        environment: Vec::new(),
        directory: temporary.to_owned(),
        limit: std::time::Duration::from_mins(1),
    };
    Session::new(Arc::new(Shared::new(Vec::new(), temporary.to_owned())), launch)
}

#[test]
fn basehashes_are_bitbakes() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut session = session(temporary.path());
    let facts: Vec<Fact> = include_str!("facts/signatures.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a fact is JSON"))
        .collect();
    assert!(facts.len() > 10);
    for fact in facts {
        let title = &fact.title;
        let mut store = Store::new(false);
        let origin = Origin::internal();
        store
            .set(&mut session, Sym::new("BB_SIGNATURE_EXCLUDE_FLAGS"), fact.exclude_flags.as_str().into(), origin)
            .expect("a plain variable");
        for (name, content, flags) in &fact.variables {
            let name = Sym::new(name);
            store.set(&mut session, name, value(content), origin).expect("a variable can be set");
            for (flag, content) in flags {
                store.set_flag(&mut session, name, Sym::new(flag), value(content), origin).expect("a flag can be set");
            }
        }
        let mut generator = Generator::new(Arc::new(Library::default()), [Sym::new("TOPDIR")]);
        let task = Sym::new("do_x");
        let found = generator
            .signatures(&mut StoreView::new(&mut session, &mut store), &[task])
            .unwrap_or_else(|error| panic!("{title}: {error}"));
        let values: BTreeMap<String, Option<String>> = found
            .variables
            .iter()
            .map(|(name, signature)| (name.to_string(), signature.value.as_ref().map(ToString::to_string)))
            .collect();
        assert_eq!(values, fact.values, "{title}");
        let depends: Vec<String> = found.tasks[0].depends.iter().map(ToString::to_string).collect();
        assert_eq!(depends, fact.depends, "{title}");
        assert_eq!(*found.tasks[0].basehash, *fact.basehash, "{title}");
    }
}
