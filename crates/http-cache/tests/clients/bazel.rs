//! Bazel over gRPC and over HTTP, which share their entries.

use std::fs;
use std::process::Command;

use crate::common::{Server, checkout, run};
use crate::install::{debian_with_dependencies, npm};
use crate::paste;

const BUILD: &str = r#"
genrule(name = "shout", srcs = ["text"], outs = ["shout.txt"], cmd = "tr a-z A-Z < $< > $@")
genrule(name = "both", srcs = ["shout.txt", "text"], outs = ["both.txt"], cmd = "cat $(SRCS) > $@")
"#;

/// Builds twice over each protocol, and once more over HTTP what was stored over gRPC.
fn twice_over_each(server: &Server, bazel: impl Fn() -> Command) {
    let build = |rc: &str| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("checkout");
        checkout(&root, &[("WORKSPACE", ""), ("BUILD", BUILD), ("text", "hello\n"), (".bazelrc", rc)]);
        let bazel = || {
            let mut command = bazel();
            command
                .current_dir(&root)
                .env("HOME", dir.path())
                .arg(format!("--output_user_root={}", dir.path().join("output").display()))
                .args(["--nosystem_rc", "--nohome_rc", "--max_idle_secs=5"]);
            command
        };
        let text = run(bazel().args(["build", "//:both", "--spawn_strategy=local", "--curses=no"]));
        assert_eq!(fs::read_to_string(root.join("bazel-bin/both.txt")).unwrap(), "HELLO\nhello\n");
        run(bazel().arg("shutdown"));
        // Outputs are read-only, which keeps directories from being removed.
        run(Command::new("chmod").args(["-R", "u+w"]).arg(dir.path()));
        let processes =
            text.lines().find_map(|line| line.strip_prefix("INFO: ").filter(|line| line.contains("processes")));
        processes.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let (grpc, http) = (paste::text("Bazel, gRPC", server), paste::text("Bazel, HTTP", server));
    let apart = http.replace("/main", "/apart");
    for (rc, protocol) in [(&grpc, "grpc"), (&apart, "bazel-http")] {
        let first = build(rc);
        assert!(first.contains("2 local") && !first.contains("remote cache hit"), "{first}");
        let before = server.hits(protocol);
        let second = build(rc);
        assert!(second.contains("2 remote cache hit") && !second.contains("local"), "{second}");
        assert!(server.hits(protocol) >= before + 2, "{}", server.service.metrics().render());
    }
    let across = build(&http);
    assert!(across.contains("2 remote cache hit"), "written over gRPC, read over HTTP: {across}");
}

#[test]
fn bazel_4() {
    let Some(debian) = debian_with_dependencies("bazel-bootstrap") else { return };
    if debian.command("/usr/bin/bazel").is_none() {
        return;
    }
    // Debian has Bazel's server and tools below /usr/share/bazel instead of within the program, and says so in
    // /etc/bazel/bazelrc, which is not at its place where the package is only unpacked.
    twice_over_each(&paste::server(), || {
        let mut command = debian.command("/usr/bin/bazel").unwrap();
        command.args(["--install_base=/usr/share/bazel", "--trust_install_base"]);
        command
    });
}

#[test]
fn bazel_2() {
    let Some(modules) = npm("@bazel/bazel-linux_x64", "2.1.0") else { return };
    let bazel = modules.join("@bazel/bazel-linux_x64/bazel-2.1.0-linux-x86_64");
    // The unpacked program is kept; what it builds is not.
    let install = tempfile::tempdir().unwrap();
    // This version asks for the capabilities without the header that has the token, so the server asks for none.
    let server = Server::start(buildnet_reapi::CacheOptions::default());
    twice_over_each(&server, || {
        let mut command = Command::new(&bazel);
        command.arg(format!("--install_base={}", install.path().join("base").display()));
        command
    });
}
