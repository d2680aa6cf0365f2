//! A daemon that holds openembedded-core, as its user waits: nothing changed, one recipe touched, one edited.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::golden::resident;
use crate::measure::times;

/// Recipes that are edited: one that nearly everything depends on, and one that little does.
const EDITED: [&str; 2] = ["zlib", "busybox"];

/// What is measured: a build directory of its own, on a copy of the layer that may be edited.
pub(crate) struct Warm<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// The openembedded-core checkout, which is copied.
    pub(crate) oecore: &'a Path,
    /// Where the copy and the build directory go.
    pub(crate) dir: PathBuf,
    /// The text of `local.conf`.
    pub(crate) configuration: &'a str,
    /// What is signed.
    pub(crate) target: &'a str,
    /// How often each is measured.
    pub(crate) runs: usize,
}

/// A daemon, killed when this goes.
struct Daemon {
    process: Child,
    address: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Warm<'_> {
    /// Measures, compares with a process that knows nothing, and prints both.
    pub(crate) fn run(&self) -> Result<(), String> {
        self.prepare()?;
        let daemon = self.daemon()?;
        let began = Instant::now();
        let asked: [&[&str]; 2] = [&["parse"], &["sigs", self.target]];
        for arguments in asked {
            self.ask(&daemon, arguments)?;
        }
        println!("daemon, first parse and sigs: {:.2} s", began.elapsed().as_secs_f64());
        // The watches begin after the first answer.
        for arguments in asked {
            self.ask(&daemon, arguments)?;
        }
        for arguments in asked {
            self.measure(&daemon, arguments, "nothing changed", |_| Ok(()))?;
        }
        for name in EDITED {
            let recipe = self.recipe(name)?;
            let touch = |_| {
                let file = std::fs::File::options().append(true).open(&recipe)?;
                file.set_modified(std::time::SystemTime::now())
            };
            let edit = |run: usize| {
                let mut file = std::fs::File::options().append(true).open(&recipe)?;
                writeln!(file, "do_compile:append() {{\n    : {run}\n}}")
            };
            for arguments in asked {
                self.measure(&daemon, arguments, &format!("{name} touched"), touch)?;
                self.measure(&daemon, arguments, &format!("{name} edited"), edit)?;
            }
        }
        println!("daemon: {} MiB resident with all below it", resident(daemon.process.id()));
        self.compare(&daemon)
    }

    fn prepare(&self) -> Result<(), String> {
        let io = |error: std::io::Error| format!("{}: {error}", self.dir.display());
        if self.dir.exists() {
            std::fs::remove_dir_all(&self.dir).map_err(io)?;
        }
        let (build, layers) = (self.dir.join("build"), self.dir.join("layers"));
        std::fs::create_dir_all(build.join("conf")).map_err(io)?;
        std::fs::create_dir_all(&layers).map_err(io)?;
        let meta = self.oecore.join("meta");
        done(Command::new("cp").args(["-r", "--"]).arg(&meta).arg(&layers))?;
        // Metadata asks Git which commit it is.
        let identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"];
        for arguments in [&["init", "-q"][..], &["add", "-A"], &["commit", "-q", "-m", "openembedded-core"]] {
            done(Command::new("git").args(identity).args(arguments).current_dir(&layers))?;
        }
        let list =
            format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}\"\n", layers.join("meta").display());
        std::fs::write(build.join("conf/bblayers.conf"), list).map_err(io)?;
        std::fs::write(build.join("conf/sanity.conf"), "").map_err(io)?;
        std::fs::write(build.join("conf/local.conf"), self.configuration).map_err(io)
    }

    fn recipe(&self, name: &str) -> Result<PathBuf, String> {
        let directory = self.dir.join("layers/meta/recipes-core").join(name);
        let entries = std::fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let is_recipe = |path: &PathBuf| {
            let of_name = path
                .file_name()
                .and_then(|file| file.to_str())
                .is_some_and(|file| file.starts_with(&format!("{name}_")));
            of_name && path.extension().is_some_and(|extension| extension == "bb")
        };
        let found = entries.flatten().map(|entry| entry.path()).find(is_recipe);
        found.ok_or_else(|| format!("{} holds no recipe", directory.display()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.env("LC_ALL", "C.UTF-8").env("BUILDNET_CACHE_DIR", self.dir.join("cache"));
        command.env_remove("BUILDNET_NO_DAEMON").current_dir(self.dir.join("build"));
        command
    }

    fn daemon(&self) -> Result<Daemon, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
        drop(listener);
        let mut command = self.command();
        command.args(["start", "--listen", &address]).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Daemon { process: command.spawn().map_err(|error| format!("{command:?}: {error}"))?, address };
        for _ in 0..200 {
            if TcpStream::connect(&daemon.address).is_ok() {
                return Ok(daemon);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("the daemon does not listen after ten seconds".to_owned())
    }

    fn asking(&self, daemon: &Daemon, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["--daemon-address", &daemon.address, "bitbake"]).args(arguments);
        command
    }

    fn ask(&self, daemon: &Daemon, arguments: &[&str]) -> Result<Vec<u8>, String> {
        done(&mut self.asking(daemon, arguments))
    }

    fn measure(
        &self,
        daemon: &Daemon,
        arguments: &[&str],
        what: &str,
        change: impl Fn(usize) -> std::io::Result<()>,
    ) -> Result<(), String> {
        let (mut run, mut failure) = (0, None);
        let times = times(self.runs, || {
            run += 1;
            failure = change(run).err().or(failure.take());
            self.asking(daemon, arguments)
        })?;
        failure.map_or(Ok(()), |error| Err(error.to_string()))?;
        println!("daemon, {what}, {}: {}", arguments.join(" "), times.text());
        Ok(())
    }

    fn compare(&self, daemon: &Daemon) -> Result<(), String> {
        for arguments in [&["parse", "--jsonl", "-"][..], &["sigs", self.target, "--jsonl", "-"], &["recipes"]] {
            let warm = self.ask(daemon, arguments)?;
            let cold = done(self.command().args(["--no-daemon", "bitbake"]).args(arguments).arg("--no-cache"))?;
            if warm != cold {
                return Err(format!(
                    "{}: the daemon says other than a process that knows nothing",
                    arguments.join(" ")
                ));
            }
            println!("{}: the daemon says what a process says that knows nothing, {} bytes", arguments[0], warm.len());
        }
        Ok(())
    }
}

/// Runs a command. Returns what it wrote.
fn done(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}
