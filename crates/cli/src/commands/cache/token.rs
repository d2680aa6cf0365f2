//! `buildnet cache token`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use buildnet_daemon::ErrorReport;
use buildnet_reapi::{Role, TokenLine};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::context::Context;
use crate::output::{print, print_json};

/// Bytes of chance in a token: more than anybody can try.
const STRENGTH: usize = 32;

#[derive(Clone, Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum TokenCommand {
    /// Make a token: its secret goes to standard output, its line for the token file has a hash alone
    #[command(
        after_help = "Examples:\n  buildnet cache token new --name ci --role write --instance 'pr/*' --file tokens\n  \
                            buildnet cache token new --name worker --role write --cert worker-1 --file tokens"
    )]
    New(NewArgs),
}

#[derive(Clone, Debug, Args)]
struct NewArgs {
    /// Who will hold it; recorded as the writer of what is stored with it
    #[arg(long)]
    name: String,
    /// What it allows
    #[arg(long, value_enum)]
    role: RoleArg,
    /// An instance that it is for: `main` also covers `main/…`, `pr/*` what is below `pr`, `.` is the default one [default: all]
    #[arg(long = "instance", value_name = "INSTANCE", value_delimiter = ',')]
    instances: Vec<String>,
    /// In place of a secret, the common name of a client's certificate
    #[arg(long, value_name = "NAME")]
    cert: Option<String>,
    /// Add the line to this file, which is made when it is missing
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    /// Look up and read
    Read,
    /// Also store
    Write,
    /// Also promote, purge, build and stop the daemon
    Admin,
}

/// A token that was made.
#[derive(Serialize)]
struct Made<'a> {
    name: &'a str,
    /// The secret; none for certificates.
    token: Option<&'a str>,
    /// The line of the token file.
    line: &'a str,
}

pub(super) fn run(args: &TokenArgs, context: &Context) -> Result<ExitCode, ErrorReport> {
    let TokenCommand::New(args) = &args.command;
    let role = match args.role {
        RoleArg::Read => Role::Read,
        RoleArg::Write => Role::Write,
        RoleArg::Admin => Role::Admin,
    };
    let secret = if args.cert.is_some() { None } else { Some(new_secret()?) };
    let line = match (&args.cert, &secret) {
        (Some(certificate), _) => TokenLine::for_certificate(&args.name, role, certificate, &args.instances),
        (None, secret) => {
            TokenLine::for_secret(&args.name, role, secret.as_deref().unwrap_or_default(), &args.instances)
        }
    };
    let line = line.map_err(|error| ErrorReport::of(&error))?;
    if let Some(file) = &args.file {
        add(file, &args.name, &line)?;
    }
    if context.json {
        print_json(&Made { name: &args.name, token: secret.as_deref(), line: &line })?;
        return Ok(ExitCode::SUCCESS);
    }
    match &args.file {
        Some(file) => eprintln!("Added `{}` to {}.", args.name, file.display()),
        None => eprintln!("The line for the file of --tokens:\n{line}"),
    }
    if let Some(secret) = &secret {
        if args.file.is_none() {
            eprintln!("The token, which is kept nowhere:");
        }
        print(&format!("{secret}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn new_secret() -> Result<String, ErrorReport> {
    let mut bytes = [0; STRENGTH];
    let read = File::open("/dev/urandom").and_then(|mut chance| chance.read_exact(&mut bytes));
    read.map_err(|error| ErrorReport::environment("cannot read /dev/urandom").because(&error))?;
    let mut secret = String::with_capacity(2 * STRENGTH);
    for byte in bytes {
        secret += &format!("{byte:02x}");
    }
    Ok(secret)
}

/// Appends a line to a token file.
fn add(path: &Path, name: &str, line: &str) -> Result<(), ErrorReport> {
    if path.exists() {
        let lines = TokenLine::load(path).map_err(|error| ErrorReport::of(&error))?;
        if lines.iter().any(|line| line.name() == name) {
            let message = format!("{} has a token named `{name}` already", path.display());
            return Err(ErrorReport::user(message).with_hint("Remove its line, or choose another name."));
        }
    }
    let cannot =
        |error: &std::io::Error| ErrorReport::environment(format!("cannot write {}", path.display())).because(error);
    let before = std::fs::read(path).unwrap_or_default();
    let start = if before.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
    let mut file =
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|error| cannot(&error))?;
    file.write_all(format!("{start}{line}\n").as_bytes()).map_err(|error| cannot(&error))
}
