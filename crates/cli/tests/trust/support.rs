//! The real program as a daemon, and clients of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A directory with a cache of its own, where programs are run.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that its owner alone may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The program, in this place and with nothing of the environment that could matter.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buildnet"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BUILDNET_") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.dir.path()).env_remove("XDG_CONFIG_HOME").env_remove("XDG_CACHE_HOME");
        command.current_dir(self.dir.path()).arg("--cache-dir").arg(self.path("cache"));
        command
    }

    /// Starts a daemon on a port of the kernel's choice.
    pub(crate) fn daemon(&self, arguments: &[&str]) -> Daemon {
        self.daemon_by(self.program().args(["start", "--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// Starts a daemon by a command that tells where it listens.
    pub(crate) fn daemon_by(&self, command: &mut Command) -> Daemon {
        let log = fs::File::create(self.path("daemon.log")).unwrap();
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut told = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let address = line.split("://").nth(1).and_then(|rest| rest.split(';').next());
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            let _ = process.kill();
            panic!("no daemon: {line}{}", fs::read_to_string(self.path("daemon.log")).unwrap());
        };
        Daemon { process, told, address, log: self.path("daemon.log") }
    }

    /// Runs a command against a daemon to its end.
    pub(crate) fn run(&self, daemon: &Daemon, token: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = self.program();
        command.args(["--daemon-address", &daemon.address.to_string()]).args(arguments);
        if let Some(token) = token {
            command.env("BUILDNET_TOKEN", token);
        }
        command.output().unwrap()
    }
}

/// A daemon that dies with this.
pub(crate) struct Daemon {
    process: Child,
    told: BufReader<std::process::ChildStdout>,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Daemon {
    /// The next line on its standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &process]).status().unwrap().success());
    }

    /// A request of HTTP/1.1 in the clear; its status and body.
    pub(crate) fn http(&self, request: &str, headers: &str, body: &[u8]) -> (u16, String) {
        let stream = TcpStream::connect(self.address).unwrap();
        exchange(stream, request, headers, body)
    }

    pub(crate) fn grpc(&self, instance: &str) -> String {
        format!("grpc://{}/{instance}", self.address)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One request over a connection that is closed after it.
pub(crate) fn exchange(mut stream: impl Read + Write, request: &str, headers: &str, body: &[u8]) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    // A refusal may come before all is written, and the connection end with it.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let _ = stream.flush();
    let mut answer = Vec::new();
    // A peer that ends TLS without saying so has still said everything when the body's length is known.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request}: {answer}"));
    (head[9..12].parse().unwrap(), body.to_owned())
}

pub(crate) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// Waits until something holds; the test's own time limit ends it otherwise.
pub(crate) fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs the program under another name, as a symlink in `dir`.
pub(crate) fn named(dir: &Path, name: &str) -> Command {
    let link = dir.join(name);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_buildnet"), &link).unwrap();
    Command::new(link)
}
