//! A daemon of its own for each test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) struct Daemon {
    pub(crate) process: Child,
    pub(crate) address: String,
    pub(crate) place: TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        // Free a moment ago; taken by another in between, the daemon says so and the test fails.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let place = tempfile::tempdir().unwrap();
        Self { process: run(&place, &address), address, place }
    }

    /// Kills the daemon as nothing else does, and starts it again over what it left.
    pub(crate) fn kill_and_restart(&mut self) {
        // `Child::kill` is SIGKILL.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = run(&self.place, &self.address);
    }

    pub(crate) fn http(&self, request: &str, host: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let split = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer[split + 4..].to_vec())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a daemon and waits until it answers.
fn run(place: &TempDir, address: &str) -> Child {
    let process = Command::new(env!("CARGO_BIN_EXE_buildnet"))
        .arg("-C")
        .arg(place.path())
        .arg("--cache-dir")
        .arg(place.path().join("cache"))
        .args(["start", "--listen", address])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the daemon does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}
