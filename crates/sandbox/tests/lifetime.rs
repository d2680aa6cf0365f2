//! How commands end, by themselves and by limits, in every mode.

mod common;

use std::path::Path;
use std::time::Duration;

use buildnet_sandbox::{CancelHandle, Feature, Limits, Mode, Status, run};

use crate::common::{command, output_of, script, supported};

#[test]
fn exit_codes_and_signals_are_exact() {
    for mode in [Mode::Strict, Mode::Off] {
        if mode == Mode::Strict && !supported("exit_codes_and_signals_are_exact", &[]) {
            continue;
        }
        for (text, status) in [
            ("exit 0", Status::Exited(0)),
            ("exit 1", Status::Exited(1)),
            ("exit 255", Status::Exited(255)),
            ("kill -TERM $$", Status::Signaled(libc::SIGTERM)),
            ("kill -ABRT $$", Status::Signaled(libc::SIGABRT)),
            ("kill -PIPE $$", Status::Signaled(libc::SIGPIPE)),
            ("kill -KILL $$", Status::Signaled(libc::SIGKILL)),
            ("(sleep 0.1; exit 3) & wait $!", Status::Exited(3)),
        ] {
            let mut request = script(text);
            request.mode = mode;
            assert_eq!(output_of(&request).0.status, status, "{mode:?}: {text}");
        }
    }
}

#[test]
fn output_is_one_stream_in_order() {
    for mode in [Mode::Strict, Mode::Off] {
        if mode == Mode::Strict && !supported("output_is_one_stream_in_order", &[]) {
            continue;
        }
        let mut request = script("for i in 1 2 3; do echo out $i; echo err $i >&2; done; cat");
        request.mode = mode;
        assert_eq!(output_of(&request).1, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n", "{mode:?}");
        let mut request = script("head -c 3000000 /dev/zero");
        request.mode = mode;
        assert_eq!(output_of(&request).1.len(), 3_000_000, "{mode:?}");
    }
}

/// A script that leaves grandchildren behind in sessions of their own, each of which appends to a file for a while.
const LINGERING: &str =
    "for i in 1 2 3; do setsid sh -c 'while :; do echo x >> /w/beats; sleep 0.02; done' & done; sleep 0.2;";

fn beats(dir: &Path) -> u64 {
    dir.join("beats").metadata().map_or(0, |metadata| metadata.len())
}

/// Runs a script in strict isolation; checks that nothing of it lives on.
fn leaves_nothing(text: &str, limits: Limits, cancel: &CancelHandle) -> Status {
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let mut request = script(&format!("{LINGERING} {text}"));
    request.limits = limits;
    request.mounts = vec![common::mount(host.path(), "/w", buildnet_sandbox::MountKind::ReadWrite)];
    let exit = run(&request, &mut |_| {}, cancel).expect("the sandbox works");
    let at_end = beats(host.path());
    assert!(at_end > 0, "the grandchildren have run");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(beats(host.path()), at_end, "a grandchild lives on");
    exit.status
}

#[test]
fn an_end_by_itself_ends_grandchildren() {
    if supported("an_end_by_itself_ends_grandchildren", &[]) {
        assert_eq!(leaves_nothing("exit 4", Limits::default(), &CancelHandle::new()), Status::Exited(4));
    }
}

#[test]
fn a_timeout_ends_grandchildren() {
    if supported("a_timeout_ends_grandchildren", &[]) {
        let limits = Limits { wall: Some(Duration::from_millis(600)), ..Limits::default() };
        assert_eq!(leaves_nothing("trap '' TERM INT; sleep 100", limits, &CancelHandle::new()), Status::TimedOut);
    }
}

#[test]
fn cancelling_ends_grandchildren() {
    if !supported("cancelling_ends_grandchildren", &[]) {
        return;
    }
    let cancel = CancelHandle::new();
    let other = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        other.cancel();
    });
    assert_eq!(leaves_nothing("sleep 100", Limits::default(), &cancel), Status::Cancelled);
    thread.join().expect("the thread does not fail");
    // Cancelled before it starts.
    let exit = run(&script("sleep 100"), &mut |_| {}, &cancel).expect("the sandbox works");
    assert_eq!(exit.status, Status::Cancelled);
}

#[test]
fn a_killed_caller_takes_the_command_along() {
    if !supported("a_killed_caller_takes_the_command_along", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let program = std::env::current_exe().expect("this program has a path");
    let mut caller = std::process::Command::new(program)
        .args(["--ignored", "--exact", "lingers_until_killed"])
        .env("SANDBOX_TEST_DIR", host.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("this program can be run again");
    while beats(host.path()) == 0 {
        assert!(caller.try_wait().expect("the caller can be waited for").is_none(), "the caller has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    caller.kill().expect("the caller can be killed");
    caller.wait().expect("the caller can be waited for");
    std::thread::sleep(Duration::from_millis(200));
    let soon_after = beats(host.path());
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(beats(host.path()), soon_after, "a grandchild lives on");
}

#[test]
#[ignore = "runs until it is killed, by another test"]
fn lingers_until_killed() {
    let dir = std::env::var_os("SANDBOX_TEST_DIR").expect("the other test sets it");
    let mut request = script(&format!("{LINGERING} sleep 100"));
    request.mounts = vec![common::mount(dir, "/w", buildnet_sandbox::MountKind::ReadWrite)];
    let _ = run(&request, &mut |_| {}, &CancelHandle::new());
}

#[test]
fn without_isolation_the_group_is_killed() {
    let cancel = CancelHandle::new();
    let mut request = script("sleep 100 & sleep 100");
    request.mode = Mode::Off;
    request.limits.wall = Some(Duration::from_millis(100));
    let exit = run(&request, &mut |_| {}, &cancel).expect("a process can be started");
    assert_eq!(exit.status, Status::TimedOut);
    cancel.cancel();
    request.limits.wall = None;
    let exit = run(&request, &mut |_| {}, &cancel).expect("a process can be started");
    assert_eq!(exit.status, Status::Cancelled);
}

#[test]
fn a_fork_bomb_is_bounded() {
    if !supported("a_fork_bomb_is_bounded", &[]) {
        return;
    }
    let mut request = script("for i in $(seq 60); do sleep 1 & done; wait; echo survived");
    request.limits.pids = Some(20);
    request.limits.wall = Some(Duration::from_secs(20));
    let (_, output) = output_of(&request);
    assert!(output.to_lowercase().contains("cannot fork") || output.contains("Resource temporarily"), "{output}");
}

#[test]
fn memory_is_bounded() {
    if !supported("memory_is_bounded", &[]) || !Path::new("/usr/bin/python3").exists() {
        eprintln!("SKIPPED memory_is_bounded: needs strict isolation and /usr/bin/python3");
        return;
    }
    let grow = "import time
kept = []
while True:
    kept.append(b'x' * (8 << 20))
";
    for mode in [Mode::Strict, Mode::Off] {
        let mut request = command(["/usr/bin/python3", "-c", grow]);
        request.mode = mode;
        request.limits.memory = Some(200 << 20);
        request.limits.wall = Some(Duration::from_mins(1));
        let (exit, output) = output_of(&request);
        if common::capabilities().has(Feature::MemoryCgroup) {
            assert_eq!(exit.status, Status::OutOfMemory, "{mode:?}: {output}");
            assert!(exit.usage.peak_memory > 100 << 20 && exit.usage.peak_memory <= 200 << 20, "{exit:?}");
        } else {
            // RLIMIT_DATA: Python reports it itself, unless the watch was faster.
            let refused = exit.status == Status::Exited(1) && output.contains("MemoryError");
            assert!(refused || exit.status == Status::OutOfMemory, "{mode:?}: {exit:?} {output}");
        }
    }
}

#[test]
fn memory_of_many_small_processes_counts_together() {
    if !supported("memory_of_many_small_processes_counts_together", &[]) || !Path::new("/usr/bin/python3").exists() {
        eprintln!(
            "SKIPPED memory_of_many_small_processes_counts_together: needs strict isolation and /usr/bin/python3"
        );
        return;
    }
    let grow = "import os, time
for _ in range(8):
    if os.fork() == 0:
        kept = b'x' * (50 << 20)
        time.sleep(3)
        os._exit(0)
failed = False
for _ in range(8):
    failed = os.wait()[1] != 0 or failed
os._exit(1 if failed else 0)
";
    let mut request = command(["/usr/bin/python3", "-c", grow]);
    request.limits.memory = Some(200 << 20);
    request.limits.wall = Some(Duration::from_mins(1));
    assert_eq!(output_of(&request).0.status, Status::OutOfMemory);
}

#[test]
fn cpu_is_bounded() {
    if !supported("cpu_is_bounded", &[Feature::CpuCgroup]) {
        return;
    }
    let mut request = script("while :; do :; done");
    request.limits.cpu_millis = Some(100);
    request.limits.wall = Some(Duration::from_secs(2));
    let (exit, _) = output_of(&request);
    assert_eq!(exit.status, Status::TimedOut);
    // A tenth of 2 s is 0.2 s; an unbounded loop would have used most of the 2 s, or with a busy machine still far more than this.
    assert!(exit.usage.cpu_us < 500_000, "{exit:?}");
}

#[test]
fn usage_is_that_of_the_command() {
    if !supported("usage_is_that_of_the_command", &[]) {
        return;
    }
    // Much in this process must not show as the peak of a small command.
    let much = std::hint::black_box(vec![1_u8; 200 << 20]);
    let (exit, _) = output_of(&script("sleep 0.1"));
    assert!(much.len() > 1);
    assert!(exit.usage.wall_us >= 100_000, "{exit:?}");
    assert!(exit.usage.peak_memory > 100 << 10 && exit.usage.peak_memory < 100 << 20, "{exit:?}");
    let (exit, _) = output_of(&script("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"));
    assert!(exit.usage.cpu_us > 10_000, "{exit:?}");
}

#[test]
fn an_ordinary_user_gets_the_same() {
    common::again_as_ordinary_user("an_ordinary_user_gets_the_same");
}
