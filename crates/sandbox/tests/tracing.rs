//! What a trace tells of the files that a command looks for.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use buildnet_sandbox::{Exit, Feature, Mode, MountKind, Trace};

use crate::common::{mount, output_of, script, supported};

/// Runs a script in `/buildnet/work`, on a tree with a few files and links, with a trace of what is beneath.
fn traced(mode: Mode, text: &str) -> (Exit, String) {
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let root = host.path();
    fs::create_dir_all(root.join("src/deep")).expect("a directory can be made");
    fs::write(root.join("src/here.h"), "int here;\n").expect("a file can be written");
    std::os::unix::fs::symlink("src/deep", root.join("link")).expect("a link can be made");
    std::os::unix::fs::symlink("../src/absent.txt", root.join("src/dangling")).expect("a link can be made");
    std::os::unix::fs::symlink("/buildnet/work/src", root.join("absolute")).expect("a link can be made");
    let mut request = script(text);
    request.mode = mode;
    request.working_dir = PathBuf::from("/buildnet/work");
    request.mounts = vec![mount(root, "/buildnet/work", MountKind::ReadWrite)];
    request.trace = Some(Trace { under: PathBuf::from("/buildnet/work") });
    output_of(&request)
}

fn under_work(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| Path::new("/buildnet/work").join(name)).collect()
}

#[test]
fn names_what_was_looked_for_in_vain() {
    if !supported("names_what_was_looked_for_in_vain", &[Feature::SeccompNotify]) {
        return;
    }
    let (exit, output) = traced(
        Mode::Strict,
        "cat src/here.h missing.txt; cat missing.txt; cd src; cat ../missing2 ./no/dir/file /buildnet/work/missing3 /nowhere
         cat deep/../lost; test -e probed; echo made > created; exit 5",
    );
    assert_eq!(exit.status, buildnet_sandbox::Status::Exited(5), "{output}");
    assert!(output.starts_with("int here;\n"), "{output}");
    assert_eq!(
        exit.sought,
        under_work(&["missing.txt", "missing2", "missing3", "src/lost", "src/no/dir/file", "src/probed"])
    );
    assert_eq!(exit.opened, Vec::<PathBuf>::new());
}

#[test]
fn resolves_the_links_on_the_way() {
    if !supported("resolves_the_links_on_the_way", &[Feature::SeccompNotify]) {
        return;
    }
    let (exit, _) = traced(Mode::Strict, "cat link/one absolute/two src/dangling");
    assert_eq!(exit.sought, under_work(&["src/absent.txt", "src/deep/one", "src/two"]));
}

#[test]
fn in_warn_mode_names_what_was_opened() {
    if !supported("in_warn_mode_names_what_was_opened", &[Feature::SeccompNotify]) {
        return;
    }
    let (exit, _) = traced(Mode::Warn, "cat src/here.h absolute/here.h; test -e src/deep; echo x > written; cat gone");
    assert_eq!(exit.opened, under_work(&["src/here.h"]));
    assert_eq!(exit.sought, under_work(&["gone"]));
}

#[test]
fn names_the_header_a_compiler_misses() {
    if !supported("names_the_header_a_compiler_misses", &[Feature::SeccompNotify]) {
        return;
    }
    if !Path::new("/usr/bin/cc").exists() {
        eprintln!("SKIPPED names_the_header_a_compiler_misses: needs /usr/bin/cc");
        return;
    }
    let (exit, output) = traced(
        Mode::Strict,
        "printf '#include \"here.h\"\\n#include \"absent.h\"\\n' > src/main.c; cc -c src/main.c -o main.o",
    );
    assert_eq!(exit.status, buildnet_sandbox::Status::Exited(1), "{output}");
    assert!(exit.sought.contains(&PathBuf::from("/buildnet/work/src/absent.h")), "{exit:?}");
}

#[test]
fn an_ordinary_user_gets_the_same() {
    common::again_as_ordinary_user("an_ordinary_user_gets_the_same");
}
