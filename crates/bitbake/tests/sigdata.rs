//! Signature files that BitBake wrote, read, checked and compared.

use std::collections::BTreeMap;
use std::io::Read as _;

use buildnet_bitbake::Sym;
use buildnet_bitbake::signature::{
    FileChecksum, RecipeSignatures, SigData, SigDataError, SigValue, TaskDependency, TaskSignature, ValueKind,
    VarSignature, differences, taskhash,
};
use proptest::prelude::*;

const OLD: &[u8] = include_bytes!("facts/old.sigdata");
const NEW: &[u8] = include_bytes!("facts/new.sigdata");

#[test]
fn hashes_follow_from_the_contents() {
    for (bytes, task) in [(OLD, "c4d7f85347be"), (NEW, "3f5d31d262b7")] {
        let data = SigData::read(bytes).expect("BitBake's file can be read");
        assert_eq!(data.compute_basehash(), data.basehash);
        assert_eq!(data.compute_taskhash(), data.taskhash);
        assert!(data.taskhash.as_deref().is_some_and(|hash| hash.starts_with(task)), "{:?}", data.taskhash);
    }
}

#[test]
fn what_is_written_reads_the_same() {
    let data = SigData::read(NEW).expect("BitBake's file can be read");
    let again = SigData::read(&data.write().expect("the data can be written")).expect("our file can be read");
    assert_eq!(again, data);
}

#[test]
fn differences_are_said_in_words() {
    let (old, new) = (SigData::read(OLD).expect("a file"), SigData::read(NEW).expect("a file"));
    assert_eq!(differences(&old, &old), []);
    let said: Vec<String> = differences(&old, &new).iter().map(ToString::to_string).collect();
    let expected = [
        "B is needed now",
        "A changed from \"one two\" to \"one three ${B}\"",
        "do_x changed, from line 2 on:\n  + \tmore",
        "A needs other variables: +B",
        "the file a.patch changed (MD5 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb to aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa)",
        "dep:do_y changed (hash 2222222222222222222222222222222222222222222222222222222222222222 to \
         1111111111111111111111111111111111111111111111111111111111111111)",
        "it depends on new:do_z now (hash 4444444444444444444444444444444444444444444444444444444444444444)",
    ];
    assert_eq!(said, expected);
    let back: Vec<String> = differences(&new, &old).iter().map(ToString::to_string).collect();
    assert!(back.contains(&"B is no longer needed".to_owned()), "{back:?}");
    assert!(back.iter().any(|said| said.starts_with("it no longer depends on new:do_z")), "{back:?}");
}

#[test]
fn a_signature_of_ours_becomes_the_same_file() {
    let expected = SigData::read(OLD).expect("BitBake's file can be read");
    let task = Sym::new("do_x");
    let variable = |name: &str| VarSignature {
        depends: expected.gendeps.get(name).into_iter().flat_map(|set| &set.names).map(|name| Sym::new(name)).collect(),
        value: expected.varvals[name].text().map(|text| (*text).into()),
        kind: if matches!(expected.varvals[name], SigValue::Integer(_)) { ValueKind::Integer } else { ValueKind::Text },
    };
    let variables = expected.varvals.keys().map(|name| (Sym::new(name), variable(name))).collect();
    let signature = TaskSignature {
        task,
        depends: expected.taskdeps.names.iter().map(|name| Sym::new(name)).collect(),
        basehash: expected.basehash.as_str().into(),
    };
    let signatures = RecipeSignatures { tasks: vec![signature], variables };
    let hashes: &BTreeMap<String, String> = expected.runtaskhashes.as_ref().expect("the task is in a graph");
    let depends: Vec<TaskDependency> = hashes
        .iter()
        .map(|(name, hash)| TaskDependency { name: name.clone(), id: format!("/{name}"), unihash: hash.clone() })
        .collect();
    let files = [("/f/a.patch", "b"), ("/f/files/./sub/c", "c")];
    let files = files.map(|(path, digit)| FileChecksum { path: path.to_owned(), md5: digit.repeat(32) });
    let hash = taskhash(&expected.basehash, &depends, &files, None);
    let made = SigData::of_task(&signatures, task, [Sym::new("TOPDIR")]).expect("the task has a signature");
    assert_eq!(made.in_graph(&depends, &files, &hash, &hash), expected);
    assert_eq!(SigData::of_task(&signatures, Sym::new("do_other"), []), None);
}

#[test]
fn other_bytes_are_refused() {
    assert!(matches!(SigData::read(b"not compressed"), Err(SigDataError::Compression(_))));
    let json = zstd::encode_all(&b"{\"task\":\"do_x\"}"[..], 3).expect("compressing works");
    assert!(matches!(SigData::read(&json), Err(SigDataError::Content(_))));
    let bomb = zstd::encode_all(std::io::repeat(b' ').take((64 << 20) + 1), 3).expect("compressing works");
    assert!(matches!(SigData::read(&bomb), Err(SigDataError::TooLarge)));
}

proptest! {
    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..400_usize) {
        let _ = SigData::read(&bytes);
        let _ = SigData::read(&NEW[..cut.min(NEW.len())]);
    }
}
