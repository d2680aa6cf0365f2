//! A workspace whose outputs are known from its inputs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::support::{Place, contents};

/// How often the text of a package is repeated in its large output, which the cache keeps in a file of its own.
const TIMES: usize = 12;

/// Packages with what they depend on.
const PACKAGES: [(&str, &[&str]); 6] =
    [("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &["d"]), ("f", &["a"])];

/// Six packages that join texts, the input of `a` being `seed`.
pub(crate) fn layers(seed: &str) -> Place {
    let place = Place::new();
    let mut configuration = String::from("packages:\n");
    for (name, dependencies) in PACKAGES {
        let others: String = dependencies.iter().map(|name| format!(" ../{name}/out/text")).collect();
        let list = dependencies.join(", ");
        configuration += &format!(
            "  - name: {name}\n    path: {name}\n    dependencies: [{list}]\n    output_dir: out\n    build_cmd: |\n      \
             mkdir -p out/deep\n      cat in.txt{others} > out/text\n      for i in {}; do cat out/text; done > out/large\n      \
             echo {name} > out/deep/name\n      ln -s ../text out/deep/link\n",
            (1..=TIMES).map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
        );
        place.write(&format!("{name}/in.txt"), &input(name));
    }
    place.write("buildnet.yaml", &configuration);
    change(&place, seed);
    place
}

/// Changes the input that everything depends on.
pub(crate) fn change(place: &Place, seed: &str) {
    place.write("a/in.txt", &input(seed));
}

fn input(seed: &str) -> String {
    format!("line of {seed}\n").repeat(700)
}

/// All outputs, by path, as they must be.
pub(crate) fn expected(seed: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    let mut files = BTreeMap::new();
    for (name, dependencies) in PACKAGES {
        let mut text = input(if name == "a" { seed } else { name });
        dependencies.iter().for_each(|dependency| text += &texts[dependency]);
        files.insert(PathBuf::from(format!("{name}/out/text")), text.clone().into_bytes());
        files.insert(PathBuf::from(format!("{name}/out/large")), text.repeat(TIMES).into_bytes());
        files.insert(PathBuf::from(format!("{name}/out/deep/name")), format!("{name}\n").into_bytes());
        texts.insert(name, text);
    }
    files
}

/// All files in output directories, by path, as they are.
pub(crate) fn outputs(root: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (name, _) in PACKAGES {
        let below = contents(&root.join(name).join("out"));
        files.extend(below.into_iter().map(|(path, content)| (PathBuf::from(name).join("out").join(path), content)));
    }
    files
}

/// Checks that the outputs are exactly as they must be.
#[track_caller]
pub(crate) fn assert_right(root: &std::path::Path, seed: &str) {
    let (is, must) = (outputs(root), expected(seed));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&is), names(&must));
    for (path, content) in must {
        assert!(is[&path] == content, "{} has wrong content", path.display());
    }
}
