//! Inline expressions evaluated without Python come out as Python itself has them.
//!
//! Needs a `python3`; without one the test says so and checks nothing.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use buildnet_bitbake::data::{Origin, Store};
use buildnet_bitbake::python::{Launch, Runtime, Session};
use buildnet_bitbake::shared::Shared;
use buildnet_bitbake::{Sym, Value};

const VARIABLES: [(&str, &str); 11] = [
    ("A", "one two  three"),
    ("EMPTY", ""),
    ("NUMBER", " 42 "),
    ("VERSION", "1.2.3-rc4"),
    ("NESTED", "x${A}y"),
    ("PATHS", "/usr//lib/../bin/./x"),
    ("FILE", "/layer/recipes/foo_1.2_r3.bb"),
    ("UMLAUT", "größe\u{a0}x"),
    ("ODD", "a\u{1c}b c"),
    ("YES", "True"),
    ("LINES", "a\tb\nc"),
];

/// Expressions that need no Python.
const NATIVE: [&str; 86] = [
    "2 * 3",
    "{'a': 'b'}['a']",
    "d.getVar('A')",
    "d.getVar('NESTED')",
    "d.getVar('NESTED', False)",
    "d.getVar('NESTED', True)",
    "d.getVar('MISSING')",
    "d.getVar('MISSING') or 'default'",
    "d.getVar('EMPTY') or d.getVar('A')",
    "d.getVar('A') and 'yes'",
    "d.getVar('EMPTY') and 'yes'",
    "not d.getVar('A')",
    "not not d.getVar('A')",
    "'a' if d.getVar('A') else 'b'",
    "'a' if d.getVar('A') == 'one two  three' else 'b'",
    "'a' if d.getVar('MISSING') is None else 'b'",
    "'a' if d.getVar('A') is not None and 'two' in d.getVar('A').split() else 'b'",
    "'tw' in d.getVar('A')",
    "'tw' not in ['two', 'tw']",
    "['', '-x'][d.getVar('A') != '']",
    "['no', 'yes'][bool(d.getVar('EMPTY'))]",
    "d.getVar('VERSION').replace('-', '_')",
    "d.getVar('VERSION').split('.')[0]",
    "d.getVar('VERSION').split('.')[-1]",
    "'.'.join(d.getVar('VERSION').split('.')[:2])",
    "'.'.join(d.getVar('VERSION').split('.')[0:2])",
    "d.getVar('VERSION').split('.', 1)[1]",
    "d.getVar('VERSION').rsplit('-', 1)[0]",
    "d.getVar('VERSION')[2:]",
    "d.getVar('VERSION')[-3:100]",
    "d.getVar('VERSION')[5:2]",
    "d.getVar('VERSION')[0]",
    "d.getVar('A').split()",
    "len(d.getVar('A').split())",
    "len(d.getVar('UMLAUT'))",
    "d.getVar('A').upper()",
    "d.getVar('A').lower().startswith('one')",
    "d.getVar('A').endswith('x')",
    "d.getVar('NUMBER').strip()",
    "d.getVar('A').strip('eno')",
    "d.getVar('A').lstrip('o') + d.getVar('A').rstrip('e')",
    "int(d.getVar('NUMBER'))",
    "int(d.getVar('NUMBER')) + 1",
    "int(d.getVar('MISSING') or 0) > 0",
    "1 < int(d.getVar('NUMBER')) <= 42",
    "str(5) + 'x'",
    "bool('')",
    "'%s-%s' % (d.getVar('NUMBER'), 'x')",
    "'%s%%' % d.getVar('NUMBER')",
    "'%s' % None",
    "f\"a{d.getVar('NUMBER')}b\" 'c'",
    "' '.join([x + ':do' for x in d.getVar('A').split()])",
    "' '.join(x for x in d.getVar('A').split() if x != 'two')",
    "' '.join([f'-{x}' for x in ['a', 'b'] if x in 'ab' if x])",
    "' '.join(sorted(d.getVar('A').split()))",
    "bb.utils.contains('A', 'one', 'y', 'n', d)",
    "bb.utils.contains('A', 'one four', 'y', 'n', d)",
    "bb.utils.contains('A', 'one three', 'y', 'n', d)",
    "bb.utils.contains('A', '', 'y', 'n', d)",
    "bb.utils.contains('MISSING', '', 'y', 'n', d)",
    "bb.utils.contains('A', ['one'], 'y', 'n', d)",
    "bb.utils.contains('A', ('one', 'six'), True, False, d)",
    "bb.utils.contains('NESTED', 'xone', d.getVar('NUMBER'), 'n', d)",
    "bb.utils.contains('A', 'one', bb.utils.contains('A', 'x', 'xx', 'oo', d), 'n', d)",
    "bb.utils.contains_any('A', 'four two', 'y', 'n', d)",
    "bb.utils.contains_any('A', '', 'y', 'n', d)",
    "bb.utils.filter('A', 'three one five', d)",
    "bb.utils.filter('MISSING', 'a', d)",
    "bb.utils.to_boolean(d.getVar('YES'))",
    "bb.utils.to_boolean(d.getVar('MISSING'), 'z')",
    "bb.data.inherits_class('native', d)",
    "bb.data.inherits_class('image', d)",
    "bb.parse.vars_from_file(d.getVar('FILE', False), d)[0] or 'x'",
    "bb.parse.vars_from_file(d.getVar('FILE', False), d)[1] or 'x'",
    "bb.parse.vars_from_file('/a/b.bb', d)[2] or 'x'",
    "os.path.dirname(d.getVar('FILE', False))",
    "os.path.basename(d.getVar('PATHS') + '/')",
    "os.path.dirname('//a')",
    "os.path.normpath(d.getVar('PATHS'))",
    "os.path.normpath('')",
    "os.path.normpath('../../a/..')",
    "os.path.normpath('//a///b')",
    "os.path.join('/a', 'b', '/c', 'd/')",
    "os.path.join('', 'a')",
    "d.getVarFlag('A', 'doc')",
    "d.expand('${NUMBER}') + 'x'",
];

/// Expressions that look as simple, and are Python's.
const PYTHONS: [&str; 14] = [
    "d.getVar('UMLAUT').split()",
    "d.getVar('ODD').split()",
    "bb.utils.contains('ODD', 'a', 1, 0, d)",
    "d.getVar('UMLAUT').upper()",
    "d.getVar('UMLAUT')[4]",
    "d.getVar('A').split('\\n')[0:1:1]",
    "'%d' % 5",
    "'%5s' % 'x'",
    "[x for x in 'ab']",
    "max(1, 2)",
    "d.getVar('A').title()",
    "f'{5:>3}'",
    "int('1_0')",
    "str([1, 'a'])",
];

fn session(temporary: &std::path::Path) -> Session {
    let launch = Launch {
        python: PathBuf::from("python3"),
        runtime: Arc::new(Runtime::write(temporary).expect("the runtime can be written")),
        environment: std::env::vars_os().collect(),
        directory: temporary.to_owned(),
        limit: std::time::Duration::from_mins(1),
    };
    Session::new(Arc::new(Shared::new(Vec::new(), temporary.to_owned())), launch)
}

#[test]
fn native_evaluation_is_pythons() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3 to compare with");
        return;
    }
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut session = session(temporary.path());
    session.check_native();
    let mut store = Store::new(false);
    let origin = Origin::internal();
    for (name, text) in VARIABLES {
        store.set(&mut session, Sym::new(name), text.into(), origin).expect("a variable can be set");
    }
    store
        .set_flag(&mut session, Sym::new("A"), Sym::new("doc"), "about ${NUMBER}".into(), origin)
        .expect("a flag can be set");
    let classes =
        Value::List(Arc::new(vec!["/m/classes/native.bbclass".into(), "/m/classes/autotools.bbclass".into()]));
    store.set(&mut session, Sym::new("__inherit_cache"), classes, origin).expect("a variable can be set");
    for expression in NATIVE {
        let before = session.evaluations.native;
        let text = format!("${{@{expression}}}");
        store.expand(&mut session, &text).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert!(session.evaluations.native > before, "{expression} went to Python");
    }
    for expression in PYTHONS {
        let before = session.evaluations.python;
        let text = format!("${{@{expression}}}");
        store.expand(&mut session, &text).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert!(session.evaluations.python > before, "{expression} was evaluated without Python");
    }
    let differences: Vec<&str> = session.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!((session.evaluations.different, differences), (0, vec![]));
}

/// Bodies of functions that run without Python: of `def f(d)`.
const FUNCTIONS: [&str; 20] = [
    "d.setVar('X', d.getVar('A').replace('o', '0'))",
    "for word in (d.getVar('A') or '').split():\n        d.appendVar('X', ' ' + word)\n        d.setVarFlag('X', word, '1')",
    "n = 0\n    while n < 5:\n        n += 1\n        if n == 2:\n            continue\n        if n == 4:\n            break\n    else:\n        n = 99\n    d.setVar('X', str(n))",
    "for x in d.getVar('MISSING') or []:\n        break\n    else:\n        d.setVar('X', 'none')",
    "seen = set()\n    for word in d.getVar('A').split() + ['one']:\n        if word not in seen:\n            seen.add(word)\n    d.setVar('X', ' '.join(sorted(seen)))",
    "def inner(word, suffix='-x'):\n        return word + suffix + tail\n    tail = '!'\n    d.setVar('X', ' '.join([inner(w) for w in d.getVar('A').split() if w != 'two']) + inner('z', suffix='+'))",
    "flags = d.getVarFlags('A') or {}\n    for name, value in sorted(flags.items()):\n        d.setVar('X_' + name, value)\n    d.setVar('X', str(len(flags)))",
    "a, b = d.getVar('VERSION').split('-', 1)\n    d.setVar('X', '%s/%s/%d' % (b, a, 1) if a == '' else '{}:{}'.format(b, a))",
    "parts = d.getVar('VERSION').split('.')\n    parts[0] = str(int(parts[0]) + 41)\n    parts.insert(0, 'v')\n    parts.reverse()\n    d.setVar('X', '.'.join(parts))",
    "x = {'a': '1'}\n    x.update({'b': '2'})\n    x['a'] += '0'\n    d.setVar('X', ' '.join(x.keys()) + ' '.join(x.values()) + x.get('z', '-'))",
    "try:\n        d.setVar('X', 'tried')\n    except Exception as e:\n        d.setVar('X', str(e))\n    finally:\n        d.appendVar('X', ' last')",
    "import re\n    if re.match('one|two', d.getVar('A')) and not re.search('^t', d.getVar('A')):\n        d.setVar('X', 'matched')",
    "d.renameVar('LINES', 'ROWS')\n    d.delVar('ODD')\n    d.delVarFlag('A', 'doc')\n    d.setVar('X', d.getVar('ROWS'))",
    "copy = d.createCopy()\n    copy.setVar('NUMBER', '7')\n    d.setVar('X', copy.getVar('NUMBER') + d.getVar('NUMBER'))",
    "d.setVar('X', 'yes' if any(w.startswith('t') for w in d.getVar('A').split()) and all(w for w in ['a']) else 'no')",
    "d.setVar('X', str(17 // 5) + str(-17 % 5) + str(2 * 3 - 1) + str(not 0) + str(None))",
    "bb.build.deltask('do_x', d)\n    d.setVar('X', str(bb.data.inherits_class('native', d)))",
    "uri = bb.fetch.URI('git://h.org/a/b.git;protocol=https')\n    d.setVar('X', uri.scheme + uri.path + uri.params.get('protocol', 'git'))",
    "d.setVar('X', ' '.join(bb.utils.explode_deps('a (>= 1) b c (= 2)')))",
    "for a in ['x', 'y']:\n        for b in range(2):\n            d.appendVarFlag('X', a, str(b))\n            d.prependVarFlag('X', a, '-')",
];

/// Bodies that begin here and end in Python.
const BEGUN: [&str; 4] = [
    "d.appendVar('X', ' once')\n    d.setVar('Y', ''.join(c for c in 'cab'))",
    "d.appendVar('X', ' once')\n    d.setVarFlag('X', 'n', str(len(d.getVar('X'))))\n    d.setVar('Y', d.getVar('X').title())",
    "d.appendVar('X', ' once')\n    try:\n        d.setVar('Y', {}['none'])\n    except KeyError as e:\n        d.setVar('Y', 'caught ' + str(e))",
    "d.appendVar('X', ' once')\n    d.setVar('Y', ' '.join(sorted(list({'b', 'a'}), key=str)))",
];

fn filled(session: &mut Session) -> Store {
    let mut store = Store::new(false);
    let origin = Origin::internal();
    for (name, text) in VARIABLES {
        store.set(session, Sym::new(name), text.into(), origin).expect("a variable can be set");
    }
    store.set_flag(session, Sym::new("A"), Sym::new("doc"), "about".into(), origin).expect("a flag can be set");
    store.set_flag(session, Sym::new("A"), Sym::new("type"), "list".into(), origin).expect("a flag can be set");
    store
}

fn run(session: &mut Session, store: &mut Store, body: &str) -> buildnet_bitbake::Result<()> {
    let text = format!("def f(d):\n    {body}\n").into();
    session.run(store, Sym::new("f"), &text, Sym::new("/x.bb"), 0)
}

#[test]
fn functions_do_what_they_do_in_python() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3 to compare with");
        return;
    }
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut session = session(temporary.path());
    session.check_native();
    for body in FUNCTIONS {
        let mut store = filled(&mut session);
        let before = session.evaluations.native;
        run(&mut session, &mut store, body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert!(session.evaluations.native > before, "{body} went to Python");
    }
    let differences: Vec<&str> = session.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!((session.evaluations.different, differences), (0, vec![]));
}

#[test]
fn what_python_finishes_is_done_once() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3 to compare with");
        return;
    }
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut session = session(temporary.path());
    for (body, expected) in BEGUN.iter().zip(["cab", "Once", "caught 'none'", "a b"]) {
        let mut store = filled(&mut session);
        let before = session.evaluations.python;
        run(&mut session, &mut store, body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert!(session.evaluations.python > before, "{body} ran without Python");
        let mut get = |name: &str| store.get_text(&mut session, name).expect("a value").unwrap_or_default();
        assert_eq!((&*get("X"), get("Y").trim()), (" once", expected), "{body}");
    }
}

#[test]
fn skipping_has_its_reason() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3 to compare with");
        return;
    }
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut session = session(temporary.path());
    session.check_native();
    let mut store = filled(&mut session);
    let body = "if d.getVar('A'):\n        raise bb.parse.SkipRecipe('because of %s' % d.getVar('NUMBER').strip())";
    let error = run(&mut session, &mut store, body).expect_err("the recipe is skipped");
    assert!(matches!(&error, buildnet_bitbake::Error::Skip(reason) if reason == "because of 42"), "{error}");
    assert_eq!((session.evaluations.native, session.evaluations.different), (1, 0));
}
