//! What a user does, with the program itself, on a small workspace.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A workspace of two packages, with a cache of its own.
struct Place {
    directory: TempDir,
}

/// How a command ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

const CONFIGURATION: &str = "\
packages:
  - name: base
    path: base
    build_cmd: mkdir -p out && cat in.txt > out/text
    output_dir: out
  - name: top
    path: top
    dependencies: [base]
    build_cmd: mkdir -p out && cat ../base/out/text in.txt > out/text
    output_dir: out
";

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("w");
        for package in ["base", "top"] {
            fs::create_dir_all(root.join(package)).unwrap();
            fs::write(root.join(package).join("in.txt"), format!("{package}\n")).unwrap();
        }
        fs::write(root.join("buildnet.yaml"), CONFIGURATION).unwrap();
        Self { directory }
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("w")
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root().join(path), text).unwrap();
    }

    /// Runs the program in the workspace, with nothing of our own environment but PATH.
    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buildnet"));
        command.args(arguments).current_dir(self.root()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.directory.path());
        // What is tested here is the program; the sandbox has its own tests, and not every machine offers all of it.
        command.env("BUILDNET_SANDBOX", "off").env("BUILDNET_CACHE_DIR", self.directory.path().join("cache"));
        let Output { status, stdout, stderr } = command.output().unwrap();
        Ended {
            code: status.code().expect("not killed by a signal"),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Runs without a daemon.
    fn alone(&self, arguments: &[&str]) -> Ended {
        self.run(&[arguments, &["--no-daemon"]].concat())
    }
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32, texts: &[&str]) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{all}");
        for text in texts {
            assert!(all.contains(text), "no {text:?} in:\n{all}");
        }
        self
    }
}

#[test]
fn build_twice_change_and_ask_why() {
    let place = Place::new();
    place.alone(&["build"]).expect(0, &["base:build", "top:build", "2 full"]);
    assert_eq!(fs::read_to_string(place.root().join("top/out/text")).unwrap(), "base\ntop\n");
    place.alone(&["build"]).expect(0, &["Done: 2 tasks", "2 instant"]);
    place.alone(&["why", "top"]).expect(0, &["top:build is up to date"]);

    place.write("top/in.txt", "changed\n");
    place.alone(&["why", "top"]).expect(0, &["top:build would run", "top/in.txt changed"]);
    place.alone(&["build"]).expect(0, &["top:build", "top/in.txt changed", "1 instant", "1 full"]);
    place.alone(&["why", "top"]).expect(0, &["is up to date", "top/in.txt changed"]);

    place.write("base/in.txt", "other\n");
    place.alone(&["why", "top"]).expect(0, &["top:build waits for what it needs", "base/in.txt changed"]);
    place.alone(&["build", "base"]).expect(0, &["1 full"]);
    place.alone(&["clean"]).expect(0, &["Removed"]);
    assert!(
        !place.root().join("base/out").exists() || fs::read_dir(place.root().join("base/out")).unwrap().count() == 0
    );
    place.alone(&["build"]).expect(0, &["1 cached", "1 full"]);
    assert_eq!(fs::read_to_string(place.root().join("top/out/text")).unwrap(), "other\nchanged\n");
}

#[test]
fn exit_codes_tell_whose_fault_it_is() {
    let place = Place::new();
    place.alone(&["build", "bas"]).expect(2, &["no package `bas`", "hint: ", "`base`"]);
    place.alone(&["biuld"]).expect(2, &["build"]);
    place.alone(&["-C", "/nowhere/at/all", "build"]).expect(2, &["cannot enter", "hint: "]);
    place.alone(&["run", "nothing"]).expect(2, &["nothing"]);
    place.alone(&["history"]).expect(2, &["nothing was built", "hint: "]);
    place.write("base/in.txt", "x");
    place.write("buildnet.yaml", &CONFIGURATION.replace("cat in.txt", "echo broken >&2; exit 7; cat in.txt"));
    place.alone(&["build"]).expect(1, &["base:build", "failed", "broken", "log: ", "1 failed", "1 skipped"]);
    place.write("buildnet.yaml", &CONFIGURATION.replace("build_cmd", "biuld_cmd"));
    place.alone(&["build"]).expect(2, &["biuld_cmd", "build_cmd"]);
    fs::write(place.directory.path().join("file"), "").unwrap();
    let under_a_file = place.directory.path().join("file/cache");
    place.write("buildnet.yaml", CONFIGURATION);
    place.alone(&["build", "--cache-dir", under_a_file.to_str().unwrap()]).expect(3, &["error: "]);
}

#[test]
fn machines_read_json() {
    let place = Place::new();
    let ended = place.alone(&["build", "--json"]).expect(0, &[]);
    let events: Vec<serde_json::Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"build_started"));
    assert_eq!(kinds.last(), Some(&"build_finished"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "task_finished").count(), 2);
    assert_eq!(ended.stderr, "");
    for arguments in [
        &["status", "--json"][..],
        &["config", "--json"],
        &["history", "--json"],
        &["history", "show", "last", "--json"],
        &["report", "last", "--format", "json"],
        &["cache", "stats", "--json"],
        &["cache", "verify", "--json"],
        &["graph", "--json"],
        &["query", "all()", "--json"],
        &["why", "top", "--json"],
        &["schema"],
    ] {
        let ended = place.alone(arguments).expect(0, &[]);
        serde_json::from_str::<serde_json::Value>(&ended.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    }
    let ended = place.alone(&["build", "bas", "--json"]).expect(2, &[]);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(told["error"]["category"], "user");
}

#[test]
fn the_other_commands_answer() {
    let place = Place::new();
    place.alone(&["build", "--dry-run"]).expect(0, &[]);
    assert!(!place.root().join("base/out/text").exists(), "a dry run runs nothing");
    place.alone(&["build", "-v"]).expect(0, &[]);
    place.alone(&["build", "-v"]).expect(0, &["base:build", "instant"]);
    place.alone(&["build", "-q"]).expect(0, &[]);
    place.alone(&["graph"]).expect(0, &["top:build", "base:build"]);
    place.alone(&["graph", "--format", "dot"]).expect(0, &["digraph"]);
    place.alone(&["query", "rdeps(base)"]).expect(0, &["base\ntop\n"]);
    place.alone(&["query", "rdeps("]).expect(2, &["error: "]);
    place.alone(&["history", "list"]).expect(0, &["success", "build"]);
    let report = place.directory.path().join("report.html");
    place.alone(&["report", "last", "--format", "html", "-o", report.to_str().unwrap()]).expect(0, &["Wrote"]);
    assert!(fs::read_to_string(report).unwrap().contains("<html"));
    place.alone(&["status"]).expect(0, &["2 declared", "not running"]);
    place.alone(&["config"]).expect(0, &["sandbox     off"]);
    place.alone(&["cache", "gc", "--max-size", "1GB"]).expect(0, &["Removed"]);
    place.alone(&["cache", "clear"]).expect(0, &["Removed"]);
    place.alone(&["completions", "bash"]).expect(0, &["complete", "buildnet"]);
    place.alone(&["init"]).expect(2, &["exists already"]);
}

/// A port that nobody listens on; somebody may take it before us, which is why the daemon's own errors are in the message.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Stops a test's daemon, also when the test fails.
struct Stop<'a> {
    place: &'a Place,
    address: &'a str,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.place.run(&["stop", "--daemon-address", self.address]);
    }
}

#[test]
fn the_daemon_builds_follows_changes_and_stops() {
    let place = Place::new();
    let address = free_address();
    let _stop = Stop { place: &place, address: &address };
    let run = |arguments: &[&str]| place.run(&[arguments, &["--daemon-address", &address]].concat());
    run(&["start", "--detach"]).expect(0, &["listens on"]);
    run(&["start", "--detach"]).expect(0, &["already listens"]);
    run(&["build"]).expect(0, &["2 full"]);
    run(&["build"]).expect(0, &["2 instant"]);
    place.write("top/in.txt", "changed\n");
    run(&["build"]).expect(0, &["top/in.txt changed", "1 instant", "1 full"]);
    run(&["build", "bas"]).expect(2, &["no package `bas`", "hint: "]);
    // Settings are read again without a restart.
    let third = format!("{CONFIGURATION}  - name: third\n    path: third\n    build_cmd: 'true'\n");
    fs::create_dir(place.root().join("third")).unwrap();
    place.write("buildnet.yaml", &third);
    run(&["build"]).expect(0, &["third:build", "2 instant"]);
    run(&["status"]).expect(0, &["process", "3 declared"]);
    let lock = place.directory.path().join("cache/daemon");
    assert!(Path::new(&lock).exists());
    run(&["stop"]).expect(0, &["Stopped the daemon"]);
    run(&["start", "--detach"]).expect(0, &["The daemon listens on"]);
    run(&["stop"]).expect(0, &["Stopped the daemon"]);
    run(&["stop"]).expect(0, &["No daemon listens"]);
    run(&["build"]).expect(0, &["3 instant"]);
}

#[test]
fn a_daemon_for_everyone_needs_a_token() {
    let place = Place::new();
    place.alone(&["start", "--listen", "0.0.0.0:0"]).expect(2, &["refusing to listen", "BUILDNET_TOKEN"]);
}

/// Changes something in a package, chosen by `choice`.
fn disturb(place: &Place, choice: u64, step: u64) {
    let package = place.root().join(if choice.is_multiple_of(2) { "base" } else { "top" });
    let text = format!("{step}\n");
    match choice / 2 % 7 {
        0 => fs::write(package.join("in.txt"), text).unwrap(),
        1 => drop(fs::remove_dir_all(package.join("out"))),
        2 => fs::write(package.join("out/text"), "tampered").unwrap(),
        3 => {
            // A new directory, and something deep in it.
            let deep = package.join(format!("new{}", step % 3)).join("deep");
            fs::create_dir_all(&deep).unwrap();
            fs::write(deep.join("more.txt"), text).unwrap();
        }
        4 => {
            // The whole package is replaced, as version control does.
            let aside = place.root().join("aside");
            fs::rename(&package, &aside).unwrap();
            fs::create_dir(&package).unwrap();
            fs::write(package.join("in.txt"), text).unwrap();
            fs::remove_dir_all(aside).unwrap();
        }
        5 => place.write("buildnet.yaml", &format!("{CONFIGURATION}# {step}\n")),
        _ => {}
    }
}

#[test]
fn a_daemon_that_follows_files_misses_nothing() {
    let place = Place::new();
    let address = free_address();
    let _stop = Stop { place: &place, address: &address };
    let run = |arguments: &[&str]| place.run(&[arguments, &["--daemon-address", &address]].concat());
    run(&["start", "--detach"]).expect(0, &[]);
    // Numbers of a linear congruential generator (Knuth, MMIX), so that a failure can be repeated.
    let mut random = 42_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    for step in 0..40 {
        run(&["build"]).expect(0, &["Done"]);
        let changes: Vec<u64> = (0..next() % 3).map(|_| next()).collect();
        // What was just built has its outputs, which a change may tamper with.
        for change in &changes {
            if place.root().join("top/out/text").exists() && place.root().join("base/out/text").exists() {
                disturb(&place, *change, step);
            }
        }
        run(&["build"]).expect(0, &["Done"]);
        // A process that looks at every file finds nothing left to do.
        place.alone(&["build", "--dry-run"]).expect(0, &["2 instant"]);
        let input = |package: &str| fs::read_to_string(place.root().join(package).join("in.txt")).unwrap();
        let built = fs::read_to_string(place.root().join("top/out/text")).unwrap();
        assert_eq!(built, input("base") + &input("top"), "step {step}, changes {changes:?}");
    }
    run(&["stop"]).expect(0, &[]);
}

/// A workspace on a file system that cannot be written, as in a container or from a snapshot: what was built there is still told.
#[test]
fn history_is_read_from_a_read_only_place() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("workspace");
    std::fs::create_dir_all(root.join("p")).unwrap();
    std::fs::write(
        root.join("buildnet.yaml"),
        "packages:\n  - {name: p, path: p, output_dir: out, build_cmd: 'mkdir -p out; echo x > out/x'}\n",
    )
    .unwrap();
    let program = env!("CARGO_BIN_EXE_buildnet");
    let cache = place.path().join("cache");
    let build = std::process::Command::new(program)
        .current_dir(&root)
        .args(["--no-daemon", "--cache-dir"])
        .arg(&cache)
        .args(["build"])
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    // As the root of a user namespace, or as root.
    let read_only = |namespaces: &[&str], command: &str| {
        let mount = "mount --bind . . && mount -o remount,ro,bind . && cd \"$PWD\" && ! touch x 2>/dev/null";
        std::process::Command::new("unshare")
            .current_dir(&root)
            .args(namespaces)
            .args(["sh", "-c", &format!("{mount} && {command}"), program])
            .arg(&cache)
            .output()
            .ok()
            .filter(|output| output.status.success())
    };
    let namespaces: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let Some(namespaces) = namespaces.into_iter().find(|namespaces| read_only(namespaces, "true").is_some()) else {
        eprintln!("SKIPPED: a read-only place needs a mount namespace, which may not be made here");
        return;
    };
    let told = |what: &str| {
        let output = read_only(namespaces, &format!("\"$0\" --no-daemon --cache-dir \"$1\" {what}"));
        String::from_utf8(output.unwrap_or_else(|| panic!("{what} fails")).stdout).unwrap()
    };
    assert!(told("history list --json").contains("\"command\":\"build\""));
    assert!(told("history show last").contains("p:build"));
}
