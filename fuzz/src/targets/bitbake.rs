//! BitBake metadata: files, the code in them, signature files, versions.

use buildnet_bitbake::scan::{NoVisitors, python, shell};
use buildnet_bitbake::signature::SigData;
use buildnet_bitbake::syntax::{Dialect, Parsed, Tree, parse};
use buildnet_bitbake::util::{depends_names, depends_versions};
use buildnet_bitbake::version;

pub(super) const WORDS: &[&str] = &[
    "inherit ",
    "include ",
    "require ",
    "addtask ",
    "deltask ",
    "after ",
    "before ",
    "export ",
    "unset ",
    "def f(d):\n",
    "python () {\n",
    "}\n",
    "do_x() {\n",
    "fakeroot ",
    "EXPORT_FUNCTIONS ",
    "addhandler ",
    "addpylib ",
    "inherit_defer ",
    "include_all ",
    ":append",
    ":remove",
    "??=",
    "?=",
    ":=",
    "+=",
    ".=",
    "=.",
    "=+",
    "[flag]",
    "\"",
    "'",
    "\\\n",
    "${",
    "${@",
    "}",
    "\t",
    "\r\n",
    "#",
];

/// A file is read to its end, whatever is in it, and every error lies in it; its tree is the file.
pub(super) fn file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // Python's lines, which a lone carriage return ends, too.
    let ends = text.replace("\r\n", "\n").matches(['\n', '\r']).count();
    let lines = u32::try_from(ends + 1).expect("no input is that long");
    let check = |parsed: Parsed| {
        for error in parsed.errors.iter().chain(&parsed.warnings) {
            assert!((1..=lines).contains(&error.line), "line {} of {lines}: {}", error.line, error.message);
        }
        for statement in &parsed.statements {
            // What the file's end closes counts as closed one line on.
            assert!((1..=lines + 1).contains(&statement.line), "a statement at line {} of {lines}", statement.line);
        }
    };
    let recipe = |class: &str| Dialect::Recipe { class: class.to_owned() };
    for dialect in [Dialect::Conf { base: true }, recipe(""), recipe("some")] {
        let (tree, parsed) = (Tree::of(&text, &dialect), parse(&text, &dialect));
        assert!(tree.root().text() == *text, "the tree is the file");
        assert_eq!(tree.statements(), parsed.statements, "the tree says what is evaluated");
        check(parsed);
    }
}

pub(super) fn file_seeds() -> Vec<Vec<u8>> {
    vec![
        b"A = \"1\"\nA:append:x = ' 2'\nA[flag] ??= \"y\"\nexport B := \"${A}\"\nrequire conf/x.inc\nunset A[flag]\n".to_vec(),
        b"inherit base\npython do_x() {\n    d.setVar('A', \"b\")\n}\naddtask x after do_y before do_z\ndef f(d):\n    return 1\n\nC = \"a \\\n  b\"\n"
            .to_vec(),
        b"do_install:append() {\n\tinstall -d ${D}\n}\nEXPORT_FUNCTIONS do_install\ndo_x[vardeps] += \"A\"\n".to_vec(),
    ]
}

pub(super) const SHELL_WORDS: &[&str] = &[
    "if ",
    "then ",
    "else ",
    "fi\n",
    "for x in ",
    "do ",
    "done\n",
    "case x in\n",
    "esac\n",
    ";;",
    "$(",
    "`",
    ")",
    "((",
    "<<E\n",
    "\nE\n",
    "${x:-",
    "}",
    "&&",
    "||",
    "|",
    "function ",
    "() {",
    "eval ",
    "'",
    "\"",
    "\\",
    "#",
    ">",
    "2>&1",
];

/// Shell text is understood or refused, the same each time.
pub(super) fn shell_code(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (one, other) = (shell(&text), shell(&text));
    assert_eq!(one.is_ok(), other.is_ok());
    if let (Ok(one), Ok(other)) = (one, other) {
        assert_eq!(one, other);
    }
}

pub(super) fn shell_seeds() -> Vec<Vec<u8>> {
    vec![
        b"install -d ${D}\nfor f in *.c; do\n  if [ -e $f ]; then cp $f $(dirname x) && rm -f `cat y`; fi\ndone\n"
            .to_vec(),
        b"case ${x:-$(y)} in\n a|b) one;;\n *) two <<E\ntext\nE\n ;;\nesac\nf() { eval three; }\nf | four 2>&1\n"
            .to_vec(),
    ]
}

pub(super) const PYTHON_WORDS: &[&str] = &[
    "d.getVar('",
    "')",
    "bb.utils.contains('A', 'b', ",
    "d.expand(",
    "def f():\n",
    "    ",
    "lambda x: ",
    "[x for x in ",
    "f'{",
    "}'",
    "\"\"\"",
    "(",
    ")",
    "\\\n",
    "if ",
    ":\n",
    "bb.build.exec_func(",
];

/// The same for Python.
pub(super) fn python_code(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (one, other) = (python(&text, &NoVisitors), python(&text, &NoVisitors));
    assert_eq!(one.is_ok(), other.is_ok());
    if let (Ok(one), Ok(other)) = (one, other) {
        assert_eq!(one, other);
    }
}

pub(super) fn python_seeds() -> Vec<Vec<u8>> {
    vec![
        b"d.getVar('A') or bb.utils.contains('B', 'c', 'x', 'y', d)".to_vec(),
        b"def f(d):\n    for x in (d.getVar('A') or '').split():\n        bb.build.exec_func('do_' + x, d)\n    return f'{x}'\n".to_vec(),
    ]
}

/// What is read of a signature file is read again from what is written of it.
pub(super) fn signature_file(input: &[u8]) {
    let content = zstd::encode_all(input, 1).expect("memory can be compressed");
    for bytes in [input, &content] {
        if let Ok(data) = SigData::read(bytes) {
            let again = SigData::read(&data.write().expect("it can be written")).expect("it can be read");
            assert_eq!(again, data);
            data.compute_basehash();
            data.compute_taskhash();
        }
    }
}

pub(super) fn signature_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"task": "do_x", "basehash": "ab", "taskhash": "cd", "gendeps": {"do_x": ["A"]}, "varvals": {"do_x": "y", "A": null}, "taskdeps": ["A"], "basehash_ignore_vars": [], "taskhash_ignore_tasks": null, "runtaskdeps": [], "file_checksum_values": [], "runtaskhashes": {}}"#.to_vec(),
    ]
}

pub(super) const VERSION_WORDS: &[&str] = &["1.2", "-r0", "1:", "~", "+git", "\n", " (>= ", ")", ">=", "<<", "rc", "."];

/// Comparing the other way round gives the other answer; a list of needs is read or refused.
pub(super) fn versions(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (a, b) = text.split_once('\n').unwrap_or((&text, "1.0-r0"));
    if let (Ok(one), Ok(other)) = (version::compare(a, b), version::compare(b, a)) {
        assert_eq!(one, other.reverse(), "{a:?} and {b:?}");
    }
    depends_names(&text);
    // An error is an answer, too.
    let _ = depends_versions(&text);
}

pub(super) fn version_seeds() -> Vec<Vec<u8>> {
    vec![b"1:1.2.3-rc4-r0\n2.0~beta-r1".to_vec(), b"foo (>= 1.2) bar baz (= 3:4-r5)".to_vec()]
}
