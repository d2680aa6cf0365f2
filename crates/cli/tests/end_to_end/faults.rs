//! Mistakes of users, and faults of machines: each is named, or healed, and no wrong output is ever served.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::layers::{assert_right, change, layers};
use crate::support::{Ended, Place, contents, is_root, skip, those};

/// A workspace of one package with this script.
fn one(script: &str) -> Place {
    let place = Place::with(&[("p/in.txt", "text\n")]);
    place.write("buildnet.yaml", &configuration(script));
    place
}

fn configuration(script: &str) -> String {
    format!(
        "packages:\n  - name: p\n    path: p\n    output_dir: out\n    build_cmd: |\n      mkdir -p out\n      {script}\n"
    )
}

#[test]
fn mistakes_in_the_configuration() {
    let package = |text: &str| format!("packages:\n  - name: p\n    path: p\n    build_cmd: 'true'\n{text}");
    let second = |text: &str| package(&format!("  - name: q\n    path: q\n    build_cmd: 'true'\n{text}"));
    for (text, told) in [
        (package("    dependancies: []\n"), &["`dependancies`", "dependencies"][..]),
        (package("    timeout: soon\n"), &["soon"]),
        (package("    dependencies: 7\n"), &["dependencies"]),
        (package("    dependencies: [pp]\n"), &["`pp`", "`p`"]),
        (package("  - name: p\n    path: q\n"), &["p"]),
        (
            second("    dependencies: [p]\n").replacen("'true'\n", "'true'\n    dependencies: [q]\n", 1),
            &["cycle", "p", "q"],
        ),
        (package("    output_dir: /tmp/out\n"), &["/tmp/out"]),
        (package("    output_dir: ../out\n"), &["../out"]),
        (package("    output_dir: out\n    tasks: { more: { command: 'true', outputs: [out/x] } }\n"), &["out"]),
    ] {
        let place = Place::with(&[("buildnet.yaml", &text), ("p/in", ""), ("q/in", "")]);
        let ended = place.run(&["build"]).expect(2, told).expect(2, &["buildnet.yaml:"]);
        assert!(!ended.all().contains("panicked"), "{}", ended.all());
    }
}

#[test]
fn missing_tools() {
    let place = one("no-such-tool-at-all in.txt > out/text");
    place.run(&["build"]).expect(1, &["p:build", "failed", "no-such-tool-at-all", "not found"]);
    let text = configuration("true") + "    toolchains: [no-such-tool-at-all]\n";
    place.write("buildnet.yaml", &text);
    let ended = place.run(&["build"]);
    assert!(ended.code.is_some_and(|code| code != 0), "{}", ended.all());
    let code = ended.code.unwrap_or_default();
    ended.expect(code, &["no-such-tool-at-all", "hint: "]);
}

#[test]
fn writing_outside_the_outputs() {
    let place =
        one("echo stray > stray.txt; echo changed > in.txt; echo x > out/text; ! echo > /etc/buildnet-was-here");
    place.run(&["build"]).expect(0, &["p/stray.txt", "discarded", "outputs"]);
    assert!(!place.root().join("p/stray.txt").exists());
    assert_eq!(place.read("p/in.txt"), "text\n", "a command cannot change its sources");
    assert!(!Path::new("/etc/buildnet-was-here").exists());
    // The workspace is not there under its own path, nor is anything else of the user's.
    let absolute = place.root().join("p/absolute.txt");
    place
        .write("buildnet.yaml", &configuration(&format!("echo x > {} || true; echo y > out/text", absolute.display())));
    place.run(&["build"]).expect(0, &[]);
    assert!(!absolute.exists());
}

#[test]
fn undeclared_inputs() {
    let place = one("cat ../other/secret.txt > out/text");
    place.write("other/secret.txt", "secret");
    place.run(&["build"]).expect(1, &["other/secret.txt", "inputs"]);
}

#[test]
fn names_that_are_no_text() {
    let place = one("cat *.txt > out/text");
    fs::write(place.root().join("p").join(OsStr::from_bytes(b"caf\xe9.txt")), "more\n").expect("Linux takes any bytes");
    place.run(&["build"]).expect(1, &["p/caf", "UTF-8", "hint: rename"]);
    fs::remove_file(place.root().join("p").join(OsStr::from_bytes(b"caf\xe9.txt"))).expect("it is there");
    place.run(&["build"]).expect(0, &[]);
    // A command makes one.
    place.write("buildnet.yaml", &configuration("printf x > \"out/$(printf 'caf\\351')\""));
    let ended = place.run(&["build"]);
    assert_ne!(ended.code, Some(0), "{}", ended.all());
    assert!(ended.all().contains("out/caf") && ended.all().contains("UTF-8"), "{}", ended.all());
}

#[test]
fn a_file_that_may_not_be_read() {
    let place = one("cat in.txt > out/text");
    place.write("p/locked.txt", "locked");
    let locked = place.root().join("p/locked.txt");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0)).expect("it is ours");
    let run = || {
        if !is_root() {
            return place.run(&["build"]);
        }
        // To root every file can be read: somebody else builds.
        own(&place, "65534:65534");
        let build = place.command(&["build"]);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(build.get_program());
        command.args(build.get_args()).current_dir(place.root()).env_clear();
        command.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ended::of(&mut command)
    };
    let reachable = |path: &Path| {
        path.ancestors().all(|path| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0))
    };
    if is_root() && !reachable(Path::new(env!("CARGO_BIN_EXE_buildnet"))) {
        return skip("another user cannot reach the program");
    }
    let ended = run();
    ended.expect(1, &["cannot read `p/locked.txt`", "ermission denied", "hint: make `p/locked.txt` readable"]);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o644)).expect("it is ours");
    run().expect(0, &["1 full"]);
}

/// Gives everything in a place to somebody.
fn own(place: &Place, whom: &str) {
    let everything = place.root().parent().expect("it lies in a temporary directory");
    let status = Command::new("chown").args(["-R", whom]).arg(everything).status().expect("`chown` is there");
    assert!(status.success());
}

#[test]
fn ten_thousand_directories_deep() {
    let place = one("echo done > out/text");
    let script = "import os\nfor i in range(10000):\n  os.mkdir('d')\n  os.chdir('d')\n";
    let made = Command::new("python3").args(["-c", script]).current_dir(place.root().join("p")).status();
    if !made.is_ok_and(|status| status.success()) {
        return skip("there is no Python to make the directories");
    }
    place.run(&["build"]).expect(1, &["p/d/d", "directories deep", "hint: "]);
    place.write(".gitignore", "d\n");
    place.run(&["build"]).expect(0, &[]);
    fs::remove_file(place.root().join(".gitignore")).expect("it is there");
    Command::new("rm").arg("-rf").arg(place.root().join("p/d")).status().expect("`rm` is there");
    place.run(&["build"]).expect(0, &[]);
    assert_eq!(place.read("p/out/text"), "done\n");
}

#[test]
fn a_file_that_changes_all_the_time() {
    let place = one("cat in.txt > out/text; cat in.txt > out/again");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                fs::write(place.root().join("p/in.txt"), format!("{number}\n").repeat(1000)).expect("it is ours");
            }
        });
        for _ in 0..5 {
            let ended = place.run(&["build"]);
            match ended.code {
                Some(0) => assert_eq!(place.read("p/out/text"), place.read("p/out/again"), "one run, one content"),
                _ => assert!(ended.all().contains("p/in.txt"), "{}", ended.all()),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    place.run(&["build"]).expect(0, &[]);
    assert_eq!(place.read("p/out/text"), place.read("p/in.txt"));
}

/// Turns bits of every file in a directory that is not empty, at a place that `seed` chooses.
fn damage(directory: &Path, seed: usize) {
    let files = contents(directory);
    assert!(!files.is_empty(), "nothing to damage in {}", directory.display());
    for (path, mut content) in files.into_iter().filter(|(_, content)| !content.is_empty()) {
        let at = seed * 7919 % content.len();
        content[at] ^= 0x55;
        fs::write(directory.join(path), content).expect("it is ours");
    }
}

#[test]
fn a_damaged_cache() {
    for seed in 1..=4 {
        let place = layers("one");
        place.run(&["build"]).expect(0, &[]);
        for part in ["segments", "large"] {
            damage(&place.cache().join(part), seed);
        }
        // In the same workspace, after its outputs and its memory are gone.
        place.run(&["clean"]);
        place.run(&["build"]).expect(0, &[]);
        assert_right(place.root(), "one");
        change(&place, "two");
        place.run(&["build"]).expect(0, &[]);
        assert_right(place.root(), "two");
    }
}

#[test]
fn damaged_state() {
    let place = layers("one");
    place.run(&["build"]).expect(0, &[]);
    for seed in 1..=4 {
        damage(&place.root().join(".buildnet"), seed);
        let ended = place.run(&["build"]);
        assert_eq!(ended.code, Some(0), "{}", ended.all());
        assert_right(place.root(), "one");
    }
    change(&place, "two");
    place.run(&["build"]).expect(0, &[]);
    assert_right(place.root(), "two");
}

/// Runs a shell script with mounts of its own; none, said aloud, if that is not possible here.
fn with_mounts(place: &Place, script: &str) -> Option<Ended> {
    let flags = if is_root() { "-m" } else { "-Urm" };
    let probe = Command::new("unshare").args([flags, "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip("file systems cannot be mounted here");
        return None;
    }
    let build = place.command(&[]);
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-ec", script, "sh"]).arg(build.get_program()).arg(place.cache());
    command.current_dir(place.root()).env_clear();
    command.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(Ended::of(&mut command))
}

#[test]
fn a_full_disk_below_the_cache() {
    let place = one("head -c 6000000 /dev/urandom > out/text; cp out/text out/again");
    let script = "mkdir -p $2; mount -t tmpfs -o size=4m none $2\n\
                  code=0; $1 build || code=$?; echo \"code=$code\"; ls p/out 2>/dev/null | sed s/^/left:/\n\
                  mount -o remount,size=64m $2; $1 build; cmp p/out/text p/out/again; $1 cache verify";
    let Some(ended) = with_mounts(&place, script) else { return };
    let cache = format!("no space left for the cache in {}", place.cache().display());
    ended.expect(0, &["code=3", &cache, "hint: free some space", "1 full"]);
}

#[test]
fn a_full_disk_below_the_workspace() {
    let place = one("head -c 6000000 /dev/urandom > out/text; cp out/text out/again");
    let script = "mkdir small; mount -t tmpfs -o size=4m none small; cp -r p buildnet.yaml small; cd small\n\
                  code=0; $1 build || code=$?; echo \"code=$code\"; test ! -e p/out/text\n\
                  mount -o remount,size=64m .; $1 build; cmp p/out/text p/out/again";
    let Some(ended) = with_mounts(&place, script) else { return };
    let all = ended.all();
    assert!(all.contains("code=1") || all.contains("code=3"), "{all}");
    ended.expect(0, &["No space left", "1 full"]);
}

#[test]
fn a_cache_that_cannot_be_written() {
    let place = one("cat in.txt > out/text");
    place.run(&["build"]).expect(0, &["1 full"]);
    let script = "mount --bind $2 $2; mount -o remount,bind,ro $2; echo more >> p/in.txt\n\
                  code=0; $1 build || code=$?; echo \"code=$code\"; $1 build --cache-dir ../elsewhere";
    let Some(ended) = with_mounts(&place, script) else { return };
    let cache = place.cache().display().to_string();
    ended.expect(0, &["code=3", &cache, "read-only", "hint: make", "--cache-dir", "1 full"]);
    assert_eq!(place.read("p/out/text"), place.read("p/in.txt"));
    place.write("p/in.txt", "again\n");
    place.run(&["build"]).expect(0, &["1 full"]);
    assert_eq!(place.read("p/out/text"), place.read("p/in.txt"));
}

#[test]
fn what_was_cached_can_be_told_from_what_was_not() {
    let place = layers("one");
    place.run(&["build"]).expect(0, &[]);
    change(&place, "two");
    place.run(&["build"]).expect(0, &[]);
    change(&place, "one");
    let back = place.tiers(&["build"]);
    assert_eq!(those(&back, &["full"]), "", "{back:?}");
    assert_right(place.root(), "one");
}
