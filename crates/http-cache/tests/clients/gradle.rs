//! Gradle's HTTP build cache.

use std::fs;

use crate::common::{checkout, run};
use crate::install::debian_with_dependencies;
use crate::paste;

#[test]
fn gradle_http_build_cache() {
    let Some(debian) = debian_with_dependencies("gradle") else { return };
    let server = paste::server();
    let remote = paste::text("Gradle", &server);
    let settings = format!("rootProject.name = 'house'\nbuildCache {{ local {{ enabled = false }} }}\n{remote}");
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
        let mut command = debian.command("/usr/share/gradle/bin/gradle")?;
        command.current_dir(&project).env("HOME", dir.path());
        command.args(["--no-daemon", "--build-cache", "--console=plain", "shout", "--gradle-user-home"]);
        let text = run(command.arg(dir.path().join("home")));
        assert_eq!(fs::read_to_string(project.join("build/shout.txt")).unwrap(), "HELLO\n");
        Some(text)
    };
    let Some(first) = build() else { return };
    assert!(first.contains("1 executed"), "{first}");
    assert_eq!(server.hits("gradle"), 0);
    let second = build().unwrap();
    assert_eq!(server.hits("gradle"), 1);
    assert!(second.contains(":shout FROM-CACHE"), "{second}");
}
