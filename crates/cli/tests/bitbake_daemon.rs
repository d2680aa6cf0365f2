//! What a daemon says of recipes is what a process says that knows nothing, whatever is edited in between.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A build directory with a copy of our own layer, and a recipe that looks at everything.
struct Build {
    directory: TempDir,
}

#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

const PROBE: &str = r#"require probe.inc
include maybe.inc
inherit rare
PLAIN = "a"
HERE := "${@os.path.dirname(d.getVar('FILE', False))}"
WHEN = "${@os.path.exists(d.getVar('HERE') + '/flag')}"
NAMES = "${@' '.join(sorted(os.listdir(d.getVar('HERE') + '/files')))}"
do_probe[file-checksums] = "${HERE}/files:True ${HERE}/one.txt:${@os.path.exists(d.getVar('HERE') + '/one.txt')}"
do_probe() {
    echo ${PLAIN} ${SHARED} ${WHEN} ${LOCAL} ${NAMES}
}
addtask probe
"#;
/// Where there is no Git, or no commit, it says so.
const VERSIONED: &str = r#"def revision(d):
    import bb.process
    try:
        return bb.process.run(["git", "rev-parse", "HEAD"], cwd=os.path.dirname(d.getVar("FILE")))[0].strip()
    except bb.process.ExecutionError:
        return "none"
REVISION := "${@revision(d)}"
do_build() {
    echo ${REVISION}
}
addtask build
"#;
/// Needs what the world has.
const WHOLE: &str = r#"python calculate_extra_depends() {
    deps.extend(sorted(name for name in world_target if name in ("probe", "user", "versioned", "other")))
}
do_build[deptask] = "do_build do_probe"
do_build() {
    echo whole
}
addtask build
"#;
const USER: &str =
    "DEPENDS = \"probe\"\ndo_build[deptask] = \"do_probe\"\ndo_build() {\n    echo user\n}\naddtask build\n";

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Build {
    /// `None`, said loudly, where there is no Python.
    fn new() -> Option<Self> {
        if !has("python3") {
            eprintln!("SKIPPED: there is no python3 on PATH");
            return None;
        }
        let build = Self { directory: tempfile::tempdir().unwrap() };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../bitbake/tests/layer"), &build.path("layer"));
        let conf = format!(
            "BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\nASSUME_PROVIDED = \"from-anonymous alpha\"\n\
             include conf/local.conf\n",
            build.path("layer").display()
        );
        build.write("build/conf/bblayers.conf", &conf);
        build.write("build/conf/local.conf", "LOCAL = \"1\"\n");
        build.write("layer/classes/rare.bbclass", "RARE = \"1\"\n");
        build.probe("probe_1.bb", PROBE);
        build.probe("probe.inc", "SHARED = \"1\"\n");
        build.probe("files/data.txt", "one\n");
        build.probe("user_1.bb", USER);
        build.probe("versioned_1.bb", VERSIONED);
        build.probe("whole_1.bb", WHOLE);
        if has("git") {
            build.git(&["init", "-q"]);
            build.commit();
        } else {
            eprintln!("SKIPPED: there is no git on PATH; recipes that ask it are told so");
        }
        Some(build)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn probe(&self, path: &str, text: &str) {
        self.write(&format!("layer/recipes-a/probe/{path}"), text);
    }

    fn at_probe(&self, path: &str) -> PathBuf {
        self.path("layer/recipes-a/probe").join(path)
    }

    fn append(&self, path: &str, text: &str) {
        let old = fs::read_to_string(self.path(path)).unwrap();
        self.write(path, &format!("{old}{text}"));
    }

    /// Removes a file that is there, and makes one that is not.
    fn toggle(&self, path: &str, text: &str) {
        if self.at_probe(path).exists() {
            fs::remove_file(self.at_probe(path)).unwrap();
        } else {
            self.probe(path, text);
        }
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=test", "-c", "user.email=test@example.org"]).args(arguments);
        assert!(command.current_dir(self.path("layer")).status().unwrap().success());
    }

    fn commit(&self) {
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path("build")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path(""));
        command.env("BUILDNET_CACHE_DIR", self.path("cache"));
        command
    }

    fn ended(command: &mut Command) -> Ended {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        // How much was read is another matter than what it came to.
        let err = text(output.stderr);
        let err = err.lines().filter(|line| !line.starts_with("Parsed ")).collect::<Vec<_>>().join("\n");
        Ended { code: output.status.code(), out: text(output.stdout), err }
    }

    /// What a process says that asks nobody and keeps nothing.
    fn cold(&self, arguments: &[&str]) -> Ended {
        let own = [&["--no-daemon", "bitbake"], arguments, &["--no-cache"]].concat();
        Self::ended(&mut self.command(Path::new(env!("CARGO_BIN_EXE_buildnet")), &own))
    }
}

/// A daemon of one build directory, killed when this goes.
struct Daemon<'a> {
    build: &'a Build,
    address: String,
    process: Child,
}

impl<'a> Daemon<'a> {
    fn start(build: &'a Build) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut command = build.command(Path::new(env!("CARGO_BIN_EXE_buildnet")), &["start", "--listen", &address]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self { build, address, process };
        for _ in 0..600 {
            if TcpStream::connect(&daemon.address).is_ok() {
                return daemon;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the daemon does not listen after half a minute");
    }

    fn ask(&self, arguments: &[&str]) -> Ended {
        let own = [&["--daemon-address", &self.address, "bitbake"], arguments].concat();
        Build::ended(&mut self.build.command(Path::new(env!("CARGO_BIN_EXE_buildnet")), &own))
    }

    #[track_caller]
    fn says_the_same(&self, arguments: &[&str], after: &str) -> Ended {
        let (warm, cold) = (self.ask(arguments), self.build.cold(arguments));
        assert_eq!(warm, cold, "{arguments:?} after {after}");
        warm
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Numbers that look random (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

const EDITS: u64 = 20;

/// One edit; its name.
fn edit(build: &Build, which: u64, step: u64) -> &'static str {
    match which {
        0 => {
            let file = fs::File::options().append(true).open(build.at_probe("probe_1.bb")).unwrap();
            file.set_modified(std::time::SystemTime::now()).unwrap();
            "touching a recipe"
        }
        1 => {
            build.append("layer/recipes-a/probe/probe_1.bb", &format!("PLAIN .= \"{step}\"\n"));
            "editing a recipe"
        }
        2 => {
            build.append("layer/recipes-a/probe/probe.inc", &format!("SHARED .= \"{step}\"\n"));
            "editing an include file"
        }
        3 => {
            build.toggle("maybe.inc", "SHARED:append = \"maybe\"\n");
            "an include file that may be there"
        }
        4 => {
            build.toggle("flag", "");
            "a file that a recipe looks for"
        }
        5 => {
            build.toggle("probe_%.bbappend", "PLAIN:append = \"appended\"\n");
            "an append"
        }
        6 => {
            build.toggle("other_1.bb", USER);
            "a recipe"
        }
        7 => {
            build.append("layer/classes/rare.bbclass", &format!("PLAIN:append = \"rare{step}\"\n"));
            "editing a class"
        }
        8 => {
            build.append("layer/classes/base.bbclass", &format!("EVERYWHERE = \"{step}\"\n"));
            "editing the class of all recipes"
        }
        9 => {
            build.write("build/conf/local.conf", &format!("LOCAL = \"{step}\"\n"));
            "editing the configuration"
        }
        10 => {
            build.probe("files/data.txt", &format!("{step}\n"));
            "editing a file that enters a hash"
        }
        11 => {
            build.toggle("files/more.txt", "more\n");
            "a file in a directory that is listed"
        }
        12 if has("git") => {
            build.commit();
            "a commit"
        }
        13 => {
            build.append("layer/recipes-a/probe/user_1.bb", &format!("DEPENDS += \"versioned\"\nA{step} = \"1\"\n"));
            "editing what a recipe depends on"
        }
        14 => {
            let aside = build.at_probe("aside");
            if aside.exists() {
                fs::rename(aside, build.at_probe("flag-directory")).unwrap();
            } else {
                fs::create_dir_all(&aside).unwrap();
            }
            "a directory that comes or moves"
        }
        15 => {
            let text = fs::read_to_string(build.at_probe("probe_1.bb")).unwrap();
            build.probe("probe_1.bb.new", &format!("{text}PLAIN .= \"r{step}\"\n"));
            fs::rename(build.at_probe("probe_1.bb.new"), build.at_probe("probe_1.bb")).unwrap();
            "replacing a recipe by another file"
        }
        16 => {
            build.toggle("broken_1.bb", "this is nothing\n");
            "a broken recipe"
        }
        17 => {
            let taint = build.path("build/tmp/stamps/probe-1-r0.do_probe.taint");
            if taint.exists() {
                fs::remove_file(taint).unwrap();
            } else {
                build.write("build/tmp/stamps/probe-1-r0.do_probe.taint", "forced");
            }
            "a forced run's mark"
        }
        18 => {
            build.toggle("nowhere_1.bbappend", "A = \"1\"\n");
            "an append without a recipe"
        }
        _ => "nothing",
    }
}

const QUESTIONS: [&[&str]; 5] = [
    &["sigs", "user", "versioned"],
    &["parse", "--jsonl", "-"],
    &["recipes"],
    &["sigs", "user", "--jsonl", "-"],
    &["sigs", "whole"],
];

#[test]
fn a_daemon_sees_every_edit() {
    let Some(build) = Build::new() else { return };
    let daemon = Daemon::start(&build);
    for arguments in QUESTIONS {
        let said = daemon.says_the_same(arguments, "the start");
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let mut numbers = Numbers(2026);
    // Each once, then some at random; a few together.
    // What breaks everything is mended at once.
    let singles = (0..EDITS).flat_map(|which| vec![vec![which]; if which == 16 || which == 18 { 2 } else { 1 }]);
    let random: Vec<Vec<u64>> =
        (0..8).map(|_| (0..=numbers.below(3)).map(|_| numbers.below(EDITS)).collect()).collect();
    for (step, edits) in (0..).zip(singles.chain(random)) {
        let names: Vec<&str> = edits.iter().map(|which| edit(&build, *which, step)).collect();
        let arguments = QUESTIONS[usize::try_from(numbers.below(5)).unwrap()];
        let after = format!("step {step}: {}", names.join(", then "));
        daemon.says_the_same(QUESTIONS[0], &after);
        daemon.says_the_same(arguments, &after);
    }
}

#[test]
fn every_command_may_be_asked_of_a_daemon() {
    let Some(build) = Build::new() else { return };
    let daemon = Daemon::start(&build);
    for arguments in [
        &["layers"][..],
        &["lint"],
        &["providers", "probe"],
        &["providers", "nothing"],
        &["graph", "user"],
        &["env", "-v", "LOCAL"],
        &["env", "probe", "-v", "PLAIN"],
        &["env", "probe", "-v", "PLAIN", "--history"],
        &["env", "-v", "NOT_SET_ANYWHERE"],
        &["env", "nothing"],
        &["env", "probe"],
        &["why", "user:do_build"],
        &["sigs", "nothing"],
    ] {
        daemon.says_the_same(arguments, "the start");
    }
    let tasks = daemon.ask(&["sigs", "user"]).out.lines().count();
    let written = daemon.says_the_same(&["sigs", "user", "--write"], "the start");
    assert_eq!(written.out, format!("signature data of {tasks} tasks written\n"), "{written:?}");
    build.append("layer/recipes-a/probe/probe_1.bb", "PLAIN = \"changed\"\n");
    let why = daemon.says_the_same(&["why", "probe:do_probe"], "a change");
    assert!(why.out.contains("PLAIN changed from \"a\" to \"changed\""), "{why:?}");
}

/// Takes requests and refuses them. Returns the questions that it was asked.
fn listen(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(b"}") {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    stream.write_all(b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn commands_ask_a_daemon_first_and_do_without() {
    let Some(build) = Build::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = |run: &(dyn Fn() -> Ended + Sync), question: &str| {
        let ended = std::thread::scope(|scope| {
            let ended = scope.spawn(run);
            let request = listen(&listener);
            assert!(request.starts_with("POST /bitbake HTTP/1.1"), "{request}");
            assert!(request.contains(&format!("\"ask\":\"{question}\"")), "{question}: {request}");
            ended.join().unwrap()
        });
        assert_eq!(ended.code, Some(0), "{ended:?}");
    };
    for (arguments, question) in [
        (&["parse"][..], "parse"),
        (&["sigs", "user", "--write"], "sigs"),
        (&["why", "user:do_build"], "why"),
        (&["env", "-v", "LOCAL", "--history"], "env"),
        (&["recipes"], "recipes"),
    ] {
        let own = [&["--daemon-address", &address, "bitbake"], arguments].concat();
        asked(&|| Build::ended(&mut build.command(Path::new(env!("CARGO_BIN_EXE_buildnet")), &own)), question);
    }
}
