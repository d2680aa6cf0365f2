//! BitBake's own test cases, run against this datastore and this `bb` package.
//!
//! Needs a BitBake checkout, named by `BUILDNET_BITBAKE`; without one the test says so and checks nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use buildnet_bitbake::Sym;
use buildnet_bitbake::data::{Origin, Store};
use buildnet_bitbake::python::{Launch, Runtime, Session};
use buildnet_bitbake::shared::Shared;

/// Loads a test module from its file, runs each of its cases, and leaves the outcomes in a variable, a line each.
const RUN: &str = r#"
def run_suite(d):
    import importlib.util
    import unittest

    spec = importlib.util.spec_from_file_location("suite", d.getVar("SUITE"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    outcomes = []

    class Result(unittest.TestResult):
        def name(self, test):
            return ".".join(test.id().split(".")[-2:])

        def addSuccess(self, test):
            outcomes.append("ok " + self.name(test))

        def failed(self, test, err):
            last = self._exc_info_to_string(err, test).strip().splitlines()
            outcomes.append("failed %s: %s" % (self.name(test), " | ".join(last[-6:])))

        addFailure = failed
        addError = failed

        def addSubTest(self, test, subtest, err):
            if err is not None:
                self.failed(test, err)

    unittest.defaultTestLoader.loadTestsFromModule(module).run(Result())
    d.setVar("OUTCOMES", "\n".join(outcomes))
"#;

fn outcomes(checkout: &Path, suite: &str) -> String {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let launch = Launch {
        python: PathBuf::from("python3"),
        runtime: Arc::new(Runtime::write(temporary.path()).expect("the runtime can be written")),
        environment: std::env::vars_os().collect(),
        directory: temporary.path().to_owned(),
        limit: Duration::from_mins(1),
    };
    let mut session = Session::new(Arc::new(Shared::new(Vec::new(), temporary.path().to_owned())), launch);
    let mut store = Store::new(false);
    let file = checkout.join(format!("lib/bb/tests/{suite}.py")).display().to_string();
    store
        .set(&mut session, Sym::new("SUITE"), file.as_str().into(), Origin::internal())
        .expect("a variable can be set");
    session.run(&mut store, Sym::new("run_suite"), &RUN.into(), Sym::new("suite"), 0).expect("the suite runs");
    store.get(&mut session, Sym::new("OUTCOMES")).expect("a value").map_or_else(String::new, |text| text.to_string())
}

/// Runs a suite; every case must succeed but those named, which must not: the list would be out of date.
fn check(suite: &str, exceptions: &[(&str, &str)]) {
    let Some(checkout) = std::env::var_os("BUILDNET_BITBAKE") else {
        eprintln!("SKIPPED: BUILDNET_BITBAKE names no BitBake checkout: its own {suite} cases did not run");
        return;
    };
    let outcomes = outcomes(Path::new(&checkout), suite);
    let excepted = |line: &str| exceptions.iter().any(|(case, _)| line.contains(case));
    let wrong: Vec<&str> = outcomes.lines().filter(|line| line.starts_with("ok ") == excepted(line)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(outcomes.lines().count() > exceptions.len(), "no case ran: {outcomes}");
}

#[test]
fn data_cases() {
    check(
        "data",
        &[
            ("TaskHash.test_taskhashes", "calls inner functions of the generator, which is not Python here"),
            ("TestMemoize.test_memoized", "compares the identity of Python objects, which a bridge cannot keep"),
        ],
    );
}

#[test]
fn code_parser_cases() {
    check("codeparser", &[]);
}

#[test]
fn utils_cases() {
    check("utils", &[("Path.test_unsafe_delete_path", "calls a private function by its name")]);
}

#[test]
fn parse_cases() {
    check(
        "parse",
        &[
            ("test_file_variables", "runs the program and reads what it prints"),
            ("test_parse_export_functions", "looks for classes where Python stands, not in BBPATH"),
            ("test_parse_broken_multiline_comment", "the error is a ParseError here"),
            ("test_parse_comment_in_var", "the same"),
            ("test_parse_special_character_assignment", "the error says it in other words"),
            ("test_unclosed_functions", "the same"),
        ],
    );
}

#[test]
fn filter_cases() {
    check("filter", &[]);
}
