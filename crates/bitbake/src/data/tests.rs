//! The datastore against facts of BitBake's own data tests: statements, then the value.

use super::*;
use crate::{Sym, Value};

/// Applies `NAME = text` lines (`del NAME`, `rename OLD NEW` too) and compares `NAME -> value` lines.
fn check(table: &str) {
    let mut store = Store::new(false);
    let mut ev = NoPython::default();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let origin = Origin::internal();
        if let Some(name) = line.strip_prefix("del ") {
            store.delete(Sym::new(name), origin);
        } else if let Some(names) = line.strip_prefix("rename ") {
            let (old, new) = names.split_once(' ').expect("two names");
            store.rename(&mut ev, Sym::new(old), Sym::new(new), origin).expect("renames");
        } else if let Some((name, value)) = line.split_once(" -> ") {
            let got =
                store.get(&mut ev, Sym::new(name)).expect("expands").map_or("(none)".to_owned(), |v| v.to_string());
            assert_eq!(got, value.replace('\u{b7}', ""), "{line}, in {table}");
        } else if let Some((name, value)) = line.split_once(" ??= ") {
            store.set_flag(&mut ev, Sym::new(name), Sym::new("_defaultval"), value.into(), origin).expect("sets");
        } else if let Some((name, value)) = line.split_once(" = ") {
            // A middle dot marks the end of leading or trailing white space, and nothing else.
            store.set(&mut ev, Sym::new(name), value.replace('\u{b7}', "").into(), origin).expect("sets");
        } else {
            panic!("not a statement: {line}");
        }
    }
}

#[test]
fn expands_references() {
    check("foo = value_of_foo\nbar = value_of_bar\nval = ${foo} and ${bar}\nval -> value_of_foo and value_of_bar");
    check("foo = value_of_foo\nval = ${unset} ${foo}\nval -> ${unset} value_of_foo");
    check("a = b\nb_b = yes\nval = ${b_${a}}\nval -> yes");
}

#[test]
fn appends_prepends_and_removes() {
    check("T = val\nT:append = \u{b7} more\nT -> val more");
    check("T:append = x\nT -> x");
    check("T = val\nT:prepend = more \u{b7}\nT -> more val");
    check("T = val val2\nT:remove = val\nT -> \u{b7} val2");
    check("T = a b c d\nT:remove = b d\nT -> a  c \u{b7}");
    check("w = b\nT = a b c\nT:remove = ${w}\nT -> a  c");
    check("T:append = x\nT = y\nT -> y");
}

#[test]
fn overrides_choose() {
    check("OVERRIDES = foo:bar:local\nT = base\nT:bar = over\nT -> over");
    check("OVERRIDES = foo:bar:local\nT = base\nT:bar = b\nT:local = l\nT:foo = f\nT -> l");
    check("OVERRIDES = foo:bar\nT = base\nT:foo:bar = both\nT:foo = one\nT -> one");
    check("OVERRIDES = foo:bar\nT = base\nT:bar:foo = both\nT -> both");
    check("OVERRIDES = foo\nT = base\nT:bar = b\nT -> base");
    check("OVERRIDES = foo:bar\nT = base\nT:append:bar = +b\nT:append:baz = +z\nT -> base+b");
    check("OVERRIDES = x\nT = base\nT:x = over\nT:append = +a\nT -> over+a");
    check("OVERRIDES = x\nT = base\nT:append = +a\nT:x = over\nT:x:append = +x\nT -> over+x+a");
    check("OVERRIDES = x\nT = a b\nT:remove = a\nT:x = a c\nT:x:remove = c\nT -> \u{b7} \u{b7}");
}

#[test]
fn setting_again_drops_active_overrides() {
    check("OVERRIDES = foo:bar\nT = base\nT:bar = over\nT = again\nT -> again");
    check("OVERRIDES = foo:bar\nT:bar = over\ndel T:bar\nT -> (none)");
}

#[test]
fn overrides_follow_their_own_variables() {
    check("OVERRIDES = ${X}\nX = foo\nT = base\nT:foo = f\nT:bar = b\nT -> f\nX = bar\nT -> b");
    check("OVERRIDES = foo:${X}\nX = none\nX:foo = bar\nT = base\nT:bar = b\nT -> b");
}

#[test]
fn weak_defaults_give_way() {
    check("T ??= weak\nT -> weak\nT = strong\nT -> strong");
    check("T ??= weak\nT:append = +a\nT -> weak+a");
    check("OVERRIDES = x\nT:x ??= weak\nT = base\nT -> base");
}

#[test]
fn renames_with_everything() {
    check("T = v\nrename T U\nU -> v\nT -> (none)");
    check("OVERRIDES = x\nT = v\nT:append = +a\nT:x = o\nrename T U\nU -> o+a\nT -> (none)");
}

#[test]
fn a_circle_is_an_error() {
    let mut store = Store::new(false);
    let mut ev = NoPython::default();
    store.set(&mut ev, Sym::new("A"), "${B}".into(), Origin::internal()).expect("sets");
    store.set(&mut ev, Sym::new("B"), "${A}".into(), Origin::internal()).expect("sets");
    assert!(store.get(&mut ev, Sym::new("A")).is_err());
    store.set(&mut ev, Sym::new("C"), "x ${C}".into(), Origin::internal()).expect("sets");
    let error = store.get(&mut ev, Sym::new("C")).expect_err("refers to itself").to_string();
    assert!(error.contains("references itself"), "{error}");
}

#[test]
fn keys_expand() {
    let mut store = Store::new(false);
    let mut ev = NoPython::default();
    let set = |store: &mut Store, ev: &mut NoPython, name: &str, value: &str| {
        store.set_parsing(ev, Sym::new(name), value.into(), Origin::internal()).expect("sets");
    };
    set(&mut store, &mut ev, "PN", "zlib");
    set(&mut store, &mut ev, "FILES:${PN}", "a");
    set(&mut store, &mut ev, "FILES:${PN}:append", " b");
    store.expand_keys(&mut ev).expect("expands");
    assert_eq!(store.get(&mut ev, Sym::new("FILES:zlib")).expect("expands"), Some(Value::from("a b")));
    assert!(store.keys(&mut ev).expect("lists").iter().all(|key| !key.as_str().contains('$')));
}

#[test]
fn copies_do_not_share_writes() {
    let mut store = Store::new(false);
    let mut ev = NoPython::default();
    store.set(&mut ev, Sym::new("A"), "1".into(), Origin::internal()).expect("sets");
    let mut copy = store.copy();
    copy.append(&mut ev, Sym::new("A"), "2", Origin::internal()).expect("appends");
    assert_eq!(store.get(&mut ev, Sym::new("A")).expect("expands"), Some(Value::from("1")));
    assert_eq!(copy.get(&mut ev, Sym::new("A")).expect("expands"), Some(Value::from("12")));
    assert_eq!(copy.pending(Sym::new("A"), super::variable::Keyword::Append).to_string(), "[['2', None]]");
}
