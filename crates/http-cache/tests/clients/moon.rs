//! moon over REAPI.

use std::fs;
use std::process::Command;

use crate::common::{checkout, run};
use crate::install::npm;
use crate::paste::{self, TOKEN};

#[test]
fn moon_over_grpc() {
    let Some(modules) = npm("@moonrepo/cli", "2") else { return };
    let server = paste::server();
    let workspace = format!(
        "projects: ['lib', 'app']\ntelemetry: false\nvcs: {{ client: 'git', defaultBranch: 'main' }}\n{}",
        paste::text("moon", &server)
    );
    let task =
        "tasks:\n  build:\n    command: 'sh build.sh'\n    inputs: ['text', 'build.sh']\n    outputs: ['dist']\n";
    let app = format!("dependsOn: ['lib']\n{task}    deps: ['^:build']\n");
    let build = || {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("checkout");
        let files = [
            (".moon/workspace.yml", workspace.as_str()),
            ("lib/moon.yml", task),
            ("lib/build.sh", "mkdir -p dist && tr a-z A-Z < text > dist/text && echo built-lib\n"),
            ("lib/text", "hello\n"),
            ("app/moon.yml", &app),
            ("app/build.sh", "mkdir -p dist && cat ../lib/dist/text text > dist/text && echo built-app\n"),
            ("app/text", "world\n"),
        ];
        checkout(&root, &files);
        let git = |arguments: &[&str]| run(Command::new("git").current_dir(&root).args(arguments));
        git(&["init", "--quiet", "--initial-branch", "main"]);
        git(&["add", "--all"]);
        git(&["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "x"]);
        let mut command = Command::new(modules.join(".bin/moon"));
        command
            .current_dir(&root)
            .env("HOME", dir.path())
            .env("CACHE_TOKEN", TOKEN)
            .env("NO_COLOR", "1")
            .args(["run", "app:build"]);
        let text = run(&mut command);
        assert_eq!(fs::read_to_string(root.join("app/dist/text")).unwrap(), "HELLO\nworld\n");
        assert_eq!(fs::read_to_string(root.join("lib/dist/text")).unwrap(), "HELLO\n");
        text
    };
    let before = build();
    assert!(!before.contains("cached from remote"), "{before}");
    assert_eq!(server.hits("grpc"), 0);
    let after = build();
    assert_eq!(after.matches("cached from remote").count(), 2, "{after}");
    assert!(server.hits("grpc") >= 2, "{}", server.service.metrics().render());
}
