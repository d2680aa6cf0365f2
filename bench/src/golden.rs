//! BuildNet beside BitBake on one checkout of openembedded-core: are the answers equal, and what do they cost?

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::warm::Warm;

/// What is compared and measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Golden {
    /// bitbake-golden: the openembedded-core checkout.
    #[arg(long, env = "BUILDNET_OECORE")]
    oecore: Option<PathBuf>,
    /// bitbake-golden: what BitBake computed for each recipe variant, JSON lines, perhaps compressed (.zst).
    #[arg(long, env = "BUILDNET_GOLDEN_RECIPES")]
    recipes: Option<PathBuf>,
    /// bitbake-golden: what BitBake computed for each task of the target.
    #[arg(long, env = "BUILDNET_GOLDEN_TASKS")]
    tasks: Option<PathBuf>,
    /// bitbake-golden: a BitBake checkout, to measure beside BuildNet.
    #[arg(long, env = "BUILDNET_BITBAKE")]
    bitbake: Option<PathBuf>,
    /// bitbake-golden: what is signed.
    #[arg(long, default_value = "core-image-minimal")]
    target: String,
}

const CONFIGURATION: &str = "MACHINE = \"qemux86-64\"\nDISTRO = \"\"\nBB_NO_NETWORK = \"1\"\nBB_HASHSERVE = \"\"\n\
    BB_SIGNATURE_HANDLER = \"OEBasicHash\"\nCONNECTIVITY_CHECK_URIS = \"\"\nINHERIT:remove = \"uninative\"\n";

/// Differences shown of each field.
const SHOWN: usize = 3;

/// Runs everything; an error where something differs.
pub(crate) fn run(golden: &Golden, program: &Path, dir: &Path, runs: usize) -> Result<(), String> {
    let Some(oecore) = &golden.oecore else {
        println!("SKIPPED: neither --oecore nor BUILDNET_OECORE names an openembedded-core checkout");
        return Ok(());
    };
    let oecore = oecore.canonicalize().map_err(|error| format!("{}: {error}", oecore.display()))?;
    let bench = Bench { golden, program, build: dir.join("bitbake-golden"), oecore };
    let parse = bench.parse()?;
    let sigs = bench.sigs()?;
    bench.unchanged()?;
    let warm = Warm {
        program,
        oecore: &bench.oecore,
        dir: dir.join("bitbake-warm"),
        configuration: CONFIGURATION,
        target: &golden.target,
        runs,
    };
    warm.run()?;
    if let Some(bitbake) = &golden.bitbake {
        bench.beside(bitbake, &parse, &sigs)?;
    }
    Ok(())
}

struct Bench<'a> {
    golden: &'a Golden,
    program: &'a Path,
    build: PathBuf,
    oecore: PathBuf,
}

impl Bench<'_> {
    /// A build directory as `oe-init-build-env` leaves it, without anything remembered.
    fn fresh(&self) -> Result<(), String> {
        let io = |error: std::io::Error| format!("{}: {error}", self.build.display());
        if self.build.exists() {
            std::fs::remove_dir_all(&self.build).map_err(io)?;
        }
        let conf = self.build.join("conf");
        std::fs::create_dir_all(&conf).map_err(io)?;
        let layers =
            format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}/meta\"\n", self.oecore.display());
        std::fs::write(conf.join("bblayers.conf"), layers).map_err(io)?;
        std::fs::write(conf.join("sanity.conf"), "").map_err(io)?;
        std::fs::write(conf.join("local.conf"), CONFIGURATION).map_err(io)
    }

    /// Both programs see the same environment: what BitBake looks for in it enters some hashes.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("BBPATH", &self.build).env("LC_ALL", "C.UTF-8").current_dir(&self.build);
        if let Some(bitbake) = &self.golden.bitbake {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", bitbake.join("bin").display()));
        }
        command
    }

    fn buildnet(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.program);
        command.args(["--no-daemon", "bitbake"]).args(arguments).arg("--build-dir").arg(&self.build);
        command
    }

    fn parse(&self) -> Result<Cost, String> {
        self.fresh()?;
        let out = self.build.join("recipes.jsonl");
        let cost = measured(&mut self.buildnet(&["parse", "--jsonl", &out.display().to_string()]))?;
        println!("cold parse with signatures: {cost}");
        if let Some(recipes) = &self.golden.recipes {
            let ours = rows(&out, self)?;
            let expected = rows(recipes, self)?;
            compare("recipe variants", &by_recipe(expected), &by_recipe(ours));
        }
        Ok(cost)
    }

    fn sigs(&self) -> Result<Cost, String> {
        self.fresh()?;
        let out = self.build.join("tasks.jsonl");
        let arguments = ["sigs", &self.golden.target, "--jsonl", &out.display().to_string()];
        let cost = measured(&mut self.buildnet(&arguments))?;
        println!("sigs {}, cold: {cost}", self.golden.target);
        if let Some(tasks) = &self.golden.tasks {
            let by_task = |rows: Vec<Json>| rows.into_iter().map(|row| (row["task"].to_string(), row)).collect();
            compare("tasks", &by_task(rows(tasks, self)?), &by_task(rows(&out, self)?));
        }
        Ok(cost)
    }

    /// The same again, with what the last process left behind.
    fn unchanged(&self) -> Result<(), String> {
        for arguments in [&["parse"][..], &["sigs", &self.golden.target]] {
            measured(&mut self.buildnet(arguments))?;
            let cost = measured(&mut self.buildnet(arguments))?;
            println!("{} again, nothing changed, no daemon: {cost}", arguments[0]);
        }
        Ok(())
    }

    fn beside(&self, bitbake: &Path, parse: &Cost, sigs: &Cost) -> Result<(), String> {
        let program = bitbake.join("bin/bitbake");
        for (arguments, ours, bar) in
            [(&["-p"][..], parse, 10.0), (&["-S", "none", self.golden.target.as_str()], sigs, 15.0)]
        {
            self.fresh()?;
            let theirs = measured(self.command(&program).args(arguments))?;
            let ratio = theirs.wall.as_secs_f64() / ours.wall.as_secs_f64();
            println!("bitbake {}: {theirs}; BuildNet is {ratio:.1} times as fast (bar: {bar})", arguments.join(" "));
        }
        Ok(())
    }
}

/// What a run cost.
struct Cost {
    wall: Duration,
    /// Highest sum of the resident memory of the process and all below it, sampled, in MiB.
    memory: u64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} s, {} MiB in all processes at most", self.wall.as_secs_f64(), self.memory)
    }
}

fn measured(command: &mut Command) -> Result<Cost, String> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let errors = child.stderr.take().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    let mut memory = 0;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        memory = memory.max(resident(child.id()));
        std::thread::sleep(Duration::from_millis(20));
    };
    let cost = Cost { wall: began.elapsed(), memory };
    if status.success() {
        return Ok(cost);
    }
    let text = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Err(format!("{command:?}: {status}\n{text}"))
}

/// Resident memory of a process and all below it, in MiB; pages they share count for each.
pub(crate) fn resident(root: u32) -> u64 {
    let mut parents: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let parent = field("PPid:").and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
        parents.insert(pid, (parent, field("VmRSS:").unwrap_or_default()));
    }
    let below = |mut pid: u32| {
        while pid > 1 {
            if pid == root {
                return true;
            }
            pid = parents.get(&pid).map_or(0, |(parent, _)| *parent);
        }
        false
    };
    parents.iter().filter(|(pid, _)| below(**pid)).map(|(_, (_, kib))| kib).sum::<u64>() >> 10
}

/// The rows of a file, with the places of this run.
fn rows(path: &Path, bench: &Bench<'_>) -> Result<Vec<Json>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::Decoder::new(file).and_then(|mut file| file.read_to_string(&mut text)).map_err(|error| failed(&error))?;
    } else {
        std::io::BufReader::new(file).read_to_string(&mut text).map_err(|error| failed(&error))?;
    }
    let text = text
        .replace("{OECORE}", &bench.oecore.display().to_string())
        .replace("{TOPDIR}", &bench.build.display().to_string());
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| failed(&error))).collect()
}

/// Rows by recipe and variant. Rows may name no recipe: they come in the order of the recipes' paths, and a recipe's own row comes before
/// its variants.
fn by_recipe(rows: Vec<Json>) -> BTreeMap<String, Json> {
    let mut number = 0;
    let keyed = rows.into_iter().map(|row| {
        let variant = row["variant"].as_str().unwrap_or_default().to_owned();
        number += usize::from(variant.is_empty());
        (format!("{number:05} {variant}"), row)
    });
    keyed.collect()
}

/// Says how many rows are equal in each field that the expected ones have.
fn compare(what: &str, expected: &BTreeMap<String, Json>, ours: &BTreeMap<String, Json>) {
    let mut fields: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut equal_rows = 0;
    for (key, want) in expected {
        let Some(got) = ours.get(key) else {
            println!("missing: {key}");
            continue;
        };
        let mut equal = true;
        for (field, want) in want.as_object().into_iter().flatten() {
            let (name, pairs) = entries(field, want, &got[field]);
            let count = fields.entry(name).or_default();
            for (place, want, got) in pairs {
                count.1 += 1;
                if want == got {
                    count.0 += 1;
                    continue;
                }
                equal = false;
                if count.1 - count.0 <= SHOWN {
                    println!("{key} {field} {place}\n  got  {got}\n  want {want}");
                }
            }
        }
        equal_rows += usize::from(equal);
    }
    for key in ours.keys().filter(|key| !expected.contains_key(*key)) {
        println!("too much: {key}");
    }
    println!("{what} equal in every field: {equal_rows} of {}", expected.len());
    for (field, (equal, all)) in fields {
        println!("  {field:<16} {equal} of {all}");
    }
}

/// A field's values one by one: hashes by task, lists without order where BitBake's have none, packages under one name.
fn entries(field: &str, want: &Json, got: &Json) -> (String, Vec<(String, Json, Json)>) {
    let name = field.split(':').next().unwrap_or(field).to_owned();
    if let Json::Object(tasks) = want {
        let each = tasks.iter().map(|(task, want)| (task.clone(), sorted(field, want), sorted(field, &got[task])));
        return (name, each.collect());
    }
    (name, vec![(String::new(), sorted(field, want), sorted(field, got))])
}

fn sorted(field: &str, value: &Json) -> Json {
    let mut value = value.clone();
    if let Json::Array(items) = &mut value
        && field != "deps"
    {
        items.sort_by_key(ToString::to_string);
    }
    value
}
