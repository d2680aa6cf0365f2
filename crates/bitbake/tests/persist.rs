//! What is kept of recipes is what reading them again gives, whatever is edited in between.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use buildnet_bitbake::config::Options;
use buildnet_bitbake::persist::CacheOptions;
use buildnet_bitbake::workbench::{Answer, Live, Question, Workbench, answer};
use proptest::prelude::*;
use support::python;
use tempfile::TempDir;

/// A build directory with a copy of our own layer.
struct Place {
    directory: TempDir,
    python: PathBuf,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a temporary directory can be written");
    for entry in fs::read_dir(from).expect("our layer is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a temporary directory can be written");
        }
    }
}

impl Place {
    /// One of [`EDITS`].
    fn edit(&self, path: &str, text: &str) {
        if self.path(path).exists() {
            self.append(path, text);
        } else {
            self.write(path, text);
        }
        if path.ends_with("local.conf") {
            self.append("build/conf/bblayers.conf", "include conf/local.conf\n");
        }
    }

    fn new() -> Option<Self> {
        let place = Self { directory: tempfile::tempdir().expect("a temporary directory"), python: python()? };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layer"), &place.path("layer"));
        place.write(
            "build/conf/bblayers.conf",
            &format!(
                "BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\nASSUME_PROVIDED = \"from-anonymous alpha\"\n",
                place.path("layer").display()
            ),
        );
        place.write("layer/recipes-a/probe/files/data.txt", "one\n");
        place.write("layer/recipes-a/probe/probe.inc", "SHARED = \"1\"\n");
        place.write(
            "layer/recipes-a/probe/probe_1.bb",
            "require probe.inc\ninclude maybe.inc\nPLAIN = \"a\"\nWHEN = \"${@os.path.exists(d.getVar('FILE_DIRNAME') + '/flag')}\"\n\
             FILE_DIRNAME = \"${@os.path.dirname(d.getVar('FILE', False))}\"\nHERE := \"${FILE_DIRNAME}\"\n\
             do_probe[file-checksums] = \"${HERE}/files/data.txt:True\"\ndo_probe() {\n    echo ${PLAIN} ${SHARED} ${WHEN}\n}\naddtask probe\n",
        );
        // A file that was written a moment ago could be written again without showing it.
        std::thread::sleep(Duration::from_millis(60));
        Some(place)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().canonicalize().expect("a temporary directory").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory can be made");
        fs::write(path, text).expect("a file can be written");
    }

    fn append(&self, path: &str, text: &str) {
        let old = fs::read_to_string(self.path(path)).expect("the file is there");
        self.write(path, &format!("{old}{text}"));
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).expect("the file is there");
    }

    fn environment() -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        vec![("LC_ALL".into(), "C.UTF-8".into()), ("PATH".into(), path)]
    }

    fn options(&self) -> Options {
        Options {
            build_dir: self.path("build"),
            environment: Self::environment(),
            python: self.python.clone(),
            python_path: Vec::new(),
            temporary: self.path("build"),
            history: false,
            time_limit: Duration::from_mins(1),
        }
    }

    fn cache(&self) -> CacheOptions {
        CacheOptions { directory: self.path("build/.buildnet/bitbake"), program: "test".into() }
    }

    /// What a process answers that knows what others kept.
    fn again(&self) -> Answer {
        let bench = Workbench::open_with_cache(&self.options(), 2, &self.cache()).expect("the layer can be read");
        answer(&bench, &ROWS, false)
    }

    /// What one answers that knows nothing.
    fn fresh(&self) -> Answer {
        let cache = CacheOptions { directory: self.path("nowhere"), program: "test".into() };
        let bench = Workbench::open_with_cache(&self.options(), 2, &cache).expect("the layer can be read");
        let fresh = answer(&bench, &ROWS, false);
        drop(bench);
        fs::remove_dir_all(self.path("nowhere")).expect("it was written");
        fresh
    }

    fn live(&self) -> Live {
        Live::new(self.options(), 2, self.cache())
    }
}

const ROWS: Question = Question::Parse { rows: true };

/// All of an answer but how it was come by.
fn said(answer: &Answer) -> (Vec<String>, &str, Option<&str>) {
    let findings = answer.findings.iter().map(ToString::to_string).filter(|text| !text.starts_with("changed since"));
    (findings.collect(), &answer.text, answer.rows.as_deref())
}

#[track_caller]
fn same(one: &Answer, other: &Answer) {
    assert!(other.rows.as_ref().is_some_and(|rows| rows.contains("probe_1.bb")), "the probe is read");
    assert_eq!(said(one), said(other));
}

#[test]
fn a_second_process_reads_nothing() {
    let Some(place) = Place::new() else { return };
    let first = place.again();
    assert_eq!(first.parsed, first.files);
    let second = place.again();
    assert_eq!(second.parsed, 0, "{:?}", second.findings);
    same(&second, &first);
    same(&second, &place.fresh());
}

#[test]
fn a_touched_file_is_the_same_file() {
    let Some(place) = Place::new() else { return };
    place.again();
    let text = fs::read_to_string(place.path("layer/recipes-a/probe/probe_1.bb")).expect("the recipe is there");
    place.write("layer/recipes-a/probe/probe_1.bb", &text);
    assert_eq!(place.again().parsed, 0);
}

/// Each edit, and how many recipe files it makes be read; `None` where it is all of them.
const EDITS: [(&str, &str, Option<usize>); 7] = [
    ("layer/recipes-a/probe/probe_1.bb", "PLAIN = \"b\"\n", Some(1)),
    ("layer/recipes-a/probe/probe.inc", "SHARED = \"2\"\n", Some(1)),
    ("layer/recipes-a/probe/maybe.inc", "SHARED:append = \"3\"\n", Some(1)),
    ("layer/recipes-a/probe/flag", "", Some(1)),
    ("layer/recipes-a/probe/probe_1.bbappend", "PLAIN:append = \"4\"\n", Some(1)),
    ("layer/recipes-a/probe/other_1.bb", "PLAIN = \"5\"\n", Some(1)),
    ("build/conf/local.conf", "LOCAL = \"6\"\n", None),
];

#[test]
fn edits_are_seen_by_the_next_process() {
    let Some(place) = Place::new() else { return };
    place.again();
    for (path, text, expected) in EDITS {
        place.edit(path, text);
        let answer = place.again();
        same(&answer, &place.fresh());
        assert_eq!(answer.parsed, expected.unwrap_or(answer.files), "{path}: {:?}", answer.findings);
        assert_eq!(place.again().parsed, 0, "{path} once is enough");
    }
    for path in ["probe_1.bbappend", "flag", "maybe.inc"] {
        place.remove(&format!("layer/recipes-a/probe/{path}"));
        let answer = place.again();
        same(&answer, &place.fresh());
        assert_eq!(answer.parsed, 1, "{path} is gone: {:?}", answer.findings);
    }
    place.remove("layer/recipes-a/probe/other_1.bb");
    let answer = place.again();
    same(&answer, &place.fresh());
    assert_eq!(answer.parsed, 0, "what is left is known");
}

#[test]
fn a_class_concerns_those_that_inherit_it() {
    let Some(place) = Place::new() else { return };
    place.write("layer/classes/rare.bbclass", "RARE = \"1\"\n");
    place.append("layer/recipes-a/probe/probe_1.bb", "inherit rare\n");
    place.again();
    place.append("layer/classes/rare.bbclass", "PLAIN:append = \"rare\"\n");
    let answer = place.again();
    same(&answer, &place.fresh());
    assert_eq!(answer.parsed, 1, "{:?}", answer.findings);
    place.append("layer/classes/base.bbclass", "EVERYWHERE = \"1\"\n");
    let answer = place.again();
    same(&answer, &place.fresh());
    assert_eq!(answer.parsed, answer.files);
    place.append("layer/lib/tl/things.py", "\n\ndef more(d):\n    return 1\n");
    let answer = place.again();
    same(&answer, &place.fresh());
    assert_eq!(answer.parsed, answer.files, "any recipe may call a library");
}

#[test]
fn a_workbench_in_memory_sees_edits() {
    let Some(place) = Place::new() else { return };
    let mut live = place.live();
    let mut ask = |quiet| live.ask(&ROWS, false, Place::environment(), quiet);
    let first = ask(false);
    assert_eq!(first.parsed, first.files);
    assert_eq!(ask(true).parsed, 0);
    for (path, text, expected) in EDITS {
        place.edit(path, text);
        let answer = ask(false);
        same(&answer, &place.fresh());
        assert_eq!(answer.parsed, expected.unwrap_or(answer.files), "{path}: {:?}", answer.findings);
        assert_eq!(ask(false).parsed, 0, "{path} once is enough");
    }
}

#[test]
fn a_local_file_changes_the_hash_of_its_task() {
    let Some(place) = Place::new() else { return };
    let question = Question::Sigs { targets: vec!["probe:do_probe".into()], rows: false };
    let mut live = place.live();
    let mut ask = |quiet| live.ask(&question, false, Place::environment(), quiet);
    let first = ask(false);
    assert!(first.text.contains("do_probe"), "{first:?}");
    let followed = {
        let mut other = place.live();
        other.ask(&question, false, Place::environment(), false);
        other.followed().expect("it was asked")
    };
    assert!(followed.matters(&place.path("layer/recipes-a/probe/files/data.txt")));
    assert!(followed.matters(&place.path("layer/recipes-a/probe/flag")), "what is not there matters, too");
    assert!(!followed.matters(&place.path("elsewhere")));
    place.write("layer/recipes-a/probe/files/data.txt", "two\n");
    let second = ask(false);
    assert_eq!(second.parsed, 0);
    assert_ne!(second.text, first.text);
    place.write("layer/recipes-a/probe/files/data.txt", "one\n");
    assert_eq!(ask(false).text, first.text);
}

#[test]
fn a_damaged_file_is_left_aside() {
    let Some(place) = Place::new() else { return };
    let first = place.again();
    let directory = place.path("build/.buildnet/bitbake");
    let file = fs::read_dir(&directory).expect("it was written").flatten().next().expect("one file").path();
    let good = fs::read(&file).expect("it can be read");
    for (what, bytes) in [
        ("cut", good[..good.len() / 2].to_vec()),
        ("flipped", good.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == good.len() - 9)).collect()),
        ("foreign", b"something else".to_vec()),
        ("empty", Vec::new()),
    ] {
        fs::write(&file, bytes).expect("it can be written");
        let answer = place.again();
        assert_eq!(answer.parsed, answer.files, "{what}");
        assert!(answer.findings.iter().any(|finding| finding.to_string().contains("left aside")), "{what}");
        assert_eq!(answer.rows, first.rows, "{what}");
        assert_eq!(place.again().parsed, 0, "{what}: it was written again");
    }
    fs::write(&file, &good).expect("it can be written");
    let other = CacheOptions { program: "another build".into(), ..place.cache() };
    let bench = Workbench::open_with_cache(&place.options(), 2, &other).expect("the layer can be read");
    assert_eq!(answer(&bench, &ROWS, false).parsed, first.files, "another build of the program believes nothing");
}

#[test]
fn a_recipe_with_an_error_is_told_every_time() {
    let Some(place) = Place::new() else { return };
    place.write("layer/recipes-a/probe/broken_1.bb", "this is nothing\n");
    let first = place.again();
    assert!(first.failed);
    let second = place.again();
    assert_eq!(second.parsed, 1);
    same(&second, &first);
    place.write("layer/recipes-a/probe/broken_1.bb", "GOOD = \"1\"\n");
    assert!(!place.again().failed);
}

#[test]
fn a_recipe_that_asks_the_clock_is_read_every_time() {
    let Some(place) = Place::new() else { return };
    place.append("layer/recipes-a/probe/probe_1.bb", "PLAIN = \"${@time.time()}\"\n");
    place.again();
    assert_eq!(place.again().parsed, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn any_edits_give_what_a_fresh_reading_gives(edits in prop::collection::vec((0..8usize, 0..3u8), 1..6)) {
        let Some(place) = Place::new() else { return Ok(()) };
        let mut live = place.live();
        live.ask(&ROWS, false, Place::environment(), false);
        for (which, how) in edits {
            let path = ["probe_1.bb", "probe.inc", "maybe.inc", "flag", "probe_1.bbappend", "probe_%.bbappend", "other_2.bb", "files/data.txt"][which];
            let path = format!("layer/recipes-a/probe/{path}");
            let essential = which < 2;
            match how {
                0 if !essential && place.path(&path).exists() => place.remove(&path),
                1 if place.path(&path).exists() => place.append(&path, "PLAIN .= \"+\"\n"),
                _ if !essential => place.write(&path, "SHARED = \"new\"\n"),
                _ => place.append(&path, "SHARED = \"${PLAIN}\"\n"),
            }
            let fresh = place.fresh();
            let live = live.ask(&ROWS, false, Place::environment(), false);
            prop_assert_eq!(said(&live), said(&fresh));
            let again = place.again();
            prop_assert_eq!(said(&again), said(&fresh));
        }
    }
}
