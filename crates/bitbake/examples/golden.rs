//! Compares every recipe of openembedded-core with what BitBake computed: `--example golden -- GOLDEN.jsonl [recipe.bb …]`.
//!
//! `BUILDNET_OECORE` names the checkout; the build directory is made below the system's directory for temporary files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use std::sync::Mutex;

use buildnet_bitbake::config::{BuildDir, Options, ParseOptions, RecipeFile};
use buildnet_bitbake::graph::{Closure, HashedTask, TaskGraph, Universe, hash_tasks};
use buildnet_bitbake::metadata::Finalised;
use buildnet_bitbake::python::Session;
use buildnet_bitbake::recipe::RecipeInfo;
use buildnet_bitbake::signature::RecipeSignatures;
use buildnet_bitbake::{Result, Sym, Value};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

const FIELDS: [&str; 14] = [
    "PN",
    "PV",
    "PE",
    "PR",
    "BPN",
    "DEPENDS",
    "PROVIDES",
    "PACKAGES",
    "SRC_URI",
    "LICENSE",
    "STAMP",
    "WORKDIR",
    "OVERRIDES",
    "PACKAGE_ARCH",
];
const PACKAGE_FIELDS: [&str; 4] = ["RDEPENDS", "RRECOMMENDS", "RPROVIDES", "RCONFLICTS"];

fn main() -> ExitCode {
    let Some(oecore) = std::env::var_os("BUILDNET_OECORE").map(PathBuf::from) else {
        eprintln!("SKIPPED: BUILDNET_OECORE names no openembedded-core checkout");
        return ExitCode::SUCCESS;
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((golden, wanted)) = arguments.split_first() else {
        eprintln!("usage: golden GOLDEN.jsonl [recipe.bb …]");
        return ExitCode::from(2);
    };
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    let (golden, wanted) = (golden.clone(), wanted.to_vec());
    let worker = thread.spawn(move || compare(&oecore, &golden, &wanted)).expect("a thread starts");
    match worker.join().expect("the comparison does not panic") {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build_directory(oecore: &Path) -> PathBuf {
    let directory = std::env::var_os("BUILDNET_GOLDEN_BUILD")
        .map_or_else(|| std::env::temp_dir().join("buildnet-golden"), PathBuf::from);
    let conf = directory.join("conf");
    if conf.join("local.conf").exists() {
        return directory;
    }
    std::fs::create_dir_all(&conf).expect("the build directory can be made");
    let layers = format!("BBPATH = \"${{TOPDIR}}\"\nBBFILES ?= \"\"\nBBLAYERS = \"{}/meta\"\n", oecore.display());
    std::fs::write(conf.join("bblayers.conf"), layers).expect("bblayers.conf can be written");
    let local = "MACHINE = \"qemux86-64\"\nDISTRO = \"\"\nBB_NO_NETWORK = \"1\"\nBB_HASHSERVE = \"\"\nBB_SIGNATURE_HANDLER = \"OEBasicHash\"\n\
                 CONNECTIVITY_CHECK_URIS = \"\"\nINHERIT:remove = \"uninative\"\n";
    std::fs::write(conf.join("local.conf"), local).expect("local.conf can be written");
    std::fs::write(conf.join("sanity.conf"), "").expect("sanity.conf can be written");
    directory
}

/// Compares the task graph of core-image-minimal.
fn compare_tasks(dir: &BuildDir, infos: Vec<RecipeInfo>, tasks: &Path, oecore: &Path) -> Result<()> {
    let mut universe = Universe::new(dir, infos)?;
    let target = std::env::var("BUILDNET_GOLDEN_TARGET").unwrap_or_else(|_| "core-image-minimal".into());
    let closure = Closure::of(&mut universe, &[&target])?;
    for problem in &closure.problems {
        eprintln!("{problem}");
    }
    for message in universe.take_messages() {
        eprintln!("{}", message.text);
    }
    let graph = TaskGraph::new(&universe, &closure, &[(&target, "do_build")])?;
    let hashed = hash_tasks(&mut universe, &closure, &graph)?;
    let mut ours: BTreeMap<&str, &HashedTask> = hashed.iter().map(|task| (task.id.as_str(), task)).collect();
    let (mut total, mut found, mut depends, mut files, mut taskhashes) = (0, 0, 0, 0, 0);
    let mut shown = 0;
    for line in std::fs::read_to_string(tasks).expect("the tasks can be read").lines() {
        let row: Json =
            serde_json::from_str(&line.replace("{OECORE}", &oecore.display().to_string())).expect("a line is JSON");
        total += 1;
        let id = row["task"].as_str().unwrap_or_default();
        let Some(task) = ours.remove(id) else {
            eprintln!("missing: {id}");
            continue;
        };
        found += 1;
        let want: Vec<(String, String)> = serde_json::from_value(row["deps"].clone()).expect("dependencies");
        let got: Vec<(String, String)> = task.depends.iter().map(|d| (d.name.clone(), d.id.clone())).collect();
        let want_files: Vec<(String, String)> = serde_json::from_value(row["files"].clone()).expect("files");
        let mut got_files: Vec<(String, String)> = task.files.iter().map(|f| (f.path.clone(), f.md5.clone())).collect();
        let mut sorted_files = want_files.clone();
        sorted_files.sort();
        got_files.sort();
        depends += usize::from(want == got);
        files += usize::from(sorted_files == got_files);
        taskhashes += usize::from(row["taskhash"] == task.taskhash.as_str());
        if (want != got || sorted_files != got_files) && shown < 20 {
            shown += 1;
            eprintln!("{id}:\n  got  {got:?} {got_files:?}\n  want {want:?} {sorted_files:?}");
        }
    }
    for id in ours.keys().take(20) {
        eprintln!("too much: {id}");
    }
    println!(
        "tasks: {found} of {total}, {} too many; dependencies {depends}, files {files}, taskhash {taskhashes}",
        ours.len()
    );
    Ok(())
}

/// Compares basehashes, and what enters them, with the full output of `golden_parse.py` over the same checkout.
fn compare_values(dir: &BuildDir, session: &mut Session, raw: &Path) -> Result<()> {
    let (mut tasks, mut equal) = (0, 0);
    for line in std::fs::read_to_string(raw).expect("the raw file can be read").lines() {
        let row: Json = serde_json::from_str(line).expect("a raw line is JSON");
        let Some(recipe) = dir.recipes().iter().find(|recipe| row["recipe"] == recipe.path.as_str()) else { continue };
        let variant = row["variant"].as_str().unwrap_or_default();
        let Some(found) = dir.read_recipe(session, recipe, Some(variant))?.pop() else { continue };
        let Some(signatures) = found.signatures else { continue };
        let before = equal;
        for signature in &signatures.tasks {
            let want = row["basehash"][signature.task.as_str()].as_str();
            tasks += 1;
            equal += usize::from(want == Some(&*signature.basehash));
        }
        if equal - before < signatures.tasks.len() {
            explain(&recipe.path, variant, &row["varvals"], &signatures);
        }
    }
    println!("basehash against {}: {equal} of {tasks}", raw.display());
    Ok(())
}

fn explain(path: &str, variant: &str, want: &Json, got: &RecipeSignatures) {
    let mut names: Vec<&str> = got.variables.keys().map(|name| name.as_str()).collect();
    names.extend(want.as_object().into_iter().flat_map(|all| all.keys()).map(String::as_str));
    names.sort_unstable();
    names.dedup();
    for name in names {
        let ours = Sym::find(name)
            .and_then(|name| got.variables.get(&name))
            .map(|v| v.value.as_deref().unwrap_or("None").to_owned());
        let theirs = want.get(name).map(|value| match value {
            Json::String(text) => text.clone(),
            Json::Null => "None".to_owned(),
            other => other.to_string(),
        });
        if ours != theirs {
            let by: Vec<&str> = got
                .variables
                .iter()
                .filter(|(_, v)| v.depends.iter().any(|d| d.as_str() == name))
                .map(|(n, _)| n.as_str())
                .take(4)
                .collect();
            eprintln!("needed by {}", by.join(" "));
            eprintln!("{path} [{variant}] {name}:\n  got  {ours:?}\n  want {theirs:?}");
        }
    }
}

/// Where the rows name no recipe, they come in the order of the sorted recipes, and a recipe's own row comes before its variants.
fn by_recipe(dir: &BuildDir, rows: Vec<Json>) -> BTreeMap<(String, String), Json> {
    let mut paths: Vec<&str> = dir.recipes().iter().map(|recipe| recipe.path.as_str()).collect();
    paths.sort_unstable();
    let mut paths = paths.into_iter();
    let mut current = "";
    let mut expected = BTreeMap::new();
    for row in rows {
        let variant = row["variant"].as_str().unwrap_or_default().to_owned();
        if let Some(recipe) = row["recipe"].as_str() {
            expected.insert((recipe.to_owned(), variant), row);
            continue;
        }
        if variant.is_empty() {
            current = paths.next().expect("a recipe for each row without a variant");
        }
        expected.insert((current.to_owned(), variant), row);
    }
    expected
}

#[derive(Default)]
struct Counts {
    equal: BTreeMap<String, usize>,
    total: BTreeMap<String, usize>,
    shown: usize,
    variants_equal: usize,
    variants: usize,
}

fn compare(oecore: &Path, golden: &str, wanted: &[String]) -> Result<bool> {
    let build = build_directory(oecore);
    let text = std::fs::read_to_string(golden).expect("the golden file can be read");
    let mut rows: Vec<Json> = Vec::new();
    for line in text.lines() {
        let line =
            line.replace("{OECORE}", &oecore.display().to_string()).replace("{TOPDIR}", &build.display().to_string());
        rows.push(serde_json::from_str(&line).expect("a golden line is JSON"));
    }
    let start = Instant::now();
    let mut environment: Vec<(String, String)> = std::env::vars().collect();
    environment.retain(|(name, _)| name != "BBPATH" && name != "LC_ALL");
    environment.push(("BBPATH".into(), build.display().to_string()));
    environment.push(("LC_ALL".into(), "C.UTF-8".into()));
    let options = Options {
        build_dir: build,
        environment,
        python: std::env::var_os("BUILDNET_PYTHON").map_or_else(|| "python3".into(), PathBuf::from),
        python_path: std::env::var_os("BUILDNET_PYTHON_PATH").map(PathBuf::from).into_iter().collect(),
        temporary: std::env::temp_dir(),
        history: false,
        time_limit: std::time::Duration::from_mins(1),
    };
    let mut dir = BuildDir::open(&options)?;
    if std::env::var_os("BUILDNET_CHECK_NATIVE").is_some() {
        dir.session.check_native();
    }
    for message in &dir.session.messages {
        eprintln!("{}: {}", message.level, message.text);
    }
    eprintln!("configuration: {:?}; {} recipes", start.elapsed(), dir.recipes().len());
    let expected = by_recipe(&dir, rows);
    let is_wanted = |recipe: &RecipeFile| wanted.is_empty() || wanted.iter().any(|w| recipe.path.ends_with(w));
    let chosen: Vec<usize> = (0..dir.recipes().len()).filter(|index| is_wanted(&dir.recipes()[*index])).collect();
    let threads = std::env::var("BUILDNET_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let sign = std::env::var_os("BUILDNET_NO_SIGN").is_none();
    let options = ParseOptions { threads, sign };
    let read = Instant::now();
    let counts = Mutex::new(Counts::default());
    let expected = Mutex::new(expected);
    let keep = |session: &mut Session, recipe: &RecipeFile, variant: &mut Finalised| {
        let key = (recipe.path.clone(), variant.variant.clone());
        let row = expected.lock().expect("no comparison panics").remove(&key);
        if std::env::var_os("BUILDNET_NO_COMPARE").is_none() {
            match row {
                Some(row) => check(session, variant, &row, &key, &mut counts.lock().expect("no comparison panics")),
                None => eprintln!("{} {}: BitBake has no such variant", key.0, key.1),
            }
        }
        RecipeInfo::of(session, recipe, variant)
    };
    let outcomes = dir.each_recipe(Some(&chosen), options, keep);
    eprintln!("recipes: {:?}", read.elapsed());
    let mut counts = counts.into_inner().expect("no comparison panics");
    let mut infos = Vec::new();
    for outcome in outcomes {
        let path = &dir.recipes()[outcome.recipe].path;
        for message in outcome.messages.iter().filter(|m| m.level >= 30) {
            eprintln!("{path}: {}: {}", message.level, message.text);
        }
        match outcome.variants {
            Ok(variants) => infos.extend(variants),
            Err(error) => {
                counts.variants += 1;
                eprintln!("{path}: {error}");
            }
        }
    }
    let mut session = dir.session(true);
    if let Some(tasks) = std::env::var_os("BUILDNET_GOLDEN_TASKS") {
        let graph = Instant::now();
        compare_tasks(&dir, infos, Path::new(&tasks), oecore)?;
        eprintln!("graph: {:?}", graph.elapsed());
    }
    if let Some(raw) = std::env::var_os("BUILDNET_GOLDEN_RAW") {
        compare_values(&dir, &mut session, Path::new(&raw))?;
    }
    for (field, total) in &counts.total {
        println!("{field}: {} of {total}", counts.equal.get(field).copied().unwrap_or_default());
    }
    println!("variants equal in every field: {} of {}; {:?}", counts.variants_equal, counts.variants, start.elapsed());
    Ok(counts.variants_equal == counts.variants)
}

impl Counts {
    fn note(&mut self, field: &str, key: &(String, String), got: &Json, want: &Json) -> bool {
        *self.total.entry(field.to_owned()).or_default() += 1;
        if got == want {
            *self.equal.entry(field.to_owned()).or_default() += 1;
            return true;
        }
        self.shown += 1;
        if self.shown <= 5000 {
            eprintln!("{} [{}] {field}:\n  got  {got}\n  want {want}", key.0, key.1);
        }
        false
    }
}

fn get(session: &mut Session, variant: &mut Finalised, name: &str) -> Json {
    match variant.store.get(session, Sym::new(name)) {
        Ok(Some(Value::Str(text))) => Json::String(text.to_string()),
        Ok(Some(value)) => Json::String(value.to_string()),
        Ok(None) => Json::Null,
        Err(error) => Json::String(format!("ERROR {error}")),
    }
}

fn check(session: &mut Session, variant: &mut Finalised, row: &Json, key: &(String, String), counts: &mut Counts) {
    counts.variants += 1;
    let skipped = variant.skipped.clone().map_or(Json::Null, Json::String);
    let mut good = counts.note("skipped", key, &skipped, &row["skipped"]);
    if variant.skipped.is_none() && row["skipped"].is_null() {
        for field in FIELDS {
            let got = get(session, variant, field);
            good &= counts.note(field, key, &got, &row[field]);
        }
        let packages = get(session, variant, "PACKAGES");
        for package in packages.as_str().unwrap_or_default().split_whitespace() {
            for field in PACKAGE_FIELDS {
                let name = format!("{field}:{package}");
                let got = get(session, variant, &name);
                good &= counts.note(field, key, &got, &row[&name]);
            }
        }
        let mut tasks: Vec<&str> = variant.tasks.tasks.iter().map(|task| task.as_str()).collect();
        tasks.sort_unstable();
        good &= counts.note("tasks", key, &Json::from(tasks), &row["tasks"]);
        let parents: serde_json::Map<String, Json> = variant
            .tasks
            .parents
            .iter()
            .map(|(task, parents)| {
                let mut parents: Vec<&str> = parents.iter().map(|p| &**p).collect();
                parents.sort_unstable();
                (task.to_string(), Json::from(parents))
            })
            .collect();
        good &= counts.note("parents", key, &Json::Object(parents), &row["parents"]);
    }
    if let Some(signatures) = &variant.signatures {
        for signature in &signatures.tasks {
            let task = signature.task.as_str();
            let want = &row["basehash"][task];
            let equal = counts.note("basehash", key, &Json::from(&*signature.basehash), want);
            if !equal {
                let names: Vec<&str> = signature.depends.iter().map(|name| name.as_str()).collect();
                let digest = hex::encode(Sha256::digest(names.join(" ")));
                let same = row["taskdeps_sha"][task].as_str() == Some(&digest[..16]);
                counts.note("names of what enters a differing basehash", key, &Json::from(same), &Json::from(true));
            }
            good &= equal;
        }
    }
    counts.variants_equal += usize::from(good);
}
