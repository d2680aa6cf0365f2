//! Statements as BitBake reads them.

use super::{Assignment, Dialect, Operator, Parsed, StatementKind, Tree, parse};
use crate::Sym;

fn parse_recipe(text: &str, class: &str) -> Parsed {
    parse(text, &Dialect::Recipe { class: class.to_owned() })
}

fn parse_conf(text: &str, base: bool) -> Parsed {
    parse(text, &Dialect::Conf { base })
}

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

/// Line, column, width and words of each error.
fn errors(text: &str) -> Vec<(u32, u32, u32, String)> {
    let errors = parse_recipe(text, "").errors;
    errors.into_iter().map(|error| (error.line, error.column, error.width, error.message)).collect()
}

#[test]
fn errors_name_their_places_and_the_rest_is_read() {
    let text = "A = \"x\nB = y\n C = \"z\"\nnonsense\nD = \"d\"\nE = \"ä\" b\"\nf() {\n";
    let expected = [
        (1, 5, 2, "the value is not closed by \""),
        (2, 5, 1, "the value is not in quotes"),
        (3, 1, 1, "a statement must start in the first column"),
        (4, 1, 8, "not a statement"),
        (6, 7, 1, "the value has a \" inside"),
        (7, 1, 5, "the function f is never closed: its end is a } alone in the first column"),
    ];
    let found = errors(text);
    assert_eq!(found, expected.map(|(line, column, width, message)| (line, column, width, message.to_owned())));
    assert_eq!(parse_recipe(text, "").statements.len(), 1);
}

#[test]
fn errors_in_continued_lines_have_their_own_line() {
    let found = errors("addtask a \\\n  b:append_c \\\n  d\nB \\\n = \\\n  x\n");
    let expected = [
        (2, 3, 10, "the task name b:append_c contains an override keyword".to_owned()),
        (6, 3, 1, "the value is not in quotes".to_owned()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_value_without_an_end_is_one_error() {
    let found = errors("A = \"x\n  y\n  z\"\nB = 1\n");
    let places: Vec<(u32, u32)> = found.iter().map(|(line, column, ..)| (*line, *column)).collect();
    assert_eq!(places, [(1, 5), (4, 5)]);
}

#[test]
fn reading_goes_on_inside_a_function_without_an_end() {
    let text = "do_a() {\n\techo\n  }\n\nB = \"y\"\nnonsense\n";
    let parsed = parse_recipe(text, "");
    let lines: Vec<u32> = parsed.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [1, 6]);
    assert_eq!(parsed.statements.len(), 1, "{:?}", parsed.statements);
    let tree = Tree::of(text, &Dialect::Recipe { class: String::new() });
    assert_eq!(tree.root().text().to_string(), text);
    // Each of many openings is an error; reading ends all the same.
    assert!(parse_recipe(&"f() {\n".repeat(5000), "").errors.len() < 100);
}

#[test]
fn the_tree_has_every_part() {
    let text = "# c\nexport A[f] ?= \"x \\\n y\" \nunset B[no]\ndef f(d):\n  pass\n\npython g () {\n  x\n}\nbad\n";
    let tree = Tree::of(text, &Dialect::Recipe { class: String::new() });
    let shown: Vec<String> = tree
        .root()
        .descendants_with_tokens()
        .filter_map(|element| match element {
            rowan::NodeOrToken::Node(node) => Some(format!("{:?}", node.kind())),
            rowan::NodeOrToken::Token(token) if token.text().trim().is_empty() => None,
            rowan::NodeOrToken::Token(token) => Some(format!("{:?} {:?}", token.kind(), token.text())),
        })
        .collect();
    let expected = [
        "File",
        "Comment \"# c\"",
        "Assignment",
        "Keyword \"export\"",
        "Name \"A\"",
        "Text \"[\"",
        "Flag \"f\"",
        "Text \"]\"",
        "Operator \"?=\"",
        "Text \"\\\"\"",
        "Value \"x \"",
        "Continuation \"\\\\\\n\"",
        "Value \" y\"",
        "Text \"\\\"\"",
        "Unset",
        "Keyword \"unset\"",
        "Name \"B\"",
        "Text \"[\"",
        "Flag \"no\"",
        "Text \"]\"",
        "Def",
        "Keyword \"def\"",
        "Name \"f\"",
        "Text \"(d):\"",
        "Body \"  pass\\n\"",
        "Function",
        "Keyword \"python\"",
        "Name \"g\"",
        "Text \"()\"",
        "Text \"{\"",
        "Body \"  x\\n\"",
        "Close \"}\"",
        "Error",
        "Text \"bad\"",
    ];
    assert_eq!(shown, expected);
    assert_eq!(tree.statement_at(3), Some(4..29));
    assert_eq!(tree.assignment_of("A"), Some(11..12));
}
