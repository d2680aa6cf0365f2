//! What a command in strict isolation can and cannot do, with real processes on this kernel.

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use buildnet_sandbox::{Availability, CancelHandle, Feature, Mode, MountKind, SandboxError, Status, run};

use crate::common::{command, mount, output_of, script, supported, try_output_of};

#[test]
fn only_what_is_mounted_is_visible() {
    if !supported("only_what_is_mounted_is_visible", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let declared = host.path().join("declared");
    fs::create_dir(&declared).expect("a directory can be made");
    fs::write(declared.join("input"), "declared\n").expect("a file can be written");
    fs::write(host.path().join("secret"), "undeclared\n").expect("a file can be written");
    let secret = host.path().join("secret");
    let mut request = script(&format!("cat input; cat {}; ls /", secret.display()));
    request.working_dir = PathBuf::from("/buildnet/work");
    request.mounts = vec![mount(&declared, "/buildnet/work", MountKind::ReadOnly)];
    let (exit, output) = output_of(&request);
    assert_eq!(exit.status, Status::Exited(0));
    assert!(output.starts_with("declared\n"), "{output}");
    assert!(!output.contains("undeclared"), "{output}");
    assert!(output.contains("No such file"), "{output}");
    for place in ["home", "root", "var", "run", "sys", "work", "boot"] {
        assert!(!output.lines().any(|line| line == place), "{place} is visible: {output}");
    }
}

#[test]
fn the_environment_is_exactly_the_one_given() {
    if !supported("the_environment_is_exactly_the_one_given", &[]) {
        return;
    }
    let mut request = command(["/usr/bin/env"]);
    request.env = vec![("ONE".into(), "1".into()), ("TWO".into(), "a b".into())];
    assert_eq!(output_of(&request).1, "ONE=1\nTWO=a b\n");
}

#[test]
fn an_overlay_keeps_writes_from_the_source() {
    if !supported("an_overlay_keeps_writes_from_the_source", &[Feature::Overlay]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    // Names that overlayfs options would take apart if they were given as such.
    let [lower, upper, work] = ["lower,a:b\\", "upper,c:d", "work"].map(|name| {
        let dir = host.path().join(name);
        fs::create_dir(&dir).expect("a directory can be made");
        dir
    });
    fs::write(lower.join("source"), "original").expect("a file can be written");
    fs::write(lower.join("unwanted"), "x").expect("a file can be written");
    let mut request = script("cat source; echo changed > source; rm unwanted; mkdir out; echo made > out/file; ls");
    request.working_dir = PathBuf::from("/buildnet/work");
    request.mounts =
        vec![mount(&lower, "/buildnet/work", MountKind::Overlay { upper: upper.clone(), work: work.clone() })];
    let (exit, output) = output_of(&request);
    assert_eq!((exit.status, output.as_str()), (Status::Exited(0), "originalout\nsource\n"));
    let read = |path: PathBuf| fs::read_to_string(path).expect("the file is there");
    assert_eq!(read(lower.join("source")), "original");
    assert_eq!(read(lower.join("unwanted")), "x");
    assert_eq!(read(upper.join("source")), "changed\n");
    assert_eq!(read(upper.join("out/file")), "made\n");
    assert_eq!(fs::read_dir(&work).expect("the directory is there").count(), 0);
}

#[test]
fn writes_go_only_to_writable_mounts() {
    if !supported("writes_go_only_to_writable_mounts", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let [fixed, state] = ["fixed", "state"].map(|name| {
        let dir = host.path().join(name);
        fs::create_dir(&dir).expect("a directory can be made");
        dir
    });
    let mut request = script(
        "for place in /fixed /usr /etc /dev /proc/sys/kernel /; do (echo x > $place/new) 2>/dev/null && echo wrote $place; done
         rm -rf /usr/bin/env 2>/dev/null && echo removed
         echo x > /state/new && echo x > /tmp/new && echo x > /dev/shm/new && echo x > /dev/null && echo fine",
    );
    request.mounts = vec![mount(&fixed, "/fixed", MountKind::ReadOnly), mount(&state, "/state", MountKind::ReadWrite)];
    let (exit, output) = output_of(&request);
    assert_eq!((exit.status, output.as_str()), (Status::Exited(0), "fine\n"));
    assert!(state.join("new").exists());
    assert!(!fixed.join("new").exists());
    assert!(Path::new("/usr/bin/env").exists());
}

#[test]
fn a_tmpfs_is_bounded() {
    if !supported("a_tmpfs_is_bounded", &[]) {
        return;
    }
    let mut request = script("head -c 5000000 /dev/zero > /small/file; stat -c %s /small/file");
    request.mounts = vec![mount("/", "/small", MountKind::Tmpfs { max_bytes: 1 << 20 })];
    let (_, output) = output_of(&request);
    assert!(output.contains("No space left"), "{output}");
    assert!(output.ends_with("1048576\n"), "{output}");
}

#[test]
fn mounts_nest_and_single_files_can_be_mounted() {
    if !supported("mounts_nest_and_single_files_can_be_mounted", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let [root, modules] = ["root", "modules"].map(|name| {
        let dir = host.path().join(name);
        fs::create_dir(&dir).expect("a directory can be made");
        dir
    });
    fs::write(modules.join("module"), "module\n").expect("a file can be written");
    fs::write(host.path().join("file"), "file\n").expect("a file can be written");
    let mut request = script("cat /w/node_modules/module /w/config; echo x > /w/config || echo refused");
    request.mounts = vec![
        mount(&root, "/w", MountKind::ReadWrite),
        mount(&modules, "/w/node_modules", MountKind::ReadOnly),
        mount(host.path().join("file"), "/w/config", MountKind::ReadOnly),
    ];
    let (_, output) = output_of(&request);
    assert!(output.starts_with("module\nfile\n"), "{output}");
    assert!(output.ends_with("refused\n"), "{output}");
    assert_eq!(fs::read_to_string(host.path().join("file")).expect("the file is there"), "file\n");
}

#[test]
fn a_link_in_a_mounted_tree_leads_no_mount_to_the_host() {
    if !supported("a_link_in_a_mounted_tree_leads_no_mount_to_the_host", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let [root, elsewhere] = ["root", "elsewhere"].map(|name| {
        let dir = host.path().join(name);
        fs::create_dir(&dir).expect("a directory can be made");
        dir
    });
    std::os::unix::fs::symlink(&elsewhere, root.join("link")).expect("a link can be made");
    let mut request = script("true");
    request.mounts =
        vec![mount(&root, "/w", MountKind::ReadWrite), mount(&root, "/w/link/made/here", MountKind::ReadOnly)];
    let result = try_output_of(&request);
    assert!(result.is_err(), "{result:?}");
    assert_eq!(fs::read_dir(&elsewhere).expect("the directory is there").count(), 0);
}

#[test]
fn without_network_there_is_a_loopback_and_nothing_else() {
    if !supported("without_network_there_is_a_loopback_and_nothing_else", &[]) {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let program = format!(
        "import socket
def reaches(address):
    try:
        socket.create_connection(address, 2).close()
        return True
    except OSError as error:
        return error.strerror
print(sorted(name for _, name in socket.if_nameindex()))
print(reaches(('127.0.0.1', {port})))
print(reaches(('1.1.1.1', 53)))
own = socket.create_server(('127.0.0.1', 0))
print(reaches(own.getsockname()))
try:
    socket.socket(40, socket.SOCK_STREAM)
except OSError as error:
    print(error.strerror)
"
    );
    let mut request = command(["python3", "-c", &program]);
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("SKIPPED without_network_there_is_a_loopback_and_nothing_else: needs /usr/bin/python3");
        return;
    }
    let (_, output) = output_of(&request);
    assert_eq!(
        output,
        "['lo']\nConnection refused\nNetwork is unreachable\nTrue\nAddress family not supported by protocol\n"
    );
    request.network = true;
    let (_, output) = output_of(&request);
    assert!(output.lines().nth(1) == Some("True"), "the host's loopback is reachable with network: {output}");
}

#[test]
fn on_a_shared_network_abstract_sockets_of_the_host_stay_out_of_reach() {
    use std::os::linux::net::SocketAddrExt;
    let test = "on_a_shared_network_abstract_sockets_of_the_host_stay_out_of_reach";
    if !supported(test, &[]) || !Path::new("/usr/bin/python3").exists() {
        eprintln!("SKIPPED {test}: needs strict isolation and /usr/bin/python3");
        return;
    }
    match common::capabilities().get(Feature::Landlock) {
        Availability::Available(abi) if abi.trim_start_matches("ABI ").parse::<u32>().is_ok_and(|abi| abi >= 6) => {}
        other => {
            eprintln!("SKIPPED {test}: needs Landlock ABI 6: {other:?}");
            return;
        }
    }
    let name = format!("buildnet-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a valid name");
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).expect("the name is free");
    let program = format!(
        "import socket
try:
    socket.socket(socket.AF_UNIX).connect('\\0{name}')
    print('connected')
except OSError as error:
    print(error.strerror)
"
    );
    let mut request = command(["/usr/bin/python3", "-c", &program]);
    request.network = true;
    assert_eq!(output_of(&request).1, "Operation not permitted\n");
}

#[test]
fn rights_are_gone_and_stay_gone() {
    if !supported("rights_are_gone_and_stay_gone", &[]) {
        return;
    }
    let (_, output) = output_of(&script(
        "id -u; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
         mount -t tmpfs none /tmp 2>&1 | grep -o 'must be superuser'
         unshare -U true 2>&1 | grep -o 'Operation not permitted'
         kill -9 1; ps -o pid= -p 1",
    ));
    let expected = "1000
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
must be superuser
Operation not permitted
";
    assert!(output.starts_with(expected), "{output}");
    assert!(output.trim_end().ends_with('1'), "process 1 is still there: {output}");
}

#[test]
fn no_mount_honours_setuid_bits_or_device_nodes() {
    if !supported("no_mount_honours_setuid_bits_or_device_nodes", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let mut request = script("cat /proc/self/mountinfo");
    request.mounts = vec![mount(host.path(), "/w", MountKind::ReadWrite)];
    let (_, output) = output_of(&request);
    let mut seen = 0;
    for line in output.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (target, options): (_, Vec<_>) = (fields[4], fields[5].split(',').collect());
        assert!(options.contains(&"nosuid"), "{line}");
        // Devices are what is mounted beneath /dev; nothing that the command could put a node into.
        let device = target.starts_with("/dev/") && target != "/dev/shm";
        assert!(device || options.contains(&"nodev"), "{line}");
        let writable = ["/tmp", "/dev/shm", "/w"].contains(&target) || device;
        assert_eq!(writable, options.contains(&"rw"), "{line}");
        seen += 1;
    }
    assert!(seen > 8, "{output}");
}

#[test]
fn proc_shows_this_sandbox_only() {
    if !supported("proc_shows_this_sandbox_only", &[]) {
        return;
    }
    let (_, output) = output_of(&script(
        "set -- /proc/[0-9]*; echo $#; readlink /proc/self/cwd /proc/self/root; cat /proc/self/environ | tr '\\0' '\\n'; hostname
         cat /proc/1/environ /proc/1/mem 2>&1 | grep -c 'Permission denied'; ls /proc/self/fd | wc -l",
    ));
    let lines: Vec<_> = output.lines().collect();
    // Process 1 and the shell.
    assert_eq!(lines[0], "2", "{output}");
    assert_eq!(lines[1..3], ["/tmp", "/"], "{output}");
    assert!(lines[3].starts_with("PATH="), "{output}");
    // Input, output, errors, and the directory that `ls` reads.
    assert_eq!(lines[lines.len() - 3..], ["buildnet", "2", "4"], "{output}");
}

#[test]
fn dangerous_calls_are_refused() {
    if !supported("dangerous_calls_are_refused", &[]) || !Path::new("/usr/bin/python3").exists() {
        eprintln!("SKIPPED dangerous_calls_are_refused: needs strict isolation and /usr/bin/python3");
        return;
    }
    let calls = [
        ("mount", libc::SYS_mount, libc::EPERM),
        ("bpf", libc::SYS_bpf, libc::EPERM),
        ("perf_event_open", libc::SYS_perf_event_open, libc::EPERM),
        ("keyctl", libc::SYS_keyctl, libc::EPERM),
        ("setns", libc::SYS_setns, libc::EPERM),
        ("io_uring_setup", libc::SYS_io_uring_setup, libc::ENOSYS),
        ("clone3", libc::SYS_clone3, libc::ENOSYS),
        ("open_tree", libc::SYS_open_tree, libc::EPERM),
    ];
    for (name, number, expected) in calls {
        let program = format!(
            "import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.syscall({number}, 0, 0, 0, 0, 0, 0), ctypes.get_errno())"
        );
        assert_eq!(output_of(&command(["/usr/bin/python3", "-c", &program])).1, format!("-1 {expected}\n"), "{name}");
    }
}

#[test]
fn paths_need_not_be_utf_8() {
    if !supported("paths_need_not_be_utf_8", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let odd = OsString::from_vec(b"caf\xe9 \n'".to_vec());
    let dir = host.path().join(&odd);
    fs::create_dir(&dir).expect("a directory can be made");
    fs::write(dir.join(&odd), "odd\n").expect("a file can be written");
    let mut request = command(["cat"]);
    request.argv.push(odd.clone());
    let target = Path::new("/w").join(&odd);
    request.mounts = vec![buildnet_sandbox::Mount { source: dir, target: target.clone(), kind: MountKind::ReadOnly }];
    request.working_dir = target;
    let (exit, output) = output_of(&request);
    assert_eq!((exit.status, output.as_str()), (Status::Exited(0), "odd\n"));
}

#[test]
fn what_cannot_be_run_is_named() {
    if !supported("what_cannot_be_run_is_named", &[]) {
        return;
    }
    let error = |request| try_output_of(&request).expect_err("it cannot run").to_string();
    assert_eq!(error(command(["no-such-program"])), "program `no-such-program` not found in the sandbox");
    assert_eq!(error(command(["/etc/passwd"])), "cannot execute `/etc/passwd`: Permission denied (os error 13)");
    let mut request = script("true");
    request.working_dir = PathBuf::from("/nowhere");
    assert_eq!(error(request), "cannot enter the working directory `/nowhere`: No such file or directory (os error 2)");
    let mut request = script("true");
    request.mounts = vec![mount("/no/such/dir", "/w", MountKind::ReadOnly)];
    assert_eq!(error(request), "cannot mount `/no/such/dir` at `/w`: No such file or directory (os error 2)");
    let mut request = script("true");
    request.mounts = vec![mount("/usr", "/w/../etc", MountKind::ReadOnly)];
    assert!(matches!(try_output_of(&request), Err(SandboxError::InvalidRequest { .. })));
    let mut request = script("true");
    request.argv.push(OsString::from_vec(b"nul\0byte".to_vec()));
    assert!(matches!(try_output_of(&request), Err(SandboxError::InvalidRequest { .. })));
}

#[test]
fn a_program_that_is_still_being_written_is_waited_for() {
    if !supported("a_program_that_is_still_being_written_is_waited_for", &[]) {
        return;
    }
    let host = tempfile::tempdir().expect("a temporary directory can be made");
    let program = host.path().join("echo");
    fs::copy("/bin/echo", &program).expect("a program can be copied");
    let writer = fs::OpenOptions::new().append(true).open(&program).expect("the copy can be opened");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(writer);
    });
    let mut request = command(["/w/echo", "done"]);
    request.mounts = vec![mount(host.path(), "/w", MountKind::ReadOnly)];
    assert_eq!(output_of(&request).1, "done\n");
    thread.join().expect("the thread does not fail");
}

#[test]
fn warn_isolates_the_same_way() {
    if !supported("warn_isolates_the_same_way", &[]) {
        return;
    }
    let mut request = script("ls /root 2>/dev/null || echo invisible");
    request.mode = Mode::Warn;
    assert_eq!(output_of(&request).1, "invisible\n");
}

#[test]
fn many_sandboxes_run_at_once_from_many_threads() {
    if !supported("many_sandboxes_run_at_once_from_many_threads", &[]) {
        return;
    }
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            std::thread::spawn(move || {
                for round in 0..10 {
                    let text = format!("{thread} {round}");
                    let mut output = Vec::new();
                    let request = script(&format!("echo {text}; exit {thread}"));
                    let exit = run(&request, &mut |bytes| output.extend_from_slice(bytes), &CancelHandle::new())
                        .expect("the sandbox works");
                    assert_eq!(exit.status, Status::Exited(thread));
                    assert_eq!(output, format!("{text}\n").into_bytes());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread fails");
    }
}

#[test]
fn an_ordinary_user_gets_the_same() {
    common::again_as_ordinary_user("an_ordinary_user_gets_the_same");
}
