//! Directories out of git repositories, fetched by the host's git.
//!
//! git gets one repository, one reference, no configuration, no terminal and no hooks; what it fetched is read as objects and never
//! checked out, so that no filter and no link of the repository does anything.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tonic::Code;

use super::archive::Collector;
use super::rule::{Parts, parts};
use super::scratch::Scratch;
use super::{FetchError, Fetcher, http};

/// Longest list of files that is read, in bytes.
const MAX_LISTING: u64 = 512 << 20;
/// Longest answer of a command that says one thing, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// What of a repository is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) branch: Option<String>,
    pub(crate) commit: Option<String>,
}

impl Revision {
    /// Checks what enters git's command line and its configuration of references (`git check-ref-format`).
    pub(crate) fn check(&self) -> Result<(), FetchError> {
        let refuse = |message: &str| Err(FetchError::new(Code::InvalidArgument, message));
        if let Some(commit) = &self.commit {
            let hex = commit.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            if !hex || !matches!(commit.len(), 40 | 64) {
                return refuse("vcs.commit is no full object name in lowercase hexadecimal");
            }
        }
        if let Some(branch) = &self.branch {
            let odd = |character: char| character.is_control() || " ~^:?*[\\".contains(character);
            let segments = branch
                .split('/')
                .any(|part| part.is_empty() || part.starts_with('.') || part.strip_suffix(".lock").is_some());
            if branch.len() > 255
                || branch.starts_with('-')
                || branch.contains("..")
                || branch.contains("@{")
                || branch.contains(odd)
                || segments
            {
                return refuse("vcs.branch is no name of a branch");
            }
        }
        Ok(())
    }
}

/// A repository of which something was fetched.
pub(crate) struct Repository {
    git: std::path::PathBuf,
    scratch: Scratch,
    /// The commit that is there.
    pub(crate) commit: String,
}

/// Fetches a revision into an empty repository at `to`.
pub(crate) async fn clone(
    fetcher: &Fetcher,
    uri: &str,
    revision: &Revision,
    to: &Path,
) -> Result<Repository, FetchError> {
    revision.check()?;
    let denied = || FetchError::new(Code::PermissionDenied, format!("`{}` is no allowed origin", uri.escape_debug()));
    let no_git = || FetchError::new(Code::Unimplemented, "this server fetches from no repository");
    let git = fetcher.origins.git.clone().ok_or_else(no_git)?;
    let rule = fetcher.origins.rule(uri).ok_or_else(denied)?;
    let parts = parts(uri).ok_or_else(denied)?;
    let addresses = http::addresses(fetcher, rule, &parts.host, parts.port).await?;
    let scratch = Scratch::directory(to.to_owned()).map_err(|error| FetchError::io(&error))?;
    let job = Job {
        git,
        repository: scratch.path().to_owned(),
        uri: uri.to_owned(),
        pin: pin(&parts, &addresses),
        limit: fetcher.origins.max_bytes,
    };
    job.run(&["init", "--quiet", "--bare", "."]).await?;
    let commit = job.fetch(revision).await?;
    Ok(Repository { git: job.git, scratch, commit })
}

/// Holds git to the addresses that were checked: its own look-up could give others.
fn pin(parts: &Parts, addresses: &[SocketAddr]) -> Option<String> {
    if parts.scheme == "git" {
        return None;
    }
    let addresses: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        })
        .collect();
    Some(format!("http.curloptResolve={}:{}:{}", parts.host, parts.port, addresses.join(",")))
}

struct Job {
    git: std::path::PathBuf,
    repository: std::path::PathBuf,
    uri: String,
    pin: Option<String>,
    limit: u64,
}

impl Job {
    async fn fetch(&self, revision: &Revision) -> Result<String, FetchError> {
        let branch = revision.branch.as_deref().map(|branch| format!("refs/heads/{branch}"));
        let Some(commit) = &revision.commit else {
            let reference = branch.as_deref().unwrap_or("HEAD");
            self.run(&["fetch", "--quiet", "--no-tags", "--depth=1", &self.uri, reference]).await?;
            let commit = self.run(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"]).await?;
            return Ok(commit.trim().to_owned());
        };
        // Many servers give a commit by its name; others only what a reference leads to.
        let direct = self.run(&["fetch", "--quiet", "--no-tags", "--depth=1", &self.uri, commit]).await;
        if direct.is_err() {
            let all = branch.map_or_else(|| "+refs/*:refs/*".to_owned(), |branch| format!("+{branch}:{branch}"));
            self.run(&["fetch", "--quiet", "--no-tags", &self.uri, &all]).await?;
        }
        let object = format!("{commit}^{{commit}}");
        match self.run(&["rev-parse", "--verify", "--quiet", &object]).await {
            Ok(found) if found.trim() == commit => Ok(commit.clone()),
            _ => Err(FetchError::new(Code::NotFound, format!("the repository has no commit {commit}"))),
        }
    }

    /// Runs git, with a bound on the files that it writes, and returns what it says.
    async fn run(&self, arguments: &[&str]) -> Result<String, FetchError> {
        // POSIX counts blocks of 512 bytes.
        let blocks = (self.limit / 512).to_string();
        let mut command = tokio::process::Command::new("/bin/sh");
        command.args(["-c", "ulimit -f \"$1\" && shift && exec \"$@\"", "sh", &blocks]);
        command.arg(&self.git);
        for setting in ["http.followRedirects=false", "protocol.allow=never", "core.hooksPath=/dev/null", "gc.auto=0"] {
            command.args(["-c", setting]);
        }
        for scheme in ["http", "https", "git"] {
            command.args(["-c", &format!("protocol.{scheme}.allow=always")]);
        }
        if let Some(pin) = &self.pin {
            command.args(["-c", pin]);
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        environment(command.as_std_mut(), &self.repository);
        let mut child = command.spawn().map_err(|error| FetchError::io(&error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
        let status = child.wait().await.map_err(|error| FetchError::io(&error))?;
        if status.success() {
            return Ok(stdout);
        }
        let said = stderr.lines().find(|line| line.starts_with("fatal:")).or(stderr.lines().next()).unwrap_or_default();
        let code = if said.contains("couldn't find remote ref") || said.contains("not found") {
            Code::NotFound
        } else {
            Code::Aborted
        };
        Err(FetchError::new(code, format!("git said: {}", said.chars().take(300).collect::<String>())))
    }
}

async fn read(from: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What is cut off is of no interest; git is told by the closed pipe.
        let _ = from.take(MAX_ANSWER).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Nothing of this process's repository, configuration or credentials.
fn environment(command: &mut Command, repository: &Path) {
    const NONE: [&str; 14] = [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG_PARAMETERS",
        "GIT_CONFIG_COUNT",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
        "GIT_PROXY_COMMAND",
        "GIT_NAMESPACE",
    ];
    for name in NONE {
        command.env_remove(name);
    }
    command.current_dir(repository);
    command.env("HOME", repository).env("XDG_CONFIG_HOME", repository);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
}

impl Repository {
    /// Reads the files of the commit. Submodules are empty directories, as in a checkout without them.
    pub(crate) fn collect(&self, into: &mut Collector<'_>) -> Result<(), FetchError> {
        let io = |error: io::Error| FetchError::io(&error);
        let mut listing = self.command(&["ls-tree", "-r", "-z", "--full-tree", "-l", &self.commit]);
        let mut listing = listing.stdout(Stdio::piped()).spawn().map_err(io)?;
        let mut cat = self.command(&["cat-file", "--batch"]);
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(io)?;
        let collected = pump(&mut listing, &mut cat, into);
        // Both are done, or of no use any more.
        for mut child in [listing, cat] {
            let _ = child.kill();
            let _ = child.wait();
        }
        collected
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.git);
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        environment(&mut command, self.scratch.path());
        command
    }
}

/// Asks for each listed object in turn, and passes it on.
fn pump(
    listing: &mut std::process::Child,
    cat: &mut std::process::Child,
    into: &mut Collector<'_>,
) -> Result<(), FetchError> {
    let io = |error: io::Error| FetchError::io(&error);
    let closed = || FetchError::new(Code::Internal, "git has no pipes");
    let mut ask = cat.stdin.take().ok_or_else(closed)?;
    let mut objects = BufReader::new(cat.stdout.take().ok_or_else(closed)?);
    let listed = listing.stdout.take().ok_or_else(closed)?;
    for line in BufReader::new(listed.take(MAX_LISTING)).split(0) {
        let line = line.map_err(io)?;
        let Some(entry) = Entry::parse(&line) else {
            return Err(FetchError::new(Code::Aborted, "git listed something that is no entry"));
        };
        if entry.mode == b"160000" {
            into.directory(entry.path)?;
            continue;
        }
        writeln!(ask, "{}", entry.object).and_then(|()| ask.flush()).map_err(io)?;
        let mut head = String::new();
        (&mut objects).take(200).read_line(&mut head).map_err(io)?;
        let size = head.trim_end().rsplit(' ').next().and_then(|size| size.parse::<u64>().ok());
        let size = size.ok_or_else(|| FetchError::new(Code::Aborted, format!("git has no object {}", entry.object)))?;
        let mut content = (&mut objects).take(size);
        if entry.mode == b"120000" {
            let mut target = Vec::new();
            (&mut content).take(8192).read_to_end(&mut target).map_err(io)?;
            into.symlink(entry.path, &target)?;
        } else {
            into.file(entry.path, size, entry.mode == b"100755", &mut content)?;
        }
        // What was not wanted is skipped, and the line's end.
        io::copy(&mut content, &mut io::sink()).map_err(io)?;
        io::copy(&mut (&mut objects).take(1), &mut io::sink()).map_err(io)?;
    }
    Ok(())
}

/// One line of `git ls-tree -r -z -l`: `mode type object size\tpath`.
struct Entry<'a> {
    mode: &'a [u8],
    object: &'a str,
    path: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mut words = line[..tab].split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (mode, object) = (words.next()?, words.nth(1)?);
        let object =
            std::str::from_utf8(object).ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        Some(Self { mode, object, path: &line[tab + 1..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_checked() {
        let check = |branch: Option<&str>, commit: Option<&str>| {
            Revision { branch: branch.map(str::to_owned), commit: commit.map(str::to_owned) }.check().is_ok()
        };
        assert!(check(None, None) && check(Some("main"), Some(&"a1".repeat(20))) && check(Some("feature/x-1"), None));
        for branch in
            ["", "-x", "a..b", "a b", "a:b", "a//b", "a/", ".a", "a.lock", "x~1", "a@{1}", "a\0", "--upload-pack=x"]
        {
            assert!(!check(Some(branch), None), "{branch}");
        }
        for commit in ["", "abc", &"A1".repeat(20), "--help", &"g".repeat(40)] {
            assert!(!check(None, Some(commit)), "{commit}");
        }
    }
}
