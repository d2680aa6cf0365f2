//! Actions over real directories, with real commands.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use buildnet_cas::{Store, StoreOptions};
use buildnet_digest::stat::Root;
use buildnet_digest::tree::Node;
use buildnet_digest::{Digest, DigestFunction, reapi};
use buildnet_executor::{
    CancelHandle, Executed, Execution, Executor, ExecutorError, Input, Limits, Mode, Output, Outputs, place, remove,
};
use tempfile::TempDir;

struct Fixture {
    place: TempDir,
    executor: Executor,
}

impl Fixture {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("work");
        fs::create_dir(&root).unwrap();
        let store = Store::open(&place.path().join("cache"), StoreOptions::default()).unwrap();
        let scratch = place.path().join("scratch");
        let memory = Path::new("/dev/shm");
        let executor = Executor::new(store, Arc::new(Root::open(&root)), &scratch, Some(memory)).unwrap();
        Self { place, executor }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.place.path().join("work").join(path)
    }

    /// A source file in the workspace.
    fn source(&self, path: &str, content: &[u8]) -> Input {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
        let digest = DigestFunction::Blake3.digest(content);
        let source = Some(self.executor.workspace().stamp(path).unwrap());
        Input { path: path.to_owned(), node: Node::File { digest, executable: false }, source }
    }

    /// A file that only the store has.
    fn stored(&self, path: &str, content: &[u8], executable: bool) -> Input {
        let digest = self.executor.store().put_bytes(DigestFunction::Blake3, content).unwrap();
        Input { path: path.to_owned(), node: Node::File { digest, executable }, source: None }
    }

    fn run(&self, inputs: Vec<Input>, script: &str, outputs: &[&str]) -> Result<Executed, ExecutorError> {
        let execution = Execution {
            argv: ["/bin/sh", "-e", "-c", script].map(str::to_owned).to_vec(),
            environment: vec![("HOME".to_owned(), "/tmp".to_owned())],
            path: vec!["/usr/bin".to_owned(), "/bin".to_owned()],
            directories: Vec::new(),
            inputs,
            host_mounts: Vec::new(),
            outputs: outputs.iter().map(|&path| path.to_owned()).collect(),
            state: Vec::new(),
            mode: mode(),
            network: false,
            limits: Limits::default(),
            trace: false,
        };
        self.executor.execute(&execution, &mut |_| {}, &CancelHandle::new())
    }
}

/// Strict where the kernel lets us, else off, and loudly.
fn mode() -> Mode {
    match buildnet_sandbox::probe().strict_supported() {
        Ok(()) => Mode::Strict,
        Err(error) => {
            eprintln!("SKIPPED: the strict sandbox: {error}");
            Mode::Off
        }
    }
}

fn file(content: &str) -> Node {
    Node::File { digest: DigestFunction::Blake3.digest(content.as_bytes()), executable: false }
}

fn output(path: &str, node: Node) -> Output {
    Output { path: path.to_owned(), node }
}

#[test]
fn inputs_come_from_the_workspace_and_the_store_whatever_their_size() {
    let fixture = Fixture::new();
    if mode() != Mode::Strict {
        return;
    }
    let large = vec![b'x'; 1 << 20];
    let inputs = vec![
        fixture.source("src/small", b"1"),
        fixture.source("src/large", &large),
        fixture.stored("dep/small", b"2", false),
        fixture.stored("dep/large", &large, false),
        fixture.stored("dep/tool", b"#!/bin/sh\nwc -c src/large dep/large | tail -n 1\n", true),
        Input { path: "dep/link".to_owned(), node: Node::Symlink { target: "small".to_owned() }, source: None },
    ];
    let executed = fixture.run(inputs, "{ cat src/small dep/link; dep/tool; } > out", &["out"]).unwrap();
    assert!(executed.status.success());
    executed.place(&fixture.executor, None).unwrap();
    assert_eq!(fs::read_to_string(fixture.path("out")).unwrap(), "122097152 total\n");
}

#[test]
fn an_input_that_differs_from_what_was_hashed_stops_the_action() {
    let fixture = Fixture::new();
    if mode() != Mode::Strict {
        return;
    }
    let input = fixture.source("a", b"1");
    fs::write(fixture.path("a"), "another").unwrap();
    let error = fixture.run(vec![input], "cat a > out", &["out"]).unwrap_err();
    assert!(matches!(&error, ExecutorError::InputChanged { path } if path == "a"), "{error}");
}

#[test]
fn a_blob_that_is_nowhere_is_named() {
    let fixture = Fixture::new();
    if mode() != Mode::Strict {
        return;
    }
    let node = file("never stored");
    let input = Input { path: "dep/out".to_owned(), node, source: None };
    let error = fixture.run(vec![input], "true", &[]).unwrap_err();
    assert!(matches!(&error, ExecutorError::Lost { path, .. } if path == "dep/out"), "{error}");
}

#[test]
fn outputs_that_no_other_machine_could_use_are_refused() {
    let fixture = Fixture::new();
    for (script, problem) in [
        ("ln -s /etc/passwd out", "is a symlink to an absolute path"),
        ("mkfifo out", "is neither file, directory nor symlink"),
        ("mkdir out; touch \"out/$(printf 'bad\\377')\"", "has a name that is not valid UTF-8"),
    ] {
        let result = fixture.run(vec![fixture.source("a", b"1")], script, &["out"]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with(problem), "{script}: {error}");
        let _ = fs::remove_dir_all(fixture.path("out"));
        let _ = fs::remove_file(fixture.path("out"));
    }
}

#[test]
fn globs_take_what_they_match_and_missing_outputs_are_told() {
    let fixture = Fixture::new();
    let script = "mkdir -p lib; touch lib/a.so lib/b.so lib/c.txt";
    let executed = fixture.run(vec![fixture.source("a", b"1")], script, &["lib/*.so", "gone"]).unwrap();
    let paths: Vec<&str> = executed.outputs.entries().iter().map(|output| output.path.as_str()).collect();
    assert_eq!(paths, ["lib/a.so", "lib/b.so"]);
    assert_eq!(executed.missing, ["gone"]);
}

#[test]
fn outputs_survive_the_way_through_an_action_result() {
    let fixture = Fixture::new();
    let store = fixture.executor.store();
    let outputs = Outputs::new(vec![
        output("bin", file("program")),
        output("link", Node::Symlink { target: "bin".to_owned() }),
        output("lib", Node::Directory),
        output("lib/a", file("a")),
        output("lib/empty", Node::Directory),
        output("lib/deep", Node::Directory),
        output("lib/deep/b", file("b")),
        output("lib-2", file("sorts between lib and lib/a")),
    ]);
    let mut result = reapi::ActionResult::default();
    outputs.to_result(store, &mut result).unwrap();
    assert_eq!(result.output_directories.len(), 1);
    assert_eq!(Outputs::from_result(store, &result).unwrap(), Some(outputs));
}

#[test]
fn an_action_result_cannot_name_paths_outside_the_workspace() {
    let fixture = Fixture::new();
    let digest = Digest::empty(DigestFunction::Blake3).to_reapi();
    for path in ["../escape", "/etc/passwd", "a/../../b", ""] {
        let file = reapi::OutputFile { path: path.to_owned(), digest: Some(digest.clone()), ..Default::default() };
        let result = reapi::ActionResult { output_files: vec![file], ..Default::default() };
        assert!(Outputs::from_result(fixture.executor.store(), &result).is_err(), "{path:?}");
    }
}

#[test]
fn placing_never_follows_a_symlink_out_of_the_workspace() {
    let fixture = Fixture::new();
    let (store, root) = (fixture.executor.store(), fixture.executor.workspace());
    let outside = fixture.place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, fixture.path("dist")).unwrap();
    let input = fixture.stored("dist/x", b"x", false);
    let outputs = Outputs::new(vec![output("dist/x", input.node)]);
    let error = place(store, root, &outputs, None, &|_| None).unwrap_err();
    assert!(matches!(error, ExecutorError::InTheWay { .. }), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    fs::write(outside.join("x"), "precious").unwrap();
    remove(root, &outputs).unwrap();
    assert!(outside.join("x").exists(), "removing goes through no symlink either");
}

#[test]
fn what_others_put_at_an_outputs_place_is_not_deleted() {
    let fixture = Fixture::new();
    let (store, root) = (fixture.executor.store(), fixture.executor.workspace());
    fs::create_dir(fixture.path("out")).unwrap();
    fs::write(fixture.path("out/precious"), "x").unwrap();
    let input = fixture.stored("out", b"x", false);
    let outputs = Outputs::new(vec![output("out", input.node)]);
    let error = place(store, root, &outputs, None, &|_| None).unwrap_err();
    assert_eq!(error.to_string(), "cannot place output `out`: there is a directory where a file must be");
    assert!(fixture.path("out/precious").exists());
}

#[test]
fn a_changed_output_is_noticed_and_only_that_is_placed_again() {
    let fixture = Fixture::new();
    let (store, root) = (fixture.executor.store(), fixture.executor.workspace());
    let (a, b) = (fixture.stored("a", b"a", false), fixture.stored("b", b"b", true));
    let outputs = Outputs::new(vec![output("a", a.node), output("b", b.node)]);
    let placed = place(store, root, &outputs, None, &|_| None).unwrap();
    assert_eq!(placed.changed(root), None);
    assert_eq!(fs::metadata(fixture.path("b")).unwrap().permissions().mode() & 0o777, 0o755);
    let before = root.stamp("b").unwrap();
    fs::write(fixture.path("a"), "changed by hand").unwrap();
    assert_eq!(placed.changed(root), Some("a"));
    let again = place(store, root, &outputs, Some(&placed), &|_| None).unwrap();
    assert_eq!(fs::read(fixture.path("a")).unwrap(), b"a");
    assert_eq!(root.stamp("b").unwrap(), before);
    assert_eq!(again.changed(root), None);
}
