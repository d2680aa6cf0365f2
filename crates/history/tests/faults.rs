//! Damaged files, other processes, other versions, places that cannot be written.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use buildnet_digest::{Diagnostic as _, ErrorCategory};
use buildnet_event::{BuildOutcome, Tier};
use buildnet_history::{BuildSelector, HistoryError, HistoryStore, Page, SqliteHistory};
use common::{EPOCH_MS, changed, events, id, notice, open, record, summary};

/// A history with a few builds of many tasks, closed.
fn filled(path: &Path) {
    let store = open(path);
    for n in 0..20 {
        let tasks = (0..50).map(|task| summary(&format!("package-{task}"), Tier::Full, 1 + n)).collect();
        let mut stream = events(id(EPOCH_MS + n, n), EPOCH_MS + n, BuildOutcome::Success, tasks);
        stream.insert(1, notice(id(EPOCH_MS + n, n), EPOCH_MS + n, &"long ".repeat(2000)));
        record(&store, &stream);
    }
}

/// Moves the log into the database, so that damage to the database shows.
fn checkpoint(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    for garbage in [vec![b'x'; 5000], b"SQLite format 3\0 and then nothing of use".repeat(300)] {
        fs::write(&path, &garbage).unwrap();
        let store = open(&path);
        let recoveries = store.take_recoveries();
        assert_eq!(recoveries.len(), 1);
        let text = recoveries[0].to_string().replace(directory.path().to_str().unwrap(), "DIR");
        assert_eq!(
            text,
            "history database DIR/history.db was corrupted; it is now DIR/history.db.corrupted, and a new one began"
        );
        assert_eq!(fs::read(&recoveries[0].moved_to).unwrap(), garbage, "nothing of the old file is lost");
        record(&store, &events(id(EPOCH_MS, 1), EPOCH_MS, BuildOutcome::Success, Vec::new()));
        assert_eq!(store.builds(Page::newest(9)).unwrap().len(), 1);
        assert_eq!(store.take_recoveries(), []);
        drop(store);
        assert_eq!(open(&path).take_recoveries(), [], "the new database is whole");
        checkpoint(&path);
    }
}

#[test]
fn damage_found_while_working_is_healed_and_the_build_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    filled(&path);
    checkpoint(&path);
    let mut bytes = fs::read(&path).unwrap();
    // The header and the schema stay whole, so that opening finds nothing.
    let from = 32 * 4096;
    assert!(bytes.len() > from + 40 * 4096);
    bytes[from..].iter_mut().for_each(|byte| *byte = 0xa5);
    fs::write(&path, &bytes).unwrap();

    let store = open(&path);
    assert_eq!(store.take_recoveries(), [], "found later, not when opening");
    let build = id(EPOCH_MS + 1000, 99);
    let mut found = Vec::new();
    for n in 0..20 {
        // Reads that walk the damaged pages: each is answered, from the old database or the new one.
        match store.build(id(EPOCH_MS + n, n)) {
            Ok(_) | Err(HistoryError::NotFound { .. }) => found.extend(store.take_recoveries()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(found.len(), 1);
    let tasks = vec![summary("package-1", Tier::Full, 5)];
    record(&store, &events(build, EPOCH_MS + 1000, BuildOutcome::Success, tasks));
    assert_eq!(store.build(build).unwrap().tasks.len(), 1);
    assert!(found[0].moved_to.exists());
}

#[test]
fn a_database_cut_short_is_never_served_as_whole() {
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole.db");
    filled(&whole);
    checkpoint(&whole);
    let bytes = fs::read(&whole).unwrap();
    for cut in [0, 1, 99, 100, 4095, 4096, 8192, bytes.len() / 2, bytes.len() - 1] {
        let path = directory.path().join(format!("cut-{cut}.db"));
        fs::write(&path, &bytes[..cut]).unwrap();
        let store = open(&path);
        for head in store.builds(Page::newest(50)).unwrap() {
            match store.build(head.id) {
                Ok(build) => assert_eq!((build.tasks.len(), build.notices.len()), (50, 1)),
                Err(HistoryError::NotFound { .. }) => {}
                Err(error) => panic!("cut at {cut}: {error}"),
            }
        }
        record(&store, &events(id(EPOCH_MS, 77), EPOCH_MS, BuildOutcome::Success, Vec::new()));
        assert!(store.build(id(EPOCH_MS, 77)).is_ok(), "cut at {cut}");
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    filled(&path);
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteHistory::open(&path).unwrap_err();
    assert!(matches!(error, HistoryError::NewerVersion { found: 99, .. }));
    assert_eq!(error.category(), ErrorCategory::Environment);
    let text = format!("{error}\n{}", error.hint().unwrap()).replace(directory.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(text);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_place_that_cannot_be_written_disables_the_history() {
    // The kernel's own directories refuse even root.
    let error = SqliteHistory::open(Path::new("/sys/kernel/buildnet/history.db")).unwrap_err();
    assert!(matches!(error, HistoryError::ReadOnly { .. }), "{error:?}");
    insta::assert_snapshot!(format!("{error}\n{}", error.hint().unwrap()));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    filled(&path);
    checkpoint(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(directory.path().join("probe"), b"").is_ok() {
        eprintln!("skipped: this user may write to read-only directories");
    } else {
        let error = SqliteHistory::open(&path).unwrap_err();
        assert!(matches!(error, HistoryError::ReadOnly { .. }), "{error:?}");
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_history_removed_under_a_running_process_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/history.db");
    let store = open(&path);
    record(&store, &events(id(EPOCH_MS, 1), EPOCH_MS, BuildOutcome::Success, Vec::new()));
    fs::remove_dir_all(directory.path().join("state")).unwrap();
    record(&store, &events(id(EPOCH_MS, 2), EPOCH_MS, BuildOutcome::Success, Vec::new()));
    let other = open(&path);
    assert_eq!(other.resolve(&BuildSelector::Last(0)).unwrap(), id(EPOCH_MS, 2));
}

/// Not a test by itself: one of the processes of the tests below, which run this program again for it.
#[test]
fn writer_process() {
    let Ok(path) = std::env::var("BUILDNET_TEST_HISTORY") else { return };
    let writer: u64 = std::env::var("BUILDNET_TEST_WRITER").unwrap().parse().unwrap();
    for n in 0..25 {
        // Opened for each build, as each run of the program does.
        let store = open(Path::new(&path));
        let mut task = summary("shared", Tier::Full, 10 + n);
        task.reason = Some(changed("a.c"));
        let tasks = vec![task, summary(&format!("p{writer}"), Tier::Full, 10), summary("quiet", Tier::Instant, 1)];
        record(&store, &events(id(EPOCH_MS + n, writer * 1000 + n), EPOCH_MS + n, BuildOutcome::Success, tasks));
    }
    if std::env::var_os("BUILDNET_TEST_HANG").is_some() {
        let store = open(Path::new(&path));
        let stream = events(id(EPOCH_MS + 500, writer), EPOCH_MS + 500, BuildOutcome::Success, Vec::new());
        record(&store, &stream[..1]);
        println!("began");
        // Until it is killed, or the test that started it is gone.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    }
}

fn writer(path: &Path, number: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "writer_process", "--nocapture"]);
    command.env("BUILDNET_TEST_HISTORY", path).env("BUILDNET_TEST_WRITER", number.to_string());
    command
}

#[test]
fn several_processes_share_one_history() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fresh/history.db");
    let writers: Vec<_> = (1..=4).map(|number| writer(&path, number).spawn().unwrap()).collect();
    for mut process in writers {
        assert!(process.wait().unwrap().success());
    }
    let store = open(&path);
    assert_eq!(store.take_recoveries(), []);
    let heads = store.builds(Page::newest(1000)).unwrap();
    assert_eq!(heads.len(), 4 * 25);
    for head in heads {
        let build = store.build(head.id).unwrap();
        assert_eq!((build.tasks.len(), build.instant.len()), (2, 1));
    }
    assert_eq!(store.statistics(0).unwrap().counts.full, 200);
    assert_eq!(store.expectations().unwrap().len(), 5);
}

#[test]
fn several_processes_heal_one_history_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let garbage = b"no database ".repeat(1000);
    fs::write(&path, &garbage).unwrap();
    let writers: Vec<_> = (1..=4).map(|number| writer(&path, number).spawn().unwrap()).collect();
    for mut process in writers {
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(open(&path).builds(Page::newest(1000)).unwrap().len(), 4 * 25);
    assert_eq!(fs::read(directory.path().join("history.db.corrupted")).unwrap(), garbage);
}

#[test]
fn a_killed_process_leaves_an_interrupted_build_and_a_whole_history() {
    use std::io::{BufRead as _, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let mut process = writer(&path, 1)
        .env("BUILDNET_TEST_HANG", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    assert!(stdout.lines().any(|line| line.unwrap().contains("began")));
    let store = open(&path);
    let head = || store.builds(Page::newest(1)).unwrap().remove(0);
    assert_eq!(head().status.name(), "running");
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(head().status.name(), "interrupted");
    assert_eq!(store.statistics(0).unwrap().builds, 25);
}
