//! A Cargo workspace with a dependency from the registry, and not a line of configuration for BuildNet.

use std::process::Command;

use crate::support::{Place, cargo, those};

const MEMBERS: [(&str, &str, &str); 4] = [
    (
        "shapes",
        "",
        "pub struct Square(pub u32);\nimpl Square {\n    pub fn area(&self) -> u32 { self.0 * self.0 }\n}\n",
    ),
    (
        "words",
        "itoa = \"1\"",
        "pub fn number(value: u32) -> String { itoa::Buffer::new().format(value).to_owned() }\n\n\
         #[cfg(test)]\nmod tests {\n    #[test]\n    fn numbers() { assert_eq!(super::number(12), \"12\"); }\n}\n",
    ),
    (
        "sums",
        "shapes = { path = \"../shapes\" }",
        "pub fn sum(sides: &[u32]) -> u32 { sides.iter().map(|side| shapes::Square(*side).area()).sum() }\n\n\
         #[cfg(test)]\nmod tests {\n    #[test]\n    fn sums() { assert_eq!(super::sum(&[1, 2]), 5); }\n}\n",
    ),
    (
        "areas",
        "sums = { path = \"../sums\" }\nwords = { path = \"../words\" }",
        "fn main() {\n    let sides: Vec<u32> = std::env::args().skip(1).filter_map(|side| side.parse().ok()).collect();\n    \
         println!(\"area {}\", words::number(sums::sum(&sides)));\n}\n",
    ),
];

fn workspace() -> Option<Place> {
    let place = Place::with(&[
        ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"3\"\n\n[profile.dev]\ndebug = false\n"),
        (".gitignore", "target\n"),
    ]);
    for (name, dependencies, source) in MEMBERS {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n{dependencies}\n"
        );
        place.write(&format!("crates/{name}/Cargo.toml"), &manifest);
        let file = if name == "areas" { "main" } else { "lib" };
        place.write(&format!("crates/{name}/src/{file}.rs"), source);
    }
    cargo(place.root(), &["fetch"])?;
    Some(place)
}

const ALL: &str = "areas:build shapes:build sums:build words:build";

#[test]
fn without_configuration() {
    let Some(place) = workspace() else { return };
    let built = place.tiers(&["build"]);
    assert_eq!(those(&built, &["full", "incremental"]), ALL, "{built:?}");
    let program = place.root().join("target/debug/areas");
    let area = || {
        let output = Command::new(&program).args(["3", "4"]).output().expect("the program was built");
        String::from_utf8(output.stdout).expect("it writes text")
    };
    assert_eq!(area(), "area 25\n");
    assert_eq!(those(&place.tiers(&["build"]), &["instant"]), ALL);

    // Only what uses the changed member runs, over what Cargo knows from the last time.
    let source = place.read("crates/words/src/lib.rs");
    place.write("crates/words/src/lib.rs", &source.replace(".to_owned() }", ".to_owned() + \"!\" }"));
    let rebuilt = place.tiers(&["build"]);
    assert_eq!(those(&rebuilt, &["incremental"]), "areas:build words:build", "{rebuilt:?}");
    assert_eq!(those(&rebuilt, &["instant"]), "shapes:build sums:build", "{rebuilt:?}");
    assert_eq!(area(), "area 25!\n");
    place.run(&["test", "words"]).expect(1, &["words:test", "failed", "tests::numbers"]);

    // Back again: from the cache, program included.
    place.write("crates/words/src/lib.rs", &source);
    let back = place.tiers(&["build"]);
    assert_eq!(those(&back, &["cached"]), "areas:build words:build", "{back:?}");
    assert_eq!(area(), "area 25\n");
    let tested = place.tiers(&["test", "words", "sums"]);
    assert_eq!(those(&tested, &["full", "incremental"]), "sums:test words:test", "{tested:?}");

    let other = place.checkout("other", |name| ![".buildnet", "target"].contains(&name));
    let restored = other.tiers(&["build"]);
    assert_eq!(those(&restored, &["cached"]), ALL, "{restored:?}");
    let output = Command::new(other.root.join("target/debug/areas")).arg("5").output().expect("the program is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "area 25\n");
}
