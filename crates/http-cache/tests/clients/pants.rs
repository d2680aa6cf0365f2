//! Pants over REAPI.

use std::fs;
use std::process::Command;

use crate::common::{checkout, run};
use crate::install::{pypi_with, python_3_9};
use crate::paste;

/// The command takes longer than the cache: Pants lets both race.
const BUILD: &str = r#"
file(name="text", source="text")
shell_command(
    name="shout",
    command="sleep 2; tr a-z A-Z < text > loud",
    tools=["tr", "sleep"],
    execution_dependencies=[":text"],
    output_files=["loud"],
)
archive(name="pack", format="tar", files=[":shout"])
"#;

#[test]
fn pants_remote_cache() {
    let Some(bin) = pypi_with("pantsbuild.pants==2.17.0", python_3_9) else { return };
    let server = paste::server();
    let settings = format!(
        "[GLOBAL]\n{}pants_version = \"2.17.0\"\nbackend_packages = [\"pants.backend.shell\"]\npantsd = false\n\
         watch_filesystem = false\n[stats]\nlog = true\n[anonymous-telemetry]\nenabled = false\n",
        paste::text("Pants", &server)
    );
    let build = || {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("checkout");
        checkout(&root, &[("pants.toml", &settings), ("BUILD", BUILD), ("text", "hello\n")]);
        let place = |option: &str| format!("--{option}={}", dir.path().join(option).display());
        let mut command = Command::new(bin.join("pants"));
        command.current_dir(&root).env("HOME", dir.path()).arg("--no-dynamic-ui");
        command.args(["local-store-dir", "named-caches-dir", "pants-workdir"].map(place));
        let text = run(command.args(["package", ":pack"]));
        let unpacked = run(Command::new("tar").args(["-xOf", "dist/pack.tar", "loud"]).current_dir(&root));
        assert_eq!(unpacked, "HELLO\n");
        let count = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
        };
        let errors = count("remote_cache_read_errors") + count("remote_cache_write_errors");
        assert_eq!(errors, 0, "{text}");
        let _ = fs::remove_dir_all(root.join("dist"));
        (count("remote_cache_requests_cached"), count("remote_cache_write_successes"))
    };
    assert_eq!(build(), (0, 2), "the command and the archive");
    let before = server.hits("grpc");
    // Pants asks the cache and runs the command at once, and takes what ends first: on a busy machine not always the cache.
    let (cached, written) = build();
    assert!(cached >= 1 && cached + written == 2, "{cached} from the cache, {written} run");
    assert!(server.hits("grpc") >= before + cached, "{}", server.service.metrics().render());
}
