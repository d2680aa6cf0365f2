//! A task as one line of JSON.

use serde_json::{Value as Json, json};

use super::hashes::HashedTask;

/// What `sigs --jsonl` says of a task: `task` (its id), `basehash`, `taskhash`, `deps` (what enters the hash, as `[name, id]`),
/// `files` (path and MD5), `taint`
/// and `unihash`.
pub fn task_row(task: &HashedTask) -> Json {
    let deps: Vec<(&str, &str)> = task.depends.iter().map(|dep| (dep.name.as_str(), dep.id.as_str())).collect();
    let files: Vec<(&str, &str)> = task.files.iter().map(|file| (file.path.as_str(), file.md5.as_str())).collect();
    json!({
        "task": task.id,
        "basehash": &*task.basehash,
        "taskhash": task.taskhash,
        "deps": deps,
        "files": files,
        "taint": task.taint,
        "unihash": task.unihash,
    })
}
