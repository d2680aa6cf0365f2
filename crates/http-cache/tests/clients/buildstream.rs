//! BuildStream, whose buildbox-casd speaks REAPI and Remote Asset: artifacts and sources.

use std::fs;
use std::path::Path;
use std::process::Command;

use buildnet_reapi::{Access, CacheOptions};

use crate::common::{Server, checkout, run};
use crate::install::{debian, pypi};
use crate::paste::{self, TOKEN};

const PROJECT: [(&str, &str); 4] = [
    ("project.conf", "name: house\nmin-version: 2.0\nelement-path: elements\n"),
    ("elements/base.bst", "kind: import\nsources:\n- kind: local\n  path: base\n"),
    (
        "elements/shout.bst",
        r#"kind: manual
build-depends:
- base.bst
sources:
- kind: local
  path: files
config:
  build-commands:
  - tr a-z A-Z < text > loud
  install-commands:
  - mkdir -p "%{install-root}" && cat loud > "%{install-root}/loud"
"#,
    ),
    ("files/text", "hello\n"),
];

/// What the sandbox is filled with: a shell and the commands, all one program without libraries.
fn stage_busybox(busybox: &Path, bin: &Path) {
    fs::create_dir_all(bin).unwrap();
    fs::copy(busybox, bin.join("busybox")).unwrap();
    for name in ["sh", "cat", "tr", "mkdir"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
}

#[test]
fn buildstream_artifacts_and_sources() {
    // buildbox-casd shows a token over TLS only.
    let server = Server::start(CacheOptions::default());
    let configuration = paste::text("BuildStream", &server);
    builds(&server, &configuration);
}

#[test]
fn buildstream_over_tls_with_a_token() {
    let access = Access::parse(&format!("ci write {TOKEN}"), None).unwrap();
    let (server, authority) = Server::start_with_tls(CacheOptions { access, ..CacheOptions::default() });
    let dir = tempfile::tempdir().unwrap();
    let (ca, token) = (dir.path().join("ca.pem"), dir.path().join("token"));
    fs::write(&ca, authority).unwrap();
    fs::write(&token, TOKEN).unwrap();
    // What the row says, over `https:`, with whom to trust and what to show.
    let auth = format!("push: true, auth: {{ server-cert: {}, access-token: {} }}", ca.display(), token.display());
    let plain = paste::text("BuildStream", &server);
    let configuration = plain.replace("http://", "https://").replace("push: true", &auth);
    builds(&server, &configuration);
}

/// Builds twice from two checkouts, and a third time something else of the same sources.
fn builds(server: &Server, configuration: &str) {
    let Some(bin) = pypi("BuildStream==2.8.1") else { return };
    let Some(tools) = debian("bubblewrap", &["bubblewrap", "busybox-static"]) else { return };
    let bubblewrap = tools.root().join("usr/bin");
    let probe = Command::new(bubblewrap.join("bwrap")).args(["--ro-bind", "/", "/", "--unshare-all", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: BuildStream builds in bubblewrap, which may not make namespaces here");
        return;
    }
    let path = std::env::join_paths(
        [bubblewrap].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let path = path.unwrap();
    let build = |edit: &dyn Fn(&str) -> String| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("checkout");
        checkout(&root, &PROJECT.map(|(name, text)| (name, text)));
        let element = root.join("elements/shout.bst");
        fs::write(&element, edit(&fs::read_to_string(&element).unwrap())).unwrap();
        stage_busybox(&tools.root().join("bin/busybox"), &root.join("base/bin"));
        let user = format!("cachedir: {}\n{configuration}", dir.path().join("cache").display());
        checkout(dir.path(), &[("user.conf", &user)]);
        let bst = |arguments: &[&str]| {
            let mut command = Command::new(bin.join("bst"));
            command.current_dir(&root).env("PATH", &path).env("HOME", dir.path());
            command.arg("--config").arg(dir.path().join("user.conf")).arg("--no-interactive");
            run(command.args(arguments))
        };
        let text = bst(&["build", "shout.bst"]);
        bst(&["artifact", "checkout", "shout.bst", "--directory", "out"]);
        assert_eq!(fs::read_to_string(root.join("out/loud")).unwrap(), "HELLO\n", "{text}");
        text
    };
    let same = |element: &str| element.to_owned();
    let first = build(&same);
    assert!(!first.contains("Pulled") && first.matches("Pushed artifact").count() == 2, "{first}");
    let before = server.hits("grpc");
    let second = build(&same);
    assert!(second.contains("Pulled artifact") && second.contains("Build Queue:    processed 0"), "{second}");
    assert!(server.hits("grpc") > before, "{}", server.service.metrics().render());
    // Another command over the same sources: the artifact is built again, from sources that are pulled.
    let third = build(&|element| element.replace("cat loud", "cat ./loud"));
    assert!(third.contains("Pulled source") && third.contains("Build Queue:    processed 1"), "{third}");
}
