//! The syntax tree: it is the file, byte for byte, and says what evaluation reads. Both against BitBake's own reader, where
//! `BUILDNET_BITBAKE` names a checkout, and over all of openembedded-core, where `BUILDNET_OECORE` does.

use std::path::{Path, PathBuf};
use std::process::Command;

use buildnet_bitbake::syntax::{Assignment, Dialect, Operator, Statement, StatementKind, SyntaxKind, Tree, parse};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value as Json, json};

fn dialects() -> [Dialect; 3] {
    let class = "some".to_owned();
    [Dialect::Conf { base: true }, Dialect::Recipe { class: String::new() }, Dialect::Recipe { class }]
}

/// The tree is the text, and the statements made of it are those of the evaluation.
fn assert_lossless(text: &str, dialect: &Dialect, what: &str) {
    let (tree, parsed) = (Tree::of(text, dialect), parse(text, dialect));
    assert_eq!(tree.root().text().to_string(), text, "{what}");
    assert_eq!(tree.parsed, parsed, "{what}");
    assert_eq!(tree.statements(), parsed.statements, "{what}: {text:?}");
    let errors = tree.nodes().filter(|node| node.kind() == SyntaxKind::Error).count();
    assert!(parsed.errors.is_empty() <= (errors == 0), "{what}");
}

/// All metadata files below a directory.
fn metadata(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() && entry.file_name() != ".git" {
            metadata(&path, found);
        } else if kind.is_file()
            && path.extension().and_then(|own| own.to_str()).is_some_and(|own| KINDS.contains(&own))
        {
            found.push(path);
        }
    }
}

const KINDS: [&str; 5] = ["conf", "bb", "bbclass", "inc", "bbappend"];

fn check_layer(directory: &Path) -> usize {
    let mut files = Vec::new();
    metadata(directory, &mut files);
    for file in &files {
        let name = file.display().to_string();
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        assert_lossless(&text, &Dialect::of_file(&name, true), &name);
    }
    files.len()
}

#[test]
fn our_layers_are_read_without_loss() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    assert!(check_layer(&tests.join("layer")) + check_layer(&tests.join("multi")) > 20);
}

#[test]
fn openembedded_core_is_read_without_loss() {
    let Some(oecore) = std::env::var_os("BUILDNET_OECORE") else {
        eprintln!("SKIPPED: BUILDNET_OECORE names no openembedded-core checkout");
        return;
    };
    assert!(check_layer(Path::new(&oecore)) > 1000);
}

/// Lines of what metadata is made of, whole and broken.
const PIECES: &[&str] = &[
    "A",
    "B:append",
    "C[doc]",
    "FILES:${PN}",
    " = ",
    "=",
    " += ",
    " ??= ",
    " .= ",
    ":=",
    " =. ",
    "\"",
    "\"",
    "'",
    "x y",
    "\n",
    "\n",
    "\n",
    "\\\n",
    " \\ \n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "#",
    "# note\n",
    "export ",
    "unset ",
    "inherit ",
    "inherit_defer ",
    "include ",
    "require ",
    "include_all ",
    "addtask ",
    " after ",
    " before ",
    "deltask ",
    "addhandler ",
    "EXPORT_FUNCTIONS ",
    "addpylib ",
    "addfragments ",
    "do_x() {\n",
    "python () {\n",
    "fakeroot python f () {\n",
    "    pass\n",
    "}\n",
    "def f(d):\n",
    "${@",
    "}",
    "{",
    "ä",
    "\u{2028}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_is_read_is_read_without_loss(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
        let text = pieces.concat();
        for dialect in dialects() {
            assert_lossless(&text, &dialect, "pieces");
        }
    }

    #[test]
    fn any_text_is_read_without_loss(text in "\\PC{0,80}") {
        for dialect in dialects() {
            assert_lossless(&text, &dialect, "text");
        }
    }
}

/// What BitBake's reader makes of files: the statements of each, or nothing where it refuses one.
const READER: &str = r#"
import sys, json, types, logging, os, tempfile
sys.path.insert(0, sys.argv[1])
import bb, bb.data, bb.parse
from bb.parse import ast
from bb.parse.parse_py import BBHandler, ConfHandler
logging.disable(logging.CRITICAL)
bb.warn = bb.note = lambda *a: None
class Fatal(Exception): pass
def fatal(*a): raise Fatal()
bb.fatal = fatal
def dump(node):
    kind = type(node).__name__
    own = {k: v for k, v in vars(node).items() if k not in ('filename',)}
    own['kind'] = kind
    if 'groupd' in own:
        g = own.pop('groupd')
        own['sign'] = next((n for n in ('colon','lazyques','ques','append','prepend','predot','postdot') if g[n]), 'set')
        own.update({k: g[k] for k in ('var', 'flag', 'value')})
        own['exp'] = bool(g['exp'])
    for key, value in list(own.items()):
        if isinstance(value, tuple) or isinstance(value, list): own[key] = list(value)
    return own
def conf(text, path):
    with open(path, 'w', newline='') as f: f.write(text)
    found = ast.StatementGroup()
    class Stop(ast.StatementGroup):
        def eval(self, data): found.extend(self)
    old = ast.StatementGroup
    ast.StatementGroup = Stop
    try:
        ConfHandler.handle(path, bb.data.init(), 0, baseconfig=True)
    finally:
        ast.StatementGroup = old
    return found
def recipe(text, path):
    with open(path, 'w', newline='') as f: f.write(text)
    BBHandler.__infunc__ = []; BBHandler.__body__ = []; BBHandler.__residue__ = []; BBHandler.__inpython__ = False
    BBHandler.__classname__ = 'some'
    BBHandler.cached_statements.clear()
    found = BBHandler.get_statements(path, path, os.path.basename(path))
    if BBHandler.__infunc__: raise Fatal()
    return found
with tempfile.TemporaryDirectory() as top:
    for line in sys.stdin:
        case = json.loads(line)
        try:
            read = conf if case['conf'] else recipe
            found = [dump(node) for node in read(case['text'], top + ('/a.conf' if case['conf'] else '/a.bb'))]
        except (Fatal, bb.parse.ParseError, IndexError):
            found = None
        print(json.dumps(found))
"#;

fn as_bitbake(statement: &Statement) -> Json {
    let line = statement.line;
    match &statement.kind {
        StatementKind::Assign(Assignment { var, flag, operator, export, value }) => {
            let sign = match operator {
                Operator::Set => "set",
                Operator::Immediate => "colon",
                Operator::Default => "ques",
                Operator::WeakDefault => "lazyques",
                Operator::Append => "append",
                Operator::Prepend => "prepend",
                Operator::AppendDot => "postdot",
                Operator::PrependDot => "predot",
            };
            json!({"kind": "DataNode", "lineno": line, "sign": sign, "var": var.as_str(), "flag": flag.map(|f| f.as_str()),
                   "value": &**value, "exp": export})
        }
        StatementKind::Include { files, required } => {
            json!({"kind": "IncludeNode", "lineno": line, "what_file": &**files, "force": required})
        }
        StatementKind::IncludeAll(file) => json!({"kind": "IncludeAllNode", "lineno": line, "what_file": &**file}),
        StatementKind::Export(var) => json!({"kind": "ExportNode", "lineno": line, "var": var.as_str()}),
        StatementKind::Unset(var) => json!({"kind": "UnsetNode", "lineno": line, "var": var.as_str()}),
        StatementKind::UnsetFlag(var, flag) => {
            json!({"kind": "UnsetFlagNode", "lineno": line, "var": var.as_str(), "flag": flag.as_str()})
        }
        StatementKind::Inherit(classes) => json!({"kind": "InheritNode", "lineno": line, "classes": &**classes}),
        StatementKind::InheritDefer(classes) => {
            json!({"kind": "InheritDeferredNode", "lineno": line, "inherit": [&**classes, "FILE", line]})
        }
        StatementKind::ExportFunctions { names, class } => json!({"kind": "ExportFuncsNode", "lineno": line,
            "n": names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), "classname": &**class}),
        StatementKind::AddTask { tasks, before, after } => {
            json!({"kind": "AddTaskNode", "lineno": line, "tasks": &**tasks, "before": &**before, "after": &**after})
        }
        StatementKind::DelTask(tasks) => json!({"kind": "DelTaskNode", "lineno": line, "tasks": &**tasks}),
        StatementKind::AddHandler(names) => json!({"kind": "BBHandlerNode", "lineno": line,
            "hs": names.iter().map(|name| name.as_str()).collect::<Vec<_>>()}),
        StatementKind::AddPylib { directory, namespace } => {
            json!({"kind": "PyLibNode", "lineno": line, "libdir": &**directory, "namespace": &**namespace})
        }
        StatementKind::AddFragments([prefix, variable, flagged, builtin]) => {
            json!({"kind": "AddFragmentsNode", "lineno": line,
            "fragments_path_prefix": &**prefix, "fragments_variable": &**variable,
            "flagged_variables_list_variable": &**flagged, "builtin_fragments_variable": &**builtin})
        }
        StatementKind::Function(function) => {
            let body: Vec<&str> = function.body.split('\n').collect();
            json!({"kind": "MethodNode", "lineno": line, "func_name": function.name.map_or("__anonymous", |name| name.as_str()),
                   "body": body, "python": function.python, "fakeroot": function.fakeroot})
        }
        StatementKind::Def { name, text, .. } => {
            json!({"kind": "PythonMethodNode", "lineno": line, "function": name.as_str(),
            "modulename": "a.bb", "body": text.split('\n').collect::<Vec<_>>()})
        }
    }
}

#[test]
fn bitbakes_reader_says_the_same() {
    let Some(bitbake) = std::env::var_os("BUILDNET_BITBAKE").map(PathBuf::from) else {
        eprintln!("SKIPPED: BUILDNET_BITBAKE names no checkout of BitBake");
        return;
    };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..16);
    let line = (prop::collection::vec(prop::sample::select(PIECES), 1..7)).prop_map(|pieces| pieces.concat() + "\n");
    let lines = prop::collection::vec(line, 1..3).prop_map(|lines| lines.concat());
    let whole = prop::sample::select(WHOLE).prop_map(str::to_owned);
    let text = prop_oneof![pieces.prop_map(|pieces| pieces.concat()), lines, whole];
    let mut cases: Vec<(bool, String)> = Vec::new();
    for text in WHOLE.iter().map(|text| (*text).to_owned()) {
        cases.extend([(true, text.clone()), (false, text)]);
    }
    for _ in 0..4000 {
        let text = text.new_tree(&mut runner).expect("a case").current();
        cases.extend([(true, text.clone()), (false, text)]);
    }
    let mut files = Vec::new();
    metadata(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut files);
    if let Some(oecore) = std::env::var_os("BUILDNET_OECORE") {
        metadata(Path::new(&oecore), &mut files);
    }
    for file in files {
        let is_conf = file.extension().is_some_and(|own| own == "conf");
        cases.extend(std::fs::read_to_string(file).ok().map(|text| (is_conf, text)));
    }
    let input: String =
        cases.iter().map(|(conf, text)| json!({"conf": conf, "text": text}).to_string() + "\n").collect();
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("cases"), input).expect("a file");
    let file = std::fs::File::open(directory.path().join("cases")).expect("a file");
    let output = Command::new("python3")
        .args(["-c", READER])
        .arg(bitbake.join("lib"))
        .stdin(file)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3 starts");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said.lines().count(), cases.len(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut wrong, mut read) = (Vec::new(), 0);
    for ((conf, text), said) in cases.iter().zip(said.lines()) {
        let mut said: Json = serde_json::from_str(said).expect("JSON");
        for node in said.as_array_mut().into_iter().flatten() {
            if let Some(inherit) = node.get_mut("inherit") {
                inherit[1] = "FILE".into();
            }
            // A file that ends in the middle of a continued line has no more lines, though BitBake counts one.
            if *conf {
                let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count();
                node["lineno"] = node["lineno"].as_u64().expect("a number").min(lines as u64).into();
            }
        }
        let dialect = if *conf { Dialect::Conf { base: true } } else { Dialect::Recipe { class: "some".to_owned() } };
        let parsed = parse(text, &dialect);
        let own = if parsed.errors.is_empty() {
            Json::Array(parsed.statements.iter().map(as_bitbake).collect())
        } else {
            Json::Null
        };
        read += usize::from(!own.is_null());
        if own != said {
            let text: String = text.chars().take(400).collect();
            wrong.push(format!("{conf} {text:?}\n  BitBake: {said}\n  we:      {own} {:?}", parsed.errors));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong[..wrong.len().min(12)].join("\n")
    );
    assert!(read > 500, "{read} of {} cases could be read", cases.len());
}

/// Whole statements, odd and plain.
const WHOLE: &[&str] = &[
    "A = \"x\"\nA ?= 'y'\nA ??= \"z\"\nA := \"${B}\"\nA += \"x\"\nA =+ \"x\"\nA .= \"x\"\nA =. \"x\"\n",
    "A+=\"x\"\nA+ = \"x\"\nA[f]=\"x\"\nA[f@/x] = 'y'\nexport A[f] = \"x\"\n",
    "A = \"a\"b\"c\"\nB = 'it is \"so\"'\nC = \"it's\"\n",
    "A = \"a\"b\"\n",
    "export A\nexport  B = \"1\"\nunset A\nunset A[ff]\nunset A[f]\n",
    "unset A[fl]\nunset  B\n",
    "export = \"x\"\n",
    " = \"x\"\n",
    "include a b\nrequire ${X}\ninclude_all c.inc\n",
    "addpylib ${LAYERDIR}/lib oe\naddpylib a  b\naddfragments a b c d\naddfragments a b  c d\naddfragments p  q r s t\n",
    "inherit a b\ninherit_defer ${@'x'}\ninherit  c # d\n",
    "addtask a\naddtask a b after c d before e\naddtask do_a before b after c # why\naddtask a after b after c\n",
    "addtask a:append_x\n",
    "deltask a b # c\ndeltask do_x\n",
    "addhandler a b\nEXPORT_FUNCTIONS do_a do_b\n",
    "do_x() {\n\techo }\n  }\n}\n",
    "python do_x () {\n    pass\n}\nfakeroot do_y:append() {\n}\npython () {\n    x = 1\n\n}\npython __anonymous () {\n}\n",
    "fakeroot python f(){\n}\npython fakeroot g ( ) {\n}\nfakeroot () {\n}\n",
    "def f(d):\n    return 1\n\n# c\nA = \"x\"\ndef g(): pass\n",
    "def f(d):\n\treturn 1",
    "def f(d)\n",
    "A = \"x \\\n  y \\\n\"\nB = \"1\"\n",
    "A = \"x \\\n# c\n  y\"\n",
    "# a \\\nB = \"1\"\n",
    "# a \\\n# b\nB = \"1\"\n",
    "A = \"x\\\\\n\n y\"\n",
    "A = \"x\" \\\n",
    "A = \"x\\\\",
    "\\\n",
    "\\\n\\\nA = \"1\"\n",
    "A = \"1\"   \t\nB = \"2\"\r\nC = \"3\"\rD = \"4\"",
    " A = \"1\"\n",
    "   # indented\n",
    "f() {\n",
    "f() \\\n{\n}\n",
    "do_x(){\n}\n}\n",
    "@vardeps(\"A\")\ndef f(d):\n    pass\n",
];
