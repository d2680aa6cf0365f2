//! Debian's Gradle builds a Java program twice, from two fresh checkouts.

mod common;

use std::fs;
use std::process::Command;

use buildnet_reapi::CacheOptions;

use self::common::{Server, checkout, debian_with_dependencies, run};

/// Debian's Gradle knows its libraries by absolute paths: the unpacked ones are laid over the system's, for it alone.
const START: &str = r#"mount -t overlay overlay -o "lowerdir=$GRADLE_ROOT/usr/share:/usr/share" /usr/share && exec java \
    --add-opens java.base/java.lang=ALL-UNNAMED -cp /usr/share/gradle/lib/gradle-launcher-4.4.1.jar \
    org.gradle.launcher.GradleMain --no-daemon --build-cache --console=plain classes"#;

fn isolated(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command
}

#[test]
fn gradle_over_http() {
    let Some(root) = debian_with_dependencies("gradle") else { return };
    let probe =
        r#"mount -t overlay overlay -o "lowerdir=$GRADLE_ROOT/usr/share:/usr/share" /usr/share && java -version"#;
    if !isolated(probe).env("GRADLE_ROOT", &root).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: gradle needs a Java and overlay mounts in user namespaces");
        return;
    }
    let server = Server::start(CacheOptions::default());
    let settings = format!(
        "buildCache {{ local {{ enabled = false }}\n remote(HttpBuildCache) {{ url = '{}'; push = true }} }}\n",
        server.url("/gradle/")
    );
    let build = || {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("house");
        let class = "public class Hello { public static void main(String[] a) { System.out.println(\"hello\"); } }\n";
        let files = [
            ("settings.gradle", settings.as_str()),
            ("build.gradle", "apply plugin: 'java'\n"),
            ("src/main/java/Hello.java", class),
        ];
        checkout(&project, &files);
        let mut gradle = isolated(START);
        gradle.current_dir(&project).env("GRADLE_ROOT", &root).env("GRADLE_USER_HOME", dir.path().join("home"));
        let text = run(&mut gradle);
        let classes = project.join("build/classes/java/main");
        assert!(fs::metadata(classes.join("Hello.class")).is_ok(), "{text}");
        assert_eq!(run(Command::new("java").arg("-cp").arg(classes).arg("Hello")), "hello\n");
        text
    };
    let first = build();
    assert!(first.contains(":compileJava") && !first.contains("FROM-CACHE"), "{first}");
    let second = build();
    assert!(second.contains(":compileJava FROM-CACHE"), "{second}");
    assert!(server.service.metrics().totals().hits > 0);
}
