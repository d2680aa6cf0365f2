//! Builds by the daemon, with the sandbox on.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::layers::{assert_right, change, layers};
use crate::support::{Ended, Place};

/// A place whose commands speak with a daemon at an address of its own. The daemon is killed when this goes.
struct WithDaemon {
    place: Place,
    address: String,
    daemon: std::process::Child,
}

impl WithDaemon {
    fn new(place: Place) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        drop(listener);
        let daemon = Self::start(&place, &address);
        let with = Self { place, address, daemon };
        with.wait();
        with
    }

    fn start(place: &Place, address: &str) -> std::process::Child {
        let mut command = place.command(&["start", "--listen", address]);
        command.env_remove("BUILDNET_NO_DAEMON").stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it starts")
    }

    /// Until the daemon listens; how long that takes is not judged, but that it comes is.
    fn wait(&self) {
        for _ in 0..600 {
            if std::net::TcpStream::connect(&self.address).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("the daemon does not listen after half a minute");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(&[arguments, &["--daemon-address", &self.address]].concat());
        command.env_remove("BUILDNET_NO_DAEMON");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }
}

impl Drop for WithDaemon {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn the_daemon_follows_files() {
    let with = WithDaemon::new(layers("one"));
    with.run(&["build"]).expect(0, &["6 full"]);
    assert_right(with.place.root(), "one");
    with.run(&["build"]).expect(0, &["6 instant"]);
    for seed in ["two", "three"] {
        change(&with.place, seed);
        with.run(&["build"]).expect(0, &["a/in.txt changed", "6 full"]);
        assert_right(with.place.root(), seed);
    }
    // What others do to outputs is undone, and new files are seen.
    std::fs::remove_dir_all(with.place.root().join("d/out")).expect("it was built");
    with.place.write("b/out/text", "scribbled over\n");
    with.run(&["build"]).expect(0, &["cached"]);
    assert_right(with.place.root(), "three");
    // A build without the daemon and one with it see each other's work.
    change(&with.place, "four");
    with.place.run(&["build"]).expect(0, &["6 full"]);
    with.run(&["build"]).expect(0, &[]);
    assert_right(with.place.root(), "four");
    change(&with.place, "five");
    with.run(&["build"]).expect(0, &["6 full"]);
    with.place.run(&["build"]).expect(0, &[]);
    assert_right(with.place.root(), "five");
}

#[test]
fn a_daemon_that_is_killed() {
    let mut with = WithDaemon::new(layers("one"));
    for round in 0..4_u64 {
        let seed = format!("round {round}");
        change(&with.place, &seed);
        let mut client = with.command(&["build"]);
        let client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        std::thread::sleep(std::time::Duration::from_millis(20 + round * 60));
        with.daemon.kill().expect("a child can be killed");
        with.daemon.wait().expect("a child can be waited for");
        let output = client.wait_with_output().expect("it ends");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || told.contains("error: ") || told.contains("daemon"), "{told}");
        with.run(&["build"]).expect(0, &[]);
        assert_right(with.place.root(), &seed);
        with.daemon = WithDaemon::start(&with.place, &with.address);
        with.wait();
    }
}

#[test]
fn many_ask_at_once() {
    let with = WithDaemon::new(layers("one"));
    let clients: Vec<_> = (0..6)
        .map(|_| with.command(&["build"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"))
        .collect();
    for client in clients {
        let output = client.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_right(with.place.root(), "one");
    with.run(&["history"]).expect(0, &["success"]);
}
