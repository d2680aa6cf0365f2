//! Why a task's hash is not the one it was.

use std::fmt::Write as _;
use std::path::Path;

use super::question::{Answer, Refusal};
use super::{Planned, Workbench, newest_signature, read_signature, signature_of};
use crate::error::{Error, Result};
use crate::graph::HashedTask;
use crate::signature::{SigData, differences};

/// Compares a task, which is the first target of a graph, with what was recorded of it.
pub(super) fn explain(
    bench: &Workbench,
    planned: &Planned,
    hashed: &[HashedTask],
    task: &str,
    against: Option<&Path>,
    answer: &mut Answer,
) -> Result<()> {
    let Some(&at) = planned.graph.targets.first() else {
        let text = format!("{task} is assumed to be provided by the host");
        answer.refusal = Some(Refusal { message: text, hint: None });
        return Ok(());
    };
    let node = &planned.graph.nodes[at as usize];
    let recipe = &planned.universe.recipes[node.recipe];
    let file = bench.dir.recipe_file(recipe).ok_or_else(|| Error::Fatal(format!("{} is gone", recipe.path)))?;
    let mut session = bench.dir.session(true);
    let variants = bench.dir.read_recipe(&mut session, file, Some(&recipe.variant));
    bench.dir.give_back(session);
    let signatures = variants?.into_iter().next().and_then(|variant| variant.signatures);
    let new = signatures.and_then(|own| signature_of(&bench.dir, node.task, &hashed[at as usize], &own));
    let new = new.ok_or_else(|| Error::Fatal(format!("{task} was not signed")))?;
    let stamp = Path::new(&recipe.stamp);
    let path = match against {
        Some(path) if path.is_dir() => newest_signature(path, stamp, node.task.as_str(), true, None),
        Some(path) => Some(path.to_owned()),
        None => newest_signature(stamp.parent().unwrap_or(stamp), stamp, node.task.as_str(), false, None),
    };
    let Some(path) = path else {
        let text = format!("there is no signature data of {task} at {}", against.unwrap_or(stamp).display());
        answer.refusal = Some(Refusal::new(text, "`bitbake -S none TARGET` writes it, and so does every build."));
        return Ok(());
    };
    let old = match read_signature(&path) {
        Ok(old) => old,
        Err(error) => {
            answer.refusal = Some(Refusal { message: error.to_string(), hint: None });
            return Ok(());
        }
    };
    let told = differences(&old, &new);
    let hash = |data: &SigData| data.taskhash.clone().unwrap_or_else(|| "no hash".to_owned());
    let out = &mut answer.text;
    let _ = writeln!(out, "{task} is {}; {} has {}", hash(&new), path.display(), hash(&old));
    if told.is_empty() && old.taskhash == new.taskhash {
        out.push_str("nothing differs\n");
    } else if told.is_empty() {
        out.push_str("the hashes differ, though everything that is recorded to enter them is the same\n");
    }
    for line in &told {
        let _ = writeln!(out, "- {line}");
    }
    Ok(())
}
