//! Scanning real directories.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use buildnet_digest::stat::Root;

use super::*;
use crate::build::spec::InputGroup;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn group(base: &str, include: &[&str], exclude: &[&str]) -> InputGroup {
    InputGroup {
        base: base.to_owned(),
        include: include.iter().map(|&glob| glob.to_owned()).collect(),
        exclude: exclude.iter().map(|&glob| glob.to_owned()).collect(),
        gitignore: true,
    }
}

fn scan_at(root: &Path, groups: &[InputGroup]) -> Result<FileSet, SourceError> {
    scan(&Root::open(root), groups, None, &HashCache::default())
}

fn paths(set: &FileSet) -> Vec<&str> {
    set.files.iter().map(|file| file.path.as_str()).collect()
}

/// Lets the last changes become older than the clock's granularity.
fn settle() {
    std::thread::sleep(Duration::from_millis(40));
}

#[test]
fn takes_what_patterns_and_gitignore_say() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, ".gitignore", "*.log\n/pkg/gen\n");
    write(root, "pkg/.gitignore", "!keep.log\n");
    for file in ["pkg/src/a.ts", "pkg/src/deep/b.ts", "pkg/x.log", "pkg/keep.log", "pkg/gen/c.ts", "pkg/dist/out.js"] {
        write(root, file, "x");
    }
    write(root, "pkg/node_modules/dep/index.js", "x");
    write(root, "tsconfig.json", "{}");
    let set =
        scan_at(root, &[group("pkg", &["**/*"], &["dist"]), group("", &["*.json", "missing.toml"], &[])]).unwrap();
    assert_eq!(paths(&set), ["pkg/.gitignore", "pkg/keep.log", "pkg/src/a.ts", "pkg/src/deep/b.ts", "tsconfig.json"]);
    let named = scan_at(root, &[group("pkg", &["gen/c.ts", "x.log"], &[])]).unwrap();
    assert_eq!(paths(&named), ["pkg/gen/c.ts", "pkg/x.log"], "files named outright are taken though ignored");
}

#[test]
fn is_fresh_until_something_it_depends_on_changes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "pkg/src/a.c", "1");
    write(root, "pkg/b.c", "1");
    let groups = [group("pkg", &["**/*.c"], &[]), group("", &["settings.toml"], &[])];
    let changes: [(&str, &dyn Fn()); 6] = [
        ("a file's content", &|| write(root, "pkg/src/a.c", "2")),
        ("a new file", &|| write(root, "pkg/src/new.c", "1")),
        ("a removed file", &|| fs::remove_file(root.join("pkg/src/new.c")).unwrap()),
        ("a new .gitignore", &|| write(root, "pkg/.gitignore", "b.c\n")),
        ("another .gitignore", &|| write(root, "pkg/.gitignore", "src\n")),
        ("a named file that appears", &|| write(root, "settings.toml", "")),
    ];
    for (what, change) in changes {
        settle();
        let before = scan_at(root, &groups).unwrap();
        assert!(before.is_fresh(&Root::open(root)), "before {what}");
        change();
        assert!(!before.is_fresh(&Root::open(root)), "{what}");
        assert!(!before.same_contents(&scan_at(root, &groups).unwrap()), "{what}");
    }
}

#[test]
fn a_touched_file_has_the_same_contents() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.c", "1");
    settle();
    let groups = [group("", &["**/*"], &[])];
    let before = scan_at(dir.path(), &groups).unwrap();
    write(dir.path(), "a.c", "1");
    assert!(!before.is_fresh(&Root::open(dir.path())));
    assert!(before.same_contents(&scan_at(dir.path(), &groups).unwrap()));
}

#[test]
fn a_file_written_within_the_clock_tick_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.c", "1");
    let set = scan_at(dir.path(), &[group("", &["**/*"], &[])]).unwrap();
    assert!(!set.is_fresh(&Root::open(dir.path())), "another write in the same tick would not show");
}

#[test]
fn names_that_are_not_utf8_are_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff.c")), "").unwrap();
    let error = scan_at(dir.path(), &[group("", &["**/*"], &[])]).unwrap_err();
    assert_eq!(error.to_string(), "the name of `bad\u{fffd}.c` is not valid UTF-8");
}

#[test]
fn a_directory_ten_thousand_levels_deep_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut at = rustix::fs::openat(
        rustix::fs::CWD,
        dir.path(),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..10_000 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let error = scan_at(dir.path(), &[group("", &["**/*"], &[])]).unwrap_err();
    assert!(matches!(error, SourceError::TooDeep { .. }), "{error}");
    // The standard library's removal would need as many open files as there are levels.
    assert!(std::process::Command::new("rm").arg("-rf").arg(dir.path().join("d")).status().unwrap().success());
}
