//! Builds that are killed, interrupted, or not alone.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layers::{assert_right, change, expected, layers, outputs};
use crate::support::{Ended, Place};

/// Numbers that look random and are the same every time (Knuth's linear congruential generator).
struct Numbers(u64);

impl Numbers {
    /// Below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

#[test]
fn killed_at_any_moment() {
    let place = layers("0");
    let began = Instant::now();
    place.run(&["build"]).expect(0, &[]);
    let usual = u64::try_from(began.elapsed().as_micros()).expect("a build ends some day");
    let mut numbers = Numbers(42);
    for round in 1..=20 {
        let (before, now) = ((round - 1).to_string(), round.to_string());
        change(&place, &now);
        let mut child =
            place.command(&["build"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_micros(numbers.below(usual)));
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
        // What is there is whole: as it was, or as it is to be.
        let (old, new) = (expected(&before), expected(&now));
        for (path, content) in outputs(place.root()) {
            let whole = [&old, &new].iter().any(|files| files.get(&path) == Some(&content));
            assert!(whole, "round {round}: {} is neither as before nor as it must be", path.display());
        }
        place.run(&["build"]).expect(0, &[]);
        assert_right(place.root(), &now);
    }
    let left: Vec<_> = fs::read_dir(place.root().join(".buildnet/exec")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "execution roots of dead builds are removed: {left:?}");
    place.run(&["cache", "verify"]).expect(0, &[]);
}

#[test]
fn two_builds_at_once() {
    let place = layers("one");
    let start = || {
        let mut command = place.command(&["build"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let (first, second) = (start(), start());
    for child in [first, second] {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_right(place.root(), "one");
    place.run(&["build"]).expect(0, &["6 instant"]);
}

/// Ids of processes with this argument.
fn processes(argument: &str) -> Vec<String> {
    let has = |directory: &Path| {
        let line = fs::read(directory.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes())
    };
    let entries = fs::read_dir("/proc").expect("there is /proc").flatten().filter(|entry| has(&entry.path()));
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Waits until it is so; how long that takes is not judged, but that it comes is.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} in half a minute");
}

fn stopped_by(signal: Signal, sandbox: &str) {
    let seconds = format!("86400.{}", std::process::id() * 10 + u32::from(sandbox == "off"));
    let place = Place::with(&[(
        "buildnet.yaml",
        &format!(
            "sandbox: {sandbox}\npackages:\n  - name: slow\n    path: slow\n    output_dir: out\n    build_cmd: |\n      \
             mkdir -p out\n      echo half > out/text\n      (sleep {seconds} & wait)\n      echo whole > out/text\n"
        ),
    )]);
    place.write("slow/in.txt", "");
    let mut command = place.command(&["build"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    wait_for("the command does not run", || !processes(&seconds).is_empty());
    kill(Pid::from_raw(i32::try_from(child.id()).expect("ids are small")), signal).expect("it still runs");
    let output = child.wait_with_output().expect("it ends");
    wait_for("commands outlive the build", || processes(&seconds).is_empty());
    if signal == Signal::SIGINT {
        let ended = Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        ended.expect(1, &[]);
    }
    if sandbox == "strict" {
        assert!(!place.root().join("slow/out/text").exists(), "a half-written output shows");
    }
    let configuration = place.read("buildnet.yaml");
    place.write("buildnet.yaml", &configuration.replace(&seconds, "0"));
    place.run(&["build"]).expect(0, &["1 full"]);
    assert_eq!(place.read("slow/out/text"), "whole\n");
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    stopped_by(Signal::SIGINT, "strict");
    stopped_by(Signal::SIGINT, "off");
}

#[test]
fn a_kill_leaves_nothing_behind() {
    stopped_by(Signal::SIGKILL, "strict");
}
