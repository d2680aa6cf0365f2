//! What BitBake's code parser finds in shell and Python text (`facts/`), found by our scanners.

use std::collections::{BTreeMap, BTreeSet};

use buildnet_bitbake::scan::{self, NoVisitors};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct ShellFact {
    code: String,
    execs: Option<BTreeSet<String>>,
    #[serde(default)]
    refused: bool,
}

#[derive(Deserialize)]
struct PythonFact {
    code: String,
    #[serde(default)]
    references: BTreeSet<String>,
    #[serde(default)]
    execs: BTreeSet<String>,
    #[serde(default)]
    contains: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    refused: bool,
}

fn facts<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).expect("a fact is JSON of its shape")).collect()
}

#[test]
fn shell_runs_what_bitbake_says() {
    let facts: Vec<ShellFact> = facts(include_str!("facts/shell.jsonl"));
    assert!(facts.len() > 100);
    let mut wrong = Vec::new();
    for fact in facts {
        let found = scan::shell(&fact.code).map(|execs| execs.iter().map(std::string::ToString::to_string).collect());
        let right = match &found {
            Ok(execs) => !fact.refused && Some(execs) == fact.execs.as_ref(),
            Err(_) => fact.refused,
        };
        if !right {
            wrong.push(format!("{:?}: found {found:?}, expected {:?}", fact.code, fact.execs));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn python_refers_to_what_bitbake_says() {
    let facts: Vec<PythonFact> = facts(include_str!("facts/python.jsonl"));
    assert!(facts.len() > 100);
    let mut wrong = Vec::new();
    for fact in facts {
        let found = scan::python(&fact.code, &NoVisitors).map(|refs| {
            let names = |syms: &BTreeSet<buildnet_bitbake::Sym>| -> BTreeSet<String> {
                syms.iter().map(std::string::ToString::to_string).collect()
            };
            let contains = refs.contains.iter().map(|(var, words)| {
                let words: BTreeSet<String> = words.iter().map(std::string::ToString::to_string).collect();
                (var.to_string(), words)
            });
            (names(&refs.references), names(&refs.execs), contains.collect::<BTreeMap<_, _>>())
        });
        let right = match &found {
            Ok((references, execs, contains)) => {
                !fact.refused && *references == fact.references && *execs == fact.execs && *contains == fact.contains
            }
            Err(_) => fact.refused,
        };
        if !right {
            wrong.push(format!("{:?}: found {found:?}", fact.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn errors_say_where() {
    let shell = |code| scan::shell(code).expect_err("the code is wrong").to_string();
    assert_eq!(shell("a\nb\n)\n"), "shell syntax error at line 3: a command is expected before `)`");
    assert_eq!(shell("if a; then b\n"), "shell syntax error at line 1: `fi` is expected before the end");
    assert_eq!(shell("a\necho $((1))\n"), "shell syntax error at line 2: arithmetic expansion `$((` is not supported");
    let python = |code| scan::python(code, &NoVisitors).expect_err("the code is wrong").to_string();
    assert_eq!(python("    a = 1\n    d.getVar()\n"), "line 2: call of d.getVar lacks an argument");
    assert!(python("    a = 1\n    b = (\n").starts_with("Python syntax error at line 3, column 1: "));
}

#[test]
fn deep_nesting_is_an_answer_not_a_crash() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("f(", ")"), ("not ", ""), ("-", ""), ("lambda: ", ""), ("x if y else ", "")]
    {
        let code = format!("{}x{}", open.repeat(20_000), close.repeat(20_000));
        let _ = scan::python(&code, &NoVisitors);
    }
    let chain = format!("x{}", ".y".repeat(100_000));
    assert!(scan::python(&chain, &NoVisitors).is_ok());
    for (open, close) in [
        ("$(", ")"),
        ("\"$(", ")\""),
        ("{ ", "; }"),
        ("(", ")"),
        ("if a; then ", "; fi"),
        ("eval ", ""),
        ("${x:-", "}"),
    ] {
        let code = format!("{}x{}\n", open.repeat(20_000), close.repeat(20_000));
        let _ = scan::shell(&code);
    }
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,60}") {
        let _ = scan::shell(&text);
        let _ = scan::python(&text, &NoVisitors);
    }

    #[test]
    fn any_shell_tokens_have_an_answer(words in prop::collection::vec(
        prop::sample::select(vec!["a", "if", "then", "fi", "for", "in", "do", "done", "case", "esac", "{", "}", "(", ")", ";", ";;", "&",
            "|", "\n", "<<E", "E\n", "\"", "'", "`", "$(", "${", "$", "\\", "#", "=", "eval", "!", "é"]), 0..30)) {
        let _ = scan::shell(&words.join(" "));
        let _ = scan::shell(&words.concat());
    }

    #[test]
    fn any_python_tokens_have_an_answer(words in prop::collection::vec(
        prop::sample::select(vec!["d.getVar", "(", ")", "'A'", "\"", "f'{", "}'", "if", ":", "\n", "    ", "def f", "[", "]", ",", "=",
            "lambda", "not", "for x in", ".expand", "match", "é", "\t", "\\"]), 0..30)) {
        let _ = scan::python(&words.join(" "), &NoVisitors);
        let _ = scan::python(&words.concat(), &NoVisitors);
    }
}
