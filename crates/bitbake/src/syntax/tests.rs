//! Statements as BitBake reads them.

use super::{Assignment, Operator, Parsed, StatementKind, parse_conf, parse_recipe};
use crate::Sym;

fn one(text: &str) -> StatementKind {
    let Parsed { mut statements, errors, .. } = parse_recipe(text, "cls");
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(statements.len(), 1, "{statements:?}");
    statements.remove(0).kind
}

fn assignment(text: &str) -> (String, Option<String>, Operator, bool, String) {
    let StatementKind::Assign(Assignment { var, flag, operator, export, value }) = one(text) else {
        panic!("{text} is no assignment")
    };
    (var.to_string(), flag.map(|f| f.to_string()), operator, export, value.to_string())
}

#[test]
fn operators() {
    let cases = [
        ("A = \"x\"", "A", Operator::Set),
        ("A := \"x\"", "A", Operator::Immediate),
        ("A ?= \"x\"", "A", Operator::Default),
        ("A ??= \"x\"", "A", Operator::WeakDefault),
        ("A += \"x\"", "A", Operator::Append),
        ("A =+ \"x\"", "A", Operator::Prepend),
        ("A .= \"x\"", "A", Operator::AppendDot),
        ("A =. \"x\"", "A", Operator::PrependDot),
        ("A+=\"x\"", "A", Operator::Append),
        ("A+ = \"x\"", "A+", Operator::Set),
        ("A:append:b-c = 'x'", "A:append:b-c", Operator::Set),
        ("FILES:${PN} = \"x\"", "FILES:${PN}", Operator::Set),
        ("A:=\"x\"", "A", Operator::Immediate),
    ];
    for (text, var, operator) in cases {
        assert_eq!(assignment(text), (var.into(), None, operator, false, "x".into()), "{text}");
    }
}

#[test]
fn quotes_flags_and_export() {
    assert_eq!(assignment("A = \"a\"b\"c\"").4, "a\"b\"c");
    assert_eq!(
        assignment("A[doc] = 'it is \"so\"'"),
        ("A".into(), Some("doc".into()), Operator::Set, false, "it is \"so\"".into())
    );
    assert_eq!(assignment("export A = \"x\""), ("A".into(), None, Operator::Set, true, "x".into()));
    assert_eq!(one("export A"), StatementKind::Export(Sym::new("A")));
    assert_eq!(one("unset A[b1]"), StatementKind::UnsetFlag(Sym::new("A"), Sym::new("b1")));
    assert_eq!(parse_recipe("A = \"a\"b\"", "").errors.len(), 1);
}

#[test]
fn continued_lines() {
    assert_eq!(assignment("A = \" \\\n   b \\\n   c\"").4, "    b    c");
    let conf = parse_conf("A = \"a \\\n   b\"\n", false);
    assert_eq!(conf.statements[0].line, 2);
    let StatementKind::Assign(found) = &conf.statements[0].kind else { panic!("no assignment") };
    assert_eq!(&*found.value, "a    b");
}

#[test]
fn functions() {
    let parsed =
        parse_recipe("fakeroot python do_x () {\n    pass\n}\ndo_y:append() {\n\techo }\n}\npython () {\n}\n", "");
    let names: Vec<_> = parsed
        .statements
        .iter()
        .map(|s| match &s.kind {
            StatementKind::Function(f) => {
                (s.line, f.name.map_or("", Sym::as_str), f.python, f.fakeroot, f.body.to_string(), f.lines)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        names,
        [
            (3, "do_x", true, true, "    pass\n".to_owned(), 2),
            (6, "do_y:append", false, false, "\techo }\n".to_owned(), 2),
            (8, "", true, false, String::new(), 1),
        ]
    );
}

#[test]
fn a_def_ends_where_text_begins_again() {
    let parsed = parse_recipe("def f(d):\n    return 1\n\n# note\nA = \"x\"\n", "");
    assert_eq!(parsed.statements.len(), 2);
    let StatementKind::Def { name, text, lines, .. } = &parsed.statements[0].kind else { panic!("no def") };
    assert_eq!(
        (name.as_str(), &**text, *lines, parsed.statements[0].line),
        ("f", "def f(d):\n    return 1\n\n# note", 4, 5)
    );
}

#[test]
fn tasks() {
    let task = |tasks: &str, before: &str, after: &str| StatementKind::AddTask {
        tasks: tasks.into(),
        before: before.into(),
        after: after.into(),
    };
    assert_eq!(one("addtask a"), task("a", "", ""));
    assert_eq!(one("addtask a after do_b do_c before do_d"), task("a", "do_d", "do_b do_c"));
    assert_eq!(one("addtask a before do_d after do_b # why"), task("a", "do_d", "do_b "));
    assert_eq!(one("deltask a b"), StatementKind::DelTask("a b".into()));
}

#[test]
fn errors_name_their_lines_and_the_rest_is_read() {
    let parsed = parse_recipe("A = \"x\nB = y\n C = \"z\"\nnonsense\nD = \"d\"\nf() {\n", "");
    let lines: Vec<_> = parsed.errors.iter().map(|e| (e.line, e.message.as_str())).collect();
    assert_eq!(
        lines,
        [
            (1, "the value is not closed by \": A = \"x"),
            (2, "the value is not in quotes: B = y"),
            (3, "a statement must start in the first column:  C = \"z\""),
            (4, "not a statement: nonsense"),
            (6, "the function f is never closed: its end is a } alone in the first column"),
        ]
    );
    assert_eq!(parsed.statements.len(), 1);
}
