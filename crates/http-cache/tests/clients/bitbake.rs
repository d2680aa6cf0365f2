//! BitBake's own fetcher on a mirror of shared state, and its own client of hash equivalence. They are taken from a checkout of
//! BitBake that the variable `BUILDNET_BITBAKE` names: BitBake is in no registry.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use buildnet_http_cache::push::{self, Pushed};
use buildnet_reapi::{Access, CacheOptions, Role};

use crate::common::{Server, bytes, checkout, run};
use crate::install::pypi;
use crate::paste::{self, TOKEN};

fn bitbake() -> Option<PathBuf> {
    let checkout = std::env::var_os("BUILDNET_BITBAKE").map(PathBuf::from).filter(|path| path.join("lib/bb").is_dir());
    if checkout.is_none() {
        eprintln!("SKIPPED: BUILDNET_BITBAKE names no checkout of BitBake, whose fetcher and client this would run");
    }
    checkout
}

fn python(program: &Path, bitbake: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("PYTHONPATH", bitbake.join("lib")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What OE-core's sstate class does with a mirror: it asks for all objects over pooled connections, and then fetches.
const FETCH: &str = r#"
import os, sys
import bb, bb.data, bb.data_smart, bb.fetch2

mirrors, directory, names = sys.argv[1], sys.argv[2], sys.argv[3:]
d = bb.data_smart.DataSmart()
for name, value in {"DL_DIR": directory, "FILESPATH": directory, "PREMIRRORS": mirrors, "TOPDIR": directory,
                    "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}.items():
    d.setVar(name, value)
connections = bb.fetch2.FetchConnectionCache()
for name in names:
    copy = bb.data.createCopy(d)
    try:
        bb.fetch2.Fetch(["file://" + name], copy, connection_cache=connections).checkstatus()
        print("found", name)
    except bb.fetch2.FetchError:
        print("missed", name)
connections.close_connections()
for name in names:
    for ending in ("", ".siginfo"):
        try:
            fetcher = bb.fetch2.Fetch(["file://{0};downloadfilename={0}".format(name + ending)], bb.data.createCopy(d), cache=False)
            fetcher.checkstatus()
            fetcher.download()
        except bb.fetch2.BBFetchException:
            pass
"#;

#[test]
fn shared_state_is_pushed_and_fetched_by_bitbake() {
    let Some(bitbake) = bitbake() else { return };
    let server = paste::server();
    let dir = tempfile::tempdir().unwrap();
    let archive = "universal/0f/a1/sstate:zlib-native:x86_64-linux:1.3.1:r0:x86_64:14:0fa1_populate_sysroot.tar.zst";
    let second = "ab/cd/sstate:m4:core2-64-oe-linux:1.4.19+git0:r0:core2-64:14:abcd_package_write_rpm.tar.zst";
    let absent = "ab/ce/sstate:m4:core2-64-oe-linux:1.4.19:r0:core2-64:14:abce_package.tar.zst";
    let built = dir.path().join("built");
    for (seed, name) in [(1, archive), (2, second)] {
        checkout(&built, &[(&format!("{name}.siginfo"), "{}")]);
        fs::write(built.join(name), bytes(seed, 700_000)).unwrap();
    }
    let address = server.url("/sstate").parse().unwrap();
    let push = |token: Option<&str>| server.runtime.block_on(push::push(&built, &address, token));
    assert!(push(None).unwrap_err().to_string().contains("401"));
    let all = Pushed { sent: 4, bytes: 1_400_004, ..Pushed::default() };
    assert_eq!(push(Some(TOKEN)).unwrap(), all);
    assert_eq!(push(Some(TOKEN)).unwrap(), Pushed { present: 4, ..Pushed::default() });

    let home = dir.path().join("home");
    let netrc = format!("machine 127.0.0.1 login ci password {TOKEN}\n");
    checkout(&home, &[(".netrc", &netrc)]);
    // Python reads none that others may read.
    fs::set_permissions(home.join(".netrc"), fs::Permissions::from_mode(0o600)).unwrap();
    let line = paste::lines("BitBake, shared state", &server).remove(0);
    let mirrors = line.split_once(" = ").expect("an assignment").1.trim_matches('"').to_owned();
    let fetched = dir.path().join("fetched");
    fs::create_dir(&fetched).unwrap();
    let before = server.hits("sstate");
    let text = run(python(Path::new("python3"), &bitbake).env("HOME", &home).args([
        "-c",
        FETCH,
        &mirrors,
        fetched.to_str().unwrap(),
        archive,
        second,
        absent,
    ]));
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("found") || line.starts_with("missed")).collect();
    assert_eq!(told, [format!("found {archive}"), format!("found {second}"), format!("missed {absent}")], "{text}");
    for (seed, name) in [(1, archive), (2, second)] {
        assert_eq!(fs::read(fetched.join(name)).unwrap(), bytes(seed, 700_000), "{text}");
        assert_eq!(fs::read_to_string(fetched.join(format!("{name}.siginfo"))).unwrap(), "{}", "{text}");
    }
    assert!(!fetched.join(absent).exists());
    assert!(server.hits("sstate") >= before + 8, "{}", server.service.metrics().render());
}

#[test]
fn hash_equivalence_by_bitbakes_client_and_suite() {
    let Some(bitbake) = bitbake() else { return };
    let Some(bin) = pypi("websockets") else { return };
    for socket in [false, true] {
        // The program's own threads show no token: they ask as anybody may here.
        let access = Access::parse(&format!("ci admin {TOKEN}"), Some(Role::Read)).unwrap();
        let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
        let line = paste::lines("BitBake, hash equivalence", &server).remove(0);
        let pasted = line.split_once(" = ").expect("an assignment").1.trim_matches('"').to_owned();
        let address = if socket { pasted } else { server.equivalence.clone() };
        // Two builds whose tasks differ and whose outputs do not: the second one gets the first one's hash.
        let client = |arguments: &[&str]| {
            let mut command = python(&bin.join("python3"), &bitbake);
            command.arg(bitbake.join("bin/bitbake-hashclient")).args(["--address", &address]);
            run(command.args(["--login", "ci", "--password", TOKEN]).args(arguments))
        };
        let report = |seed: &str| {
            let arguments =
                ["--clients", "2", "--requests", "50", "--report", "--outhash-seed", "o", "--taskhash-seed"];
            client(&[&["stress"], &arguments[..], &[seed]].concat())
        };
        assert!(report("first").contains("Hashes missed:        100"));
        report("second");
        assert!(report("second").contains("Hashes found:         100"));
        let taskhash = |seed: &str| buildnet_digest::DigestFunction::Sha256.digest(format!("{seed}7").as_bytes()).hex();
        let found = client(&["get", "stress.test.method", &taskhash("second")]);
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["unihash"], taskhash("first"), "{found:#}");

        // The suite that BitBake tests its own server with, over an empty database. It may do all, since what it does to
        // users and their tokens is not served: here these are the server's.
        let access = Access::parse("", Some(Role::Admin)).unwrap();
        let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
        let socketed = format!("ws://{}/hash-equivalence", server.authority);
        let address = if socket { &socketed } else { &server.equivalence };
        let mut suite = python(&bin.join("python3"), &bitbake);
        suite.env("BB_TEST_HASHSERV", address).current_dir(server.dir.path());
        suite.args(["-W", "ignore", "-m", "unittest", "hashserv.tests.TestHashEquivalenceExternalServer"]);
        let text = run(&mut suite);
        eprintln!("{address}: {}", text.lines().rev().find(|line| !line.is_empty()).unwrap_or_default());
    }
}

/// Where nobody may do anything without a token the client shows its own when it is connected.
const ASK: &str = r#"
import hashserv, sys
address, login, password = (sys.argv[1:] + ["", ""])[:3]
with hashserv.create_client(address, login or None, password or None) as client:
    for name, unihash in (("t1", "a"), ("t2", "b")):
        print(client.report_unihash(name, "m", "o", unihash * 64)["unihash"])
    print(client.get_unihash("m", "t2"), client.get_unihash("m", "unknown"))
"#;

#[test]
fn bitbakes_client_on_a_server_without_anonymous_access() {
    let Some(bitbake) = bitbake() else { return };
    let Some(bin) = pypi("websockets") else { return };
    for socket in [false, true] {
        let server = paste::server();
        let socketed = format!("ws://{}/hash-equivalence", server.authority);
        let address = if socket { &socketed } else { &server.equivalence };
        let ask = |token: &[&str]| {
            let mut command = python(&bin.join("python3"), &bitbake);
            command.args(["-c", ASK, address]).args(token);
            command
        };
        let a = "a".repeat(64);
        assert_eq!(run(&mut ask(&["ci", TOKEN])), format!("{a}\n{a}\n{a} None\n"), "{address}");
        let strangers: [&[&str]; 2] = [&[], &["ci", "another-0123456789"]];
        for stranger in strangers {
            let refused = ask(stranger).output().unwrap();
            assert!(!refused.status.success() && refused.stdout.is_empty(), "{address} {stranger:?}: {refused:?}");
        }
    }
}
