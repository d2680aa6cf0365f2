//! Paths and patterns of `buildnet.yaml`: checked once, where they stand, and brought to one form.

use crate::config::{ConfigFile, TaskConfig};
use crate::decode::Spanned;
use crate::error::{Problem, ProblemKind};
use crate::paths;

/// Stands among inputs for what would be taken without them.
pub(crate) const DEFAULT_INPUTS: &str = "$default";

/// Brings every path of the file to its normal form; what is wrong is noted and left out.
pub(crate) fn file(file: &mut ConfigFile, problems: &mut Vec<Problem>) {
    patterns(&mut file.global_inputs, problems);
    for package in &mut file.packages {
        let package = &mut package.value;
        if let Some(path) = &mut package.path {
            directory(path, problems);
        }
        if let Some(sources) = &mut package.sources {
            patterns(sources, problems);
        }
        let name = package.name.as_ref().map_or("?", |name| &name.value).to_owned();
        outputs(package.output_dir.as_mut().into_iter(), &format!("{name}:build"), problems);
        state(&mut package.state, problems);
        for (task, config) in &mut package.tasks {
            task_config(&format!("{name}:{task}"), &mut config.value, problems);
        }
    }
    for (task, config) in &mut file.tasks {
        task_config(task, &mut config.value, problems);
    }
}

fn task_config(name: &str, config: &mut TaskConfig, problems: &mut Vec<Problem>) {
    if let Some(inputs) = &mut config.inputs {
        patterns(inputs, problems);
    }
    outputs(config.outputs.iter_mut().flatten(), name, problems);
    state(&mut config.state, problems);
}

fn directory(path: &mut Spanned<String>, problems: &mut Vec<Problem>) {
    match paths::normalize(&path.value) {
        Ok(normal) => path.value = normal,
        Err(kind) => problems.push(Problem::new(kind).at(path.location.clone()).hint(RELATIVE)),
    }
}

const RELATIVE: &str = "write the path relative to the workspace's root, without `..`";

fn state(directories: &mut [Spanned<String>], problems: &mut Vec<Problem>) {
    for path in directories {
        match paths::normalize(&path.value) {
            Ok(normal) => path.value = normal,
            Err(kind) => problems
                .push(Problem::new(kind).at(path.location.clone()).hint("a state directory lies inside its package")),
        }
    }
}

fn outputs<'a>(outputs: impl Iterator<Item = &'a mut Spanned<String>>, task: &str, problems: &mut Vec<Problem>) {
    for output in outputs {
        let written = output.value.clone();
        let mut report = |kind, hint: &str| {
            problems.push(Problem::new(kind).at(output.location.clone()).hint(hint));
        };
        match paths::normalize(&written) {
            Ok(normal) if normal.is_empty() => report(
                ProblemKind::InvalidValue { value: written, expected: "output".into() },
                "the package's whole directory cannot be its output: its sources are there; name a directory inside it",
            ),
            Ok(normal) => {
                let (parent, last) = normal.rsplit_once('/').unwrap_or(("", &normal));
                if paths::has_wildcard(parent) {
                    let reason = "wildcards stand only in the last segment of an output".into();
                    let hint = "declare the directory itself";
                    report(ProblemKind::InvalidPattern { pattern: written, reason }, hint);
                } else if let Err(reason) = check_glob(last) {
                    report(ProblemKind::InvalidPattern { pattern: written, reason }, "correct the pattern");
                }
                output.value = normal;
            }
            Err(ProblemKind::ParentPath(path)) => report(
                ProblemKind::OutputOutsidePackage { task: task.into(), path },
                "outputs lie inside their package: write there, or make what writes it a task of the other package",
            ),
            Err(kind) => report(kind, "write outputs relative to the package"),
        }
    }
}

/// Input patterns: `!` and `//` at the front stay, the rest is normalised.
fn patterns(patterns: &mut Vec<Spanned<String>>, problems: &mut Vec<Problem>) {
    patterns.retain_mut(|pattern| {
        if pattern.value == DEFAULT_INPUTS {
            return true;
        }
        let (not, rest) = match pattern.value.strip_prefix('!') {
            Some(rest) => ("!", rest),
            None => ("", pattern.value.as_str()),
        };
        let (root, rest) = match rest.strip_prefix("//") {
            Some(rest) => ("//", rest),
            None => ("", rest),
        };
        let mut report = |kind| {
            let hint =
                "write inputs relative to the package, or with `//` at the front relative to the workspace's root";
            problems.push(Problem::new(kind).at(pattern.location.clone()).hint(hint));
            false
        };
        match paths::normalize(rest) {
            Ok(normal) => {
                let normal = if normal.is_empty() { "**/*".to_owned() } else { normal };
                if let Err(reason) = check_glob(&normal) {
                    return report(ProblemKind::InvalidPattern { pattern: pattern.value.clone(), reason });
                }
                pattern.value = format!("{not}{root}{normal}");
                true
            }
            Err(kind) => report(kind),
        }
    });
}

fn check_glob(pattern: &str) -> Result<(), String> {
    globset::GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(drop)
        .map_err(|error| error.kind().to_string())
}
