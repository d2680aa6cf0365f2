//! What is measured.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{self, Times};
use crate::peers::Peer;
use crate::workspace::{SCRIPT, Workspace};

/// Address of the daemon that the benchmarks start: not the default one, which a user may be using.
const ADDRESS: &str = "127.0.0.1:19876";

/// Everything a scenario needs.
pub(crate) struct Bench {
    pub(crate) program: PathBuf,
    pub(crate) workspace: Workspace,
    pub(crate) runs: usize,
    pub(crate) peers: Vec<Peer>,
}

/// A daemon that is stopped when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap_or(0));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Bench {
    fn buildnet(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-C").arg(&self.workspace.root).arg("--cache-dir").arg(self.workspace.root.join("../cache"));
        command.args(["--daemon-address", ADDRESS]).args(arguments);
        command
    }

    fn without_daemon(&self, arguments: &[&str]) -> Command {
        let mut command = self.buildnet(&["--no-daemon"]);
        command.args(arguments);
        command
    }

    fn daemon(&self) -> Result<Daemon, String> {
        let child = self
            .buildnet(&["start", "--listen", ADDRESS])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let daemon = Daemon(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(ADDRESS).is_err() {
            if Instant::now() > deadline {
                return Err("the daemon does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Fresh state and cache, and everything built once.
    fn built(&self) -> Result<(), String> {
        self.workspace.forget()?;
        let _ = std::fs::remove_dir_all(self.workspace.root.join("../cache"));
        measure::once(self.without_daemon(&["build"]))?;
        // Timestamps of the last writes must be older than the clock's granularity.
        std::thread::sleep(Duration::from_millis(100));
        measure::once(self.without_daemon(&["build"])).map(|_| ())
    }

    /// Nothing changed.
    pub(crate) fn noop(&self) -> Result<(), String> {
        self.built()?;
        let cold = measure::times(self.runs, || self.without_daemon(&["build"]))?;
        row("BuildNet without daemon", &cold, None);
        {
            let _daemon = self.daemon()?;
            measure::once(self.buildnet(&["build"]))?;
            let warm = measure::times(self.runs, || self.buildnet(&["build"]))?;
            row("BuildNet with daemon", &warm, Some(&cold));
        }
        for peer in &self.peers {
            println!("{} builds everything once, which takes minutes ...", peer.package());
            measure::once(peer.build(&self.workspace.root))?;
            measure::once(peer.build(&self.workspace.root))?;
            let times = measure::times(self.runs, || peer.build(&self.workspace.root))?;
            row(&format!("{} {}", peer.package(), peer.version()), &times, Some(&cold));
            peer.stop(&self.workspace.root);
        }
        Ok(())
    }

    /// Everything runs, on one core: what BuildNet adds to each command.
    pub(crate) fn cold(&self) -> Result<(), String> {
        let bare = measure::times(3, || {
            let mut command = Command::new("sh");
            let script = format!("for p in packages/*/; do (cd $p && rm -rf dist && exec sh -e -c '{SCRIPT}'); done");
            command.args(["-c", &script]).current_dir(&self.workspace.root);
            command
        })?;
        row("the commands alone", &bare, None);
        let mut times = Vec::new();
        for _ in 0..3 {
            self.workspace.forget()?;
            let _ = std::fs::remove_dir_all(self.workspace.root.join("../cache"));
            times.push(measure::once(self.without_daemon(&["build", "--jobs", "1"]))?);
        }
        times.sort();
        let took = times[1];
        #[allow(clippy::cast_precision_loss, reason = "a number of packages")]
        let each = (took.as_secs_f64() - bare.median().as_secs_f64()) * 1e3 / self.workspace.packages as f64;
        println!("{:<28} {:9.2} ms", "BuildNet, --jobs 1", took.as_secs_f64() * 1e3);
        println!("overhead for each task: {each:.2} ms on one core");
        for peer in &self.peers {
            self.workspace.forget()?;
            let took_peer = measure::once(peer.build(&self.workspace.root))?;
            let ratio = took_peer.as_secs_f64() / took.as_secs_f64();
            println!("{:<28} {:9.2} ms  {ratio:.1} times", peer.package(), took_peer.as_secs_f64() * 1e3);
            peer.stop(&self.workspace.root);
        }
        Ok(())
    }

    /// One file of the last package changed: nothing depends on it.
    pub(crate) fn leaf(&self) -> Result<(), String> {
        self.built()?;
        let last = self.workspace.packages - 1;
        let _daemon = self.daemon()?;
        measure::once(self.buildnet(&["build"]))?;
        let mut decisions = Vec::new();
        for run in 0..self.runs {
            std::thread::sleep(Duration::from_millis(100));
            self.workspace.touch(last, &format!("export const changed = {run};\n"))?;
            let (decision, executed) = self.decision()?;
            if executed != 1 {
                return Err(format!("{executed} tasks ran, not the one that is affected"));
            }
            decisions.push(decision);
        }
        decisions.sort();
        let median = decisions[decisions.len() / 2].as_secs_f64() * 1e3;
        println!("decision with daemon, from process start to the command's start: {median:.2} ms (median)");
        let whole = measure::times(self.runs, || {
            let _ = self.workspace.touch(last, &format!("export const changed = {:?};\n", Instant::now()));
            self.buildnet(&["build"])
        })?;
        row("BuildNet with daemon, whole", &whole, None);
        for peer in &self.peers {
            measure::once(peer.build(&self.workspace.root))?;
            let times = measure::times(self.runs, || {
                let _ = self.workspace.touch(last, &format!("export const changed = {:?};\n", Instant::now()));
                peer.build(&self.workspace.root)
            })?;
            row(peer.package(), &times, Some(&whole));
            peer.stop(&self.workspace.root);
        }
        Ok(())
    }

    /// Time until the first command starts, and how many do.
    fn decision(&self) -> Result<(Duration, usize), String> {
        let began = Instant::now();
        let mut child = self
            .buildnet(&["build", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut decision = None;
        let mut executed = 0;
        for line in BufReader::new(child.stdout.take().ok_or("no output")?).lines() {
            let line = line.map_err(|error| error.to_string())?;
            let event: serde_json::Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
            if event["event"] == "task_executing" {
                decision.get_or_insert_with(|| began.elapsed());
                executed += 1;
            }
        }
        child.wait().map_err(|error| error.to_string())?;
        Ok((decision.ok_or("no command was started")?, executed))
    }

    /// Peak memory.
    pub(crate) fn memory(&self) -> Result<(), String> {
        self.workspace.forget()?;
        let _ = std::fs::remove_dir_all(self.workspace.root.join("../cache"));
        measure::once(self.without_daemon(&["build"]))?;
        println!("cold build without daemon: {:.1} MiB at its peak", measure::children_peak_mib());
        let daemon = self.daemon()?;
        measure::once(self.buildnet(&["build"]))?;
        measure::once(self.buildnet(&["build", "--force"]))?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim();
        println!("daemon after a full build of all packages: {peak} at its peak");
        Ok(())
    }
}

fn row(name: &str, times: &Times, base: Option<&Times>) {
    let ratio = base.map_or_else(String::new, |base| {
        format!("  {:.2} times the first", times.median().as_secs_f64() / base.median().as_secs_f64())
    });
    println!("{name:<28} {}{ratio}", times.text());
}
