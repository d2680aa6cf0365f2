//! BitBake's own programs against ours, where `BUILDNET_BITBAKE` names a checkout of BitBake: its hash equivalence server answers
//! our client, and its `bitbake-dumpsig` and `bitbake-diffsigs` read our signature files.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use buildnet_bitbake::config::Options;
use buildnet_bitbake::equivalence::{Address, Client, Database, ServerSettings, server};
use buildnet_bitbake::signature::Equivalences;
use buildnet_bitbake::workbench::{Plan, Wanted, Workbench, plan};

fn checkout() -> Option<PathBuf> {
    let found = std::env::var_os("BUILDNET_BITBAKE").map(PathBuf::from);
    if found.is_none() {
        eprintln!("SKIPPED: BUILDNET_BITBAKE names no checkout of BitBake");
    }
    found
}

/// A program that is stopped with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // At the end of its input it ends the server, too, which is a process of its own.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Starts BitBake's server on an address, filled with `(method, taskhash) → unihash`, and returns when it listens.
fn serve(bitbake: &Path, address: &str, database: &Path) -> Running {
    let code = format!(
        "import sys; sys.path.insert(0, {lib:?})\n\
         import hashserv\n\
         server = hashserv.create_server({address:?}, {database:?}, sync=False)\n\
         server.serve_as_process()\n\
         client = hashserv.create_client(server.address if {address:?}.endswith(':0') else {address:?})\n\
         for n in range(300):\n\
         \x20   client.report_unihash('%064x' % n, 'oe.method', '%064x' % (n + 1000), '%064x' % (n + 2000), {{}})\n\
         client.close()\n\
         print(server.address, flush=True)\n\
         sys.stdin.read()\n\
         server.process.terminate()\n",
        lib = bitbake.join("lib").display().to_string(),
        database = database.display().to_string(),
    );
    let mut child = Command::new("python3")
        .args(["-c", &code])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("the server says where it listens");
    assert!(!line.trim().is_empty(), "the server did not start");
    Running(child)
}

fn check(client: &mut dyn Equivalences) {
    let hash = |number: u64| format!("{number:064x}");
    // More than one window of questions, every other one unknown.
    let asked: Vec<String> = (0..600).map(|n| hash(if n % 2 == 0 { n / 2 } else { n + 90_000 })).collect();
    let queries: Vec<(&str, &str)> = asked.iter().map(|taskhash| ("oe.method", taskhash.as_str())).collect();
    let answers = client.unihashes(&queries).expect("the server answers");
    for (n, answer) in (0..600).zip(answers) {
        assert_eq!(answer, (n % 2 == 0).then(|| hash(n / 2 + 2000)), "question {n}");
    }
    assert_eq!(client.unihashes(&[("other.method", &hash(1))]), Ok(vec![None]));
}

#[test]
fn bitbakes_server_answers() {
    let Some(bitbake) = checkout() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let settings = |server: &str| ServerSettings {
        server: server.to_owned(),
        top: directory.path().to_owned(),
        database_directory: directory.path().to_owned(),
        ..ServerSettings::default()
    };
    let database = directory.path().join("hashserv.db");
    {
        let socket = directory.path().join("hashserve.sock");
        let address = format!("unix://{}", socket.display());
        let _server = serve(&bitbake, &address, &database);
        check(&mut Client::new(address.parse().expect("an address"), None, Duration::from_secs(30)));
        // The server of `auto`, while it runs.
        let mut own = server(&settings("auto")).expect("the settings are right").expect("a server");
        assert_eq!(own.address(), address);
        check(own.as_mut());
    }
    // The same after it ended: its database is there.
    let mut own = server(&settings("auto")).expect("the settings are right").expect("a server");
    assert_eq!(own.address(), database.display().to_string());
    check(own.as_mut());
    check(&mut Database::open(&database).expect("the database is read"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a port").port();
    let _server = serve(&bitbake, &format!("127.0.0.1:{port}"), &directory.path().join("tcp.db"));
    check(&mut Client::new(Address::Tcp("127.0.0.1".to_owned(), port), None, Duration::from_secs(30)));
}

/// Signs `loader` of the layer in `tests/multi`, and returns the signature file of its `do_compile`.
fn signed(build: &Path, conf: &str) -> PathBuf {
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/multi");
    std::fs::create_dir_all(build.join("conf")).expect("a directory");
    let layers = format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\n{conf}\n", layer.display());
    std::fs::write(build.join("conf/bblayers.conf"), layers).expect("a file");
    let path = std::env::var("PATH").unwrap_or_default();
    let options = Options {
        build_dir: build.to_owned(),
        environment: vec![("PATH".into(), path), ("LC_ALL".into(), "C.UTF-8".into())],
        python: "python3".into(),
        python_path: Vec::new(),
        temporary: build.to_owned(),
        history: false,
        time_limit: Duration::from_mins(1),
    };
    let bench = Workbench::open(&options, 2).expect("the configuration is read");
    let reading = bench.read(&Wanted { sign: true, ..Wanted::default() });
    let targets = ["loader".to_owned()];
    let plan = Plan { targets: &targets, ..Plan::default() };
    let mut planned = self::plan(&bench, reading.recipes, &plan).expect("the graph is made");
    let (tasks, _) = bench.hashes(&mut planned).expect("the tasks are hashed");
    let written = bench.write_signatures(&planned, &tasks).expect("the files are written");
    assert_eq!(written.files, tasks.len());
    let compile = tasks.iter().find(|task| task.id.ends_with("loader_3.0.bb:do_compile")).expect("the task");
    build.join(format!("tmp/stamps/loader-3.0-r0.do_compile.sigdata.{}", compile.unihash))
}

#[test]
fn bitbakes_tools_read_our_signature_files() {
    let Some(bitbake) = checkout() else { return };
    let (old, new) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let multi = "BBMULTICONFIG = \"one two\"";
    let (old, new) = (signed(old.path(), multi), signed(new.path(), &format!("{multi}\nMACHINE = \"other\"")));
    let run = |command: &mut Command| {
        let output = command.output().expect("the tool starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let dumped = run(Command::new(bitbake.join("bin/bitbake-dumpsig")).arg(&old));
    let hash = old.extension().and_then(|hash| hash.to_str()).expect("a hash");
    for part in ["Task dependencies: ['MACHINE', 'PN', 'WHAT'", "Variable MACHINE value is board", "basehash:", hash] {
        assert!(dumped.contains(part), "{part} is not in {dumped}");
    }
    // BitBake computes both hashes from what the file holds.
    assert!(dumped.contains(&format!("Computed task hash is {hash}")), "{dumped}");
    // What bitbake-diffsigs prints; the program itself wants a build directory that BitBake has set up.
    let code = "import sys; sys.path.insert(0, sys.argv[1]); import bb.siggen; \
                print('\\n'.join(bb.siggen.compare_sigfiles(sys.argv[2], sys.argv[3])))";
    let differs = run(Command::new("python3").args(["-c", code]).arg(bitbake.join("lib")).args([&old, &new]));
    assert!(differs.contains("Variable MACHINE value changed from 'board' to 'other'"), "{differs}");
}
