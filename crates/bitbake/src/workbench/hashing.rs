//! Hashes of planned tasks with all that a build directory says about them, and the signature files that BitBake reads.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Finding, Planned, Workbench, signature_of, write_signature};
use crate::Text;
use crate::config::ParseOptions;
use crate::equivalence::{Credentials, ServerSettings, server};
use crate::error::{Error, Result};
use crate::graph::{HashedTask, Hashes, Hashing};
use crate::recipe::virtual_name;
use crate::signature::{LockedTask, SignatureHandler, UnihashCache, locked_text};

impl Workbench {
    pub(super) fn setting(&self, name: &str) -> Result<String> {
        let mut session = self.dir.session(false);
        Ok(self.dir.store.copy().get_text(&mut session, name)?.unwrap_or_else(|| Text::from("")).to_string())
    }

    /// Whether hashes depend on what a server says.
    pub(super) fn asks_server(&self) -> bool {
        self.setting("BB_SIGNATURE_HANDLER").map_or(true, |name| SignatureHandler::named(&name).asks_server())
    }

    fn server_settings(&self) -> Result<ServerSettings> {
        let mut database = String::new();
        for name in ["BB_HASHSERVE_DB_DIR", "PERSISTENT_DIR", "CACHE"] {
            if database.is_empty() {
                database = self.setting(name)?;
            }
        }
        let (user, token) = (self.setting("BB_HASHSERVE_USERNAME")?, self.setting("BB_HASHSERVE_PASSWORD")?);
        let credentials = (!user.is_empty() && !token.is_empty()).then_some(Credentials { user, token });
        Ok(ServerSettings {
            server: self.setting("BB_HASHSERVE")?,
            upstream: self.setting("BB_HASHSERVE_UPSTREAM")?,
            credentials,
            top: self.setting("TOPDIR")?.into(),
            database_directory: database.into(),
        })
    }

    /// The hashes of all planned tasks; where the configuration has a hash equivalence server, it is asked, and what it knew is
    /// kept in the build directory's cache.
    pub fn hashes(&self, planned: &mut Planned) -> Result<(Vec<HashedTask>, Vec<Finding>)> {
        let handler = SignatureHandler::named(&self.setting("BB_SIGNATURE_HANDLER")?);
        let mut hashing = Hashing::default();
        let mut server =
            if handler.asks_server() { server(&self.server_settings()?).map_err(Error::Fatal)? } else { None };
        if handler == SignatureHandler::OeEquivHash && server.is_none() {
            return Err(Error::Fatal("OEEquivHash needs BB_HASHSERVE, which is not set".into()));
        }
        let cache = PathBuf::from(self.setting("BB_CACHEDIR")?).join("buildnet-unihashes.json");
        if let Some(server) = &mut server {
            hashing.equivalences = Some(server.as_mut());
            hashing.known = std::fs::read(&cache)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_else(UnihashCache::default);
        }
        let before = hashing.known.clone();
        let Hashes { tasks, messages } = planned.hashes_with(&mut hashing)?;
        let known = hashing.known.equivalents();
        if known != before {
            // Without a cache the server is asked again: no reason to fail.
            let _ = serde_json::to_vec(&known).map(|bytes| replace(&cache, &bytes));
        }
        Ok((tasks, messages.iter().map(|message| Finding::logged(message, None)).collect()))
    }

    /// Writes `STAMP.TASK.sigdata.UNIHASH` of every planned task that is not locked, as `bitbake -S none` does.
    pub fn write_signatures(&self, planned: &Planned, tasks: &[HashedTask]) -> Result<Written> {
        let mut by_recipe: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, node) in planned.graph.nodes.iter().enumerate().filter(|(at, _)| tasks[*at].locked.is_none()) {
            by_recipe.entry(&planned.universe.recipes[node.recipe].file).or_default().push(at);
        }
        let files = self.dir.recipes();
        let needed: std::collections::HashSet<(&str, &str)> = planned
            .graph
            .nodes
            .iter()
            .map(|node| &planned.universe.recipes[node.recipe])
            .map(|recipe| (recipe.multiconfig.as_str(), recipe.path.as_str()))
            .collect();
        let wanted: Vec<usize> = (0..files.len())
            .filter(|index| needed.contains(&(files[*index].multiconfig.as_str(), files[*index].path.as_str())))
            .collect();
        let options = ParseOptions { threads: self.threads, sign: true };
        let outcomes = self.dir.each_recipe(Some(&wanted), options, |session, file, variant| {
            let name = virtual_name(&file.multiconfig, &file.path, &variant.variant);
            let Some(own) = by_recipe.get(name.as_str()) else { return Ok(Written::default()) };
            let mut written = Written::default();
            if let Some(text) = variant.store.get_text(session, "BB_HASHFILENAME")? {
                written.names.insert(name, text.to_string());
            }
            let Some(signatures) = &variant.signatures else { return Ok(written) };
            for at in own {
                let node = &planned.graph.nodes[*at];
                let stamp = &planned.universe.recipes[node.recipe].stamp;
                let hashed = &tasks[*at];
                if stamp.is_empty() {
                    continue;
                }
                let path = format!("{stamp}.{}.sigdata.{}", node.task, hashed.unihash);
                if let Some(data) = signature_of(&self.dir, node.task, hashed, signatures) {
                    write_signature(Path::new(&path), &data)?;
                    written.files += 1;
                }
            }
            Ok(written)
        });
        let mut written = Written::default();
        for outcome in outcomes {
            for one in outcome.variants? {
                written.files += one.files;
                written.names.extend(one.names);
            }
        }
        Ok(written)
    }

    /// Marks tasks as forced, so that their hashes are others from now on: as BitBake does for `-f` and `-C`. Returns the tasks.
    ///
    /// # Errors
    ///
    /// Where a task that leaves no stamp is named explicitly, or a file cannot be written.
    pub fn taint(&self, planned: &Planned, tasks: Option<&[String]>) -> Result<Vec<String>> {
        let handler = SignatureHandler::named(&self.setting("BB_SIGNATURE_HANDLER")?);
        let mut tainted = Vec::new();
        for target in &planned.graph.targets {
            let node = &planned.graph.nodes[*target as usize];
            let recipe = &planned.universe.recipes[node.recipe];
            let own = [node.task.to_string()];
            for task in tasks.unwrap_or(&own) {
                let nostamp = recipe.tasks.flags.get("nostamp").is_some_and(|of| of.contains_key(task.as_str()));
                if nostamp && tasks.is_some() {
                    let text = format!("Task {task} is marked nostamp, cannot invalidate this task");
                    return Err(Error::Fatal(text));
                }
                if nostamp || !handler.stamps_by_hash() || recipe.stamp.is_empty() {
                    continue;
                }
                let path = PathBuf::from(format!("{}.{task}.taint", recipe.stamp));
                let failed =
                    |error: std::io::Error| Error::Io { path: path.display().to_string(), message: error.to_string() };
                let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(failed)?;
                replace(&path, random.trim().as_bytes()).map_err(failed)?;
                tainted.push(format!("{}, {task}", recipe.file));
            }
        }
        Ok(tainted)
    }

    /// Locks every planned task to its hash: the text of a file that a configuration can include, as `bitbake -S lockedsigs` writes it.
    pub fn locked_signatures(&self, planned: &Planned, tasks: &[HashedTask], written: &Written) -> Result<String> {
        let hashes = planned.graph.nodes.iter().zip(tasks).filter_map(|(node, task)| {
            let recipe = &planned.universe.recipes[node.recipe];
            let architecture = written.names.get(&recipe.file)?.split(' ').nth(1)?.split(':').nth(5)?;
            Some(LockedTask {
                architecture: architecture.replace('_', "-"),
                recipe: recipe.name.clone(),
                id: task.id.clone(),
                task: node.task.to_string(),
                taskhash: task.taskhash.clone(),
                unihash: task.unihash.clone(),
            })
        });
        Ok(locked_text(hashes.collect(), &self.setting("MACHINE")?))
    }
}

/// What became of signatures that were written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// How many files.
    pub files: usize,
    /// Recipe variant → `BB_HASHFILENAME`: how shared state names its objects.
    pub names: BTreeMap<String, String>,
}

/// Writes a file whole: nobody may find half of it under its name.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
