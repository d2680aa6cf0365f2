//! Turborepo and Nx on a workspace of npm packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{checkout, run};
use crate::install::npm;
use crate::paste;

/// A workspace of two npm packages, one using the other.
const PACKAGES: [(&str, &str); 6] = [
    (
        "package.json",
        r#"{ "name": "house", "private": true, "packageManager": "npm@10.8.2", "workspaces": ["packages/*"] }"#,
    ),
    (
        "package-lock.json",
        r#"{ "name": "house", "lockfileVersion": 3, "requires": true, "packages": {
            "": { "name": "house", "workspaces": ["packages/*"] },
            "node_modules/app": { "resolved": "packages/app", "link": true },
            "node_modules/lib": { "resolved": "packages/lib", "link": true },
            "packages/app": { "version": "1.0.0", "dependencies": { "lib": "*" } },
            "packages/lib": { "version": "1.0.0" } } }"#,
    ),
    (
        "packages/lib/package.json",
        r#"{ "name": "lib", "version": "1.0.0", "scripts": { "build": "mkdir -p dist && tr a-z A-Z < text > dist/text && echo built-lib" } }"#,
    ),
    ("packages/lib/text", "hello\n"),
    (
        "packages/app/package.json",
        r#"{ "name": "app", "version": "1.0.0", "dependencies": { "lib": "*" },
             "scripts": { "build": "mkdir -p dist && cat ../lib/dist/text text > dist/text && echo built-app" } }"#,
    ),
    ("packages/app/text", "world\n"),
];

fn check_outputs(dir: &Path) {
    assert_eq!(fs::read_to_string(dir.join("packages/app/dist/text")).unwrap(), "HELLO\nworld\n");
    assert_eq!(fs::read_to_string(dir.join("packages/lib/dist/text")).unwrap(), "HELLO\n");
}

#[test]
fn turborepo_with_signatures() {
    let Some(modules) = npm("turbo", "2.11") else { return };
    let server = paste::server();
    let turbo_json = r#"{ "tasks": { "build": { "dependsOn": ["^build"], "outputs": ["dist/**"] } },
                          "remoteCache": { "signature": true } }"#;
    let build = |key: &str| {
        let dir = tempfile::tempdir().unwrap();
        checkout(dir.path(), &PACKAGES);
        checkout(dir.path(), &[("turbo.json", turbo_json)]);
        let mut command = Command::new(modules.join(".bin/turbo"));
        paste::environment("Turborepo", &server, &mut command);
        command
            .current_dir(dir.path())
            .env("TURBO_REMOTE_CACHE_SIGNATURE_KEY", key)
            .env("TURBO_TELEMETRY_DISABLED", "1")
            .env("CI", "1")
            .args(["run", "build", "--cache=local:rw,remote:rw", "--no-daemon", "--no-update-notifier"]);
        let text = run(&mut command);
        check_outputs(dir.path());
        text
    };
    let first = build("a key of thirty-two characters...");
    assert!(first.contains("0 cached, 2 total"), "{first}");
    assert_eq!(server.hits("turborepo"), 0);
    let second = build("a key of thirty-two characters...");
    assert!(second.contains("2 cached, 2 total") && second.contains("FULL TURBO"), "{second}");
    assert_eq!(server.hits("turborepo"), 2);
    // Another key does not verify, so nothing of it is used.
    let third = build("another key, also 32 characters..");
    assert!(third.contains("0 cached, 2 total"), "{third}");
}

#[test]
fn nx_self_hosted() {
    let Some(modules) = npm("nx", "24") else { return };
    let server = paste::server();
    let nx_json = r#"{ "targetDefaults": { "build": { "cache": true, "dependsOn": ["^build"],
                       "outputs": ["{projectRoot}/dist"] } }, "analytics": false }"#;
    let build = || {
        let dir = tempfile::tempdir().unwrap();
        checkout(dir.path(), &PACKAGES);
        checkout(dir.path(), &[("nx.json", nx_json)]);
        std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).unwrap();
        let mut command = Command::new(modules.join(".bin/nx"));
        paste::environment("Nx", &server, &mut command);
        command
            .current_dir(dir.path())
            .env("NX_DAEMON", "false")
            .env("NX_NO_CLOUD", "true")
            .env("NX_WORKSPACE_DATA_DIRECTORY", dir.path().join(".nx/data"))
            .env("CI", "1")
            .args(["run-many", "--target=build", "--output-style=stream"]);
        let text = run(&mut command);
        check_outputs(dir.path());
        text
    };
    let first = build();
    assert!(!first.contains("remote cache"), "{first}");
    assert_eq!(server.hits("nx"), 0);
    let second = build();
    assert_eq!(second.matches("[remote cache]").count(), 2, "{second}");
    assert_eq!(server.hits("nx"), 2);
}
